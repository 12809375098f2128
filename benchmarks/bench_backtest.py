"""Measure the backtest of the flights on one core and on two, and print both times.

    python benchmarks/bench_backtest.py --runs 1 --weeks 45

Every round runs both, one after the other, on the same files; a time is the median of the rounds. The load of the
machine just before each run is told beside it: on a machine that does other work, two cores are not two.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

import yaml
from measure import ROOT, about, new_folder, run, set_up, snakemake


def measure(folder: Path, runs: int) -> dict[int, list[float]]:
    """Return by number of cores the seconds that the weeks and the report took in each round."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    options = (folder, ROOT / "Snakefile", f"--configfile={folder / 'config.yaml'}")
    run(folder, snakemake(*options, "data/weeks/plan.json"))
    for n in range(runs):
        for cores, taken in seconds.items():
            shutil.rmtree(folder / "reports", ignore_errors=True)
            load = os.getloadavg()[0]
            taken.append(run(folder, snakemake(*options, "backtest", "--cores", cores)).seconds)
            print(
                f"round {n + 1} of {runs}, cores {cores}: {taken[-1]:.1f} s (load before: {load:.1f})", file=sys.stderr
            )
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1, help="rounds to measure (default: %(default)s)")
    parser.add_argument("--weeks", type=int, default=45, help="weeks to score (default: %(default)s, all)")
    args = parser.parse_args()
    set_up()
    with tempfile.TemporaryDirectory() as parent:
        folder = new_folder(Path(parent), "backtest", ROOT / "resources/flights.csv.xz")
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        config["backtest"] = {"weeks": args.weeks}
        (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        one, two = (median(taken) for taken in measure(folder, max(1, args.runs)).values())
    print(f"Machine    {about(0, [])['machine']}")
    print(f"Backtest   {args.weeks} weeks of the flights, {args.weeks + 1} models and the report")
    kept = "kept" if one / two >= 1.7 else "MISSED"
    print(f"Cores      1: {one:.1f} s, 2: {two:.1f} s; speed-up {one / two:.2f}, target >= 1.7 {kept}")


if __name__ == "__main__":
    main()
