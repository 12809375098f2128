"""Measure many models in one run beside a plain loop over the groups; print one table.

    python benchmarks/many_models.py --models 100 1000

Each shop has 300 synthetic rows. The loop fits the same regressor as often. By default intervals have one width: a
width for each row takes more fits, and the loop has no intervals at all. The loop fits on one thread, which is faster
for small models. Then a run has nothing new, and in another one 5 % of the shops have new rows. With --single-jobs,
each task of each model is a job, too.

With --weeks, one shop has so many weeks of 300 rows: a first run in weekly parts is set beside one without parts, and a
backtest beside a plain loop that fits as many models.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from measure import HERE, ROOT, Run, about, judged, report, row, run, set_up, snakemake, write_config

ROWS, CHANGED = 300, 0.05
FIRST, LATER = 3, 0.15
PARTS, BACKTEST = 2, 1.3
# A backtest trains on at least so many weeks.
TRAINED = 8


def shops(number: int, rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Return the deliveries of some shops: a distance, the weather and a load decide how long each takes."""
    chance = np.random.default_rng(seed)
    size = number * rows
    distance, weather = chance.gamma(2, 5, size).round(2), chance.choice(["dry", "rain", "snow"], size)
    load, noise = chance.integers(1, 9, size), chance.normal(0, 3, size)
    started = pd.Timestamp("2024-01-01") + pd.to_timedelta(chance.integers(0, 365 * 86_400, size), unit="s")
    minutes = 2.1 * distance + 5 * (weather == "rain") + 12 * (weather == "snow") + 0.8 * load + noise
    columns = {"started": started, "distance": distance, "weather": weather, "load": load, "minutes": minutes.round(2)}
    return pd.DataFrame({"shop": np.repeat([f"s{n:05d}" for n in range(number)], rows), **columns})


def measured(parent: Path, number: int, intervals: str, single_jobs: bool) -> list[dict]:
    """Return the rows of the table for so many models."""
    folder = parent / str(number)
    folder.mkdir()
    source, table = folder / "shops.csv", shops(number)
    table.to_csv(source, index=False)
    loop = run(folder, [sys.executable, HERE / "loop.py", source, "loop"], OMP_NUM_THREADS="1")
    config = {"raw_data_source_url": str(source), "target": "minutes", "time_column": "started"}
    config |= {"models": {"by": "shop"}, "model": {"intervals": intervals}}

    def made() -> Run:
        return run(folder, snakemake(folder, ROOT / "Snakefile", f"--configfile={folder / 'config.yaml'}"))

    write_config(folder, config)
    first = made()
    nothing = made()
    more = shops(max(1, round(number * CHANGED)), rows=7, seed=1)
    pd.concat([table, more]).to_csv(source, index=False)
    later = made()
    what = f"{number:,} models of {ROWS} rows"
    lines = [row(f"{what} (ratio: of the loop)", "a plain loop", [loop])]
    for name, done in {"the first run": first, "nothing new": nothing, "5 % have new rows": later}.items():
        lines.append(row(lines[0]["part"], name, [done], [done], [loop]))
    lines[1] |= judged(lines[1]["ratio"], FIRST)
    line = row(f"{what} (ratio: of the first run)", "5 % have new rows", [later], [later], [first])
    lines.append(line | judged(line["ratio"], LATER))
    if single_jobs:
        files = ("evaluation_metrics", "validation_report")
        targets = [f"models/{name}/reports/{file}.json" for name in table["shop"].unique() for file in files]
        command = snakemake(folder, ROOT / "Snakefile", f"--configfile={folder / 'config.yaml'}", "--forceall")
        alone = run(folder, [*command, "--", *targets])
        lines.append(row(lines[0]["part"], "each task a job", [alone], [alone], [loop]))
    return lines


def in_weeks(parent: Path, weeks: int) -> list[dict]:
    """Return the rows of the table for one shop with so many weeks: in parts, and in a backtest."""
    folder = parent / "weeks"
    folder.mkdir()
    source, table = folder / "weeks.csv", shops(1, weeks * ROWS).drop(columns="shop")
    table["started"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(
        np.arange(len(table)) * (7 * 86_400 // ROWS), unit="s"
    )
    table.to_csv(source, index=False)
    loop = run(folder, [sys.executable, HERE / "loop.py", source, "loop", weeks - TRAINED], OMP_NUM_THREADS="1")
    config = {"raw_data_source_url": str(source), "target": "minutes", "time_column": "started"}
    config |= {"model": {"intervals": "constant"}, "backtest": {"weeks": weeks - TRAINED, "min_train_weeks": TRAINED}}
    found = {}
    for name, more, target in (
        ("whole", {}, "all"),
        ("backtest", {}, "backtest"),
        ("parts", {"data": {"partition_by": "week"}}, "all"),
    ):
        here = folder if name == "backtest" else folder / name
        here.mkdir(exist_ok=True)
        write_config(here, config | more)
        found[name] = run(here, snakemake(here, ROOT / "Snakefile", target, f"--configfile={here / 'config.yaml'}"))
    part = f"{weeks} weeks of {ROWS} rows"
    whole, parts, backtest = found["whole"], found["parts"], found["backtest"]
    fits, scored = f"{part} (ratio: of the loop)", weeks - TRAINED
    lines = [row(f"{part} (ratio: of a run without parts)", "a run without parts", [whole])]
    lines.append(row(lines[0]["part"], "the first run in weekly parts", [parts], [parts], [whole], PARTS))
    lines.append(row(fits, f"a plain loop with {scored} fits", [loop]))
    lines.append(row(fits, f"a backtest of {scored} weeks", [backtest], [backtest], [loop], BACKTEST))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, nargs="*", default=[100], help="how many (default: 100)")
    parser.add_argument("--weeks", type=int, default=53, help="of one shop, in parts and in a backtest (0: none)")
    parser.add_argument("--intervals", choices=["constant", "quantile"], default="constant")
    parser.add_argument("--single-jobs", action="store_true", help="also run each task of each model as a job")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="the folder for CSV and figure")
    args = parser.parse_args()
    set_up()
    facts = about(max([*args.models, args.weeks]) * ROWS, [])
    facts = {("rows" if key == "flights" else key): value for key, value in facts.items()}
    with tempfile.TemporaryDirectory() as parent:
        lines = [
            line for number in args.models for line in measured(Path(parent), number, args.intervals, args.single_jobs)
        ]
        lines += in_weeks(Path(parent), args.weeks) if args.weeks else []
    report("many_models", args.output, lines, facts)


if __name__ == "__main__":
    main()
