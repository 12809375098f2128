"""Measure many models in one run beside a plain loop over the groups; print one table.

    python benchmarks/many_models.py --models 100 1000

Each shop has 300 synthetic rows. The loop fits the same regressor as often. By default intervals have one width: a
width for each row takes more fits, and the loop has no intervals at all. The loop fits on one thread, which is faster
for small models. Then a run has nothing new, and in another one 5 % of the shops have new rows. With --single-jobs,
each task of each model is a job, too. Several numbers of models show how the CPU time of a first run grows with them;
fewer --trees make that sooner.

PROGRAMS is the bin folder of an environment with scikit-learn, pandas, joblib and some of mlflow, kedro and dagster
(peers.py): what is not in it is not measured.

With --weeks, one shop has so many weeks of 300 rows: a first run in weekly parts is set beside one without parts, and a
backtest beside a plain loop that fits as many models.
"""

import argparse
import contextlib
import itertools
import math
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from measure import HERE, ROOT, Run, about, judged, report, row, run, set_up, snakemake, write_config

ROWS, CHANGED = 300, 0.05
FIRST, LATER = 3, 0.15
PARTS, BACKTEST = 2, 1.3
# Of the CPU time of a first run; and MB that all its processes hold together.
EXPONENT, MEMORY = 1.05, 2_000
PEERS = ("mlflow", "kedro", "dagster")
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


@contextlib.contextmanager
def memory_together() -> Iterator[list[float]]:
    """Measure the most memory that all started processes hold at once, in MB; a page that they share counts once."""
    most, ended = [0.0], threading.Event()

    def look() -> None:
        while not ended.wait(1):
            held = 0
            for each in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    held += each.memory_full_info().pss
            most[0] = max(most[0], held / 2**20)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def measured(parent: Path, number: int, args: argparse.Namespace) -> list[dict]:
    """Return the rows of the table for so many models."""
    folder = parent / str(number)
    folder.mkdir()
    source, table = folder / "shops.csv", shops(number)
    table.to_csv(source, index=False)
    loop = run(folder, [sys.executable, HERE / "loop.py", source, "loop", f"--trees={args.trees}"], OMP_NUM_THREADS="1")
    peers = {
        name: run(folder, [args.programs / "python", HERE / "peers.py", name, source, name], OMP_NUM_THREADS="1")
        for name in PEERS
        if args.programs and (args.programs / name).exists()
    }
    config = {"raw_data_source_url": str(source), "target": "minutes", "time_column": "started"}
    config |= {"models": {"by": "shop"}, "model": {"intervals": args.intervals, "params": {"max_iter": args.trees}}}

    def made() -> Run:
        return run(folder, snakemake(folder, ROOT / "Snakefile", f"--configfile={folder / 'config.yaml'}"))

    write_config(folder, config)
    with memory_together() as most:
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
    lines += [
        row(f"{what} (ratio: our first run, of this)", name, [run], [first], [run], 1) for name, run in peers.items()
    ]
    line = row(f"{what} (ratio: of the first run)", "5 % have new rows", [later], [later], [first])
    lines.append(line | judged(line["ratio"], LATER))
    line = {"part": f"{what} (ratio: of {MEMORY:,} MB)", "name": "all processes together", "peak_mb": most[0]}
    lines.append(line | {"ratio": most[0] / MEMORY} | judged(most[0] / MEMORY, 1))
    if args.single_jobs:
        files = ("evaluation_metrics", "validation_report")
        targets = [f"models/{name}/reports/{file}.json" for name in table["shop"].unique() for file in files]
        command = snakemake(folder, ROOT / "Snakefile", f"--configfile={folder / 'config.yaml'}", "--forceall")
        alone = run(folder, [*command, "--", *targets])
        lines.append(row(lines[0]["part"], "each task a job", [alone], [alone], [loop]))
    return lines


def growth(lines: list[dict]) -> list[dict]:
    """Return the rows of the table for how the first run and the loop grow from each number of models to the next."""
    found = []
    for name in ("a plain loop", "the first run"):
        runs = [(float(line["part"].split()[0].replace(",", "")), line) for line in lines if line["name"] == name]
        for (few, less), (many, more) in itertools.pairwise(runs):
            line = {"part": "Growth (ratio: exponent)", "name": f"{name}, {few:,.0f} to {many:,.0f} models"}
            for key, ratio in (("seconds", "ratio"), ("cpu_seconds", "cpu_ratio")):
                line[ratio] = math.log(more[key] / less[key]) / math.log(many / few)
            found.append(line | (judged(line["cpu_ratio"], EXPONENT) if name == "the first run" else {}))
    return found


def in_weeks(parent: Path, weeks: int) -> list[dict]:
    """Return the rows of the table for one shop with so many weeks: in parts, and in a backtest."""
    folder = parent / "weeks"
    folder.mkdir()
    source, table = folder / "weeks.csv", shops(1, weeks * ROWS).drop(columns="shop")
    table["started"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(
        np.arange(len(table)) * (7 * 86_400 // ROWS), unit="s"
    )
    table.to_csv(source, index=False)
    loop = run(
        folder, [sys.executable, HERE / "loop.py", source, "loop", f"--weeks={weeks - TRAINED}"], OMP_NUM_THREADS="1"
    )
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
    parser.add_argument("--trees", type=int, default=100, help="of each model (default: %(default)s)")
    parser.add_argument("--programs", type=Path, help="the bin folder of an environment with mlflow, kedro or dagster")
    parser.add_argument("--single-jobs", action="store_true", help="also run each task of each model as a job")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="the folder for CSV and figure")
    args = parser.parse_args()
    set_up()
    facts = about(max([*args.models, args.weeks]) * ROWS, [])
    facts = {("rows" if key == "flights" else key): value for key, value in facts.items()}
    with tempfile.TemporaryDirectory() as parent:
        lines = [line for number in sorted(args.models) for line in measured(Path(parent), number, args)]
        lines += growth(lines)
        lines += in_weeks(Path(parent), args.weeks) if args.weeks else []
    report("many_models", args.output, lines, facts)


if __name__ == "__main__":
    main()
