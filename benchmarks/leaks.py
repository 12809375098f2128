"""Plant one kind of leak in tables of several shapes, and count how many are named; also alarms on the clean tables.

    python benchmarks/leaks.py --seeds 5 --output benchmarks/leaks.md

A hit is an alarm `leak` on a column of the leak. Any alarm `leak` on a clean table is a false one. The detectors were
tuned on the tables of TUNED; those of APART, and those of benchmarks/alarms.py, were only measured.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import alarms

from feature_engineering import feature_engineering
from signoff.review.leaks import leaks

ROWS = 4000
Random = np.random.Generator


def season(random: Random) -> pd.DataFrame:
    """Return hours of a load: a season, a rhythm of days, lasting noise; and the load of the hours before."""
    time = pd.Series(pd.date_range("2022-03-01", periods=ROWS + 1, freq="2h"))
    warm = 12 - 9 * np.cos(2 * np.pi * time.dt.day_of_year / 365) + 3 * alarms.lasting(random, ROWS + 1, 0.97)
    level = 200 - 5 * warm + 25 * np.sin(2 * np.pi * time.dt.hour / 24) + 12 * alarms.lasting(random, ROWS + 1, 0.8)
    frame = pd.DataFrame({"time": time, "temperature": warm.round(1), "wind": random.gamma(2, 2, ROWS + 1).round(1)})
    frame["holiday"] = (random.random(ROWS + 1) < 0.04).astype(int)
    frame["y"] = (level - 30 * frame["holiday"]).round(1)
    return frame.assign(before=frame["y"].shift(1)).iloc[1:].reset_index(drop=True)


def homes(random: Random) -> pd.DataFrame:
    """Return prices of homes, of which the features explain nine tenths and more; the area alone most of it."""
    area = np.exp(random.normal(4.4, 0.4, ROWS)).round()
    rooms = (area / 28 + random.normal(0, 0.7, ROWS)).round().clip(1)
    town, per_town = random.choice([f"T{n}" for n in range(15)], ROWS), random.normal(0, 0.15, 15)
    age = random.gamma(2, 15, ROWS).round()
    effect = pd.Series(town).map(dict(zip([f"T{n}" for n in range(15)], per_town, strict=True)))
    price = np.exp(np.log(area) + effect - age / 400 + random.normal(0, 0.08, ROWS)) * 3
    return pd.DataFrame({"area": area, "rooms": rooms, "town": town, "age": age, "y": price.round(1)})


def weak(random: Random) -> pd.DataFrame:
    """Return a target of which the features explain a twentieth."""
    frame = pd.DataFrame({f"x{n}": random.normal(size=ROWS) for n in range(6)})
    frame["group"] = random.choice(list("abcdef"), ROWS)
    signal = frame["x0"] + 0.7 * frame["x1"] * frame["x2"] + frame["group"].isin(["a", "b"])
    return frame.assign(y=(signal / signal.std() + random.normal(0, 4.3, ROWS)).round(3))


def tails(random: Random) -> pd.DataFrame:
    """Return sums insured and paid: a target with a heavy tail."""
    insured = np.exp(random.normal(9, 0.9, ROWS)).round(-1)
    frame = pd.DataFrame({"insured": insured, "age": random.normal(45, 13, ROWS).clip(18).round()})
    frame["region"] = random.choice(list("NESW"), ROWS, p=[0.4, 0.3, 0.2, 0.1])
    frame["deductible"] = random.choice([0, 150, 300, 500, 1000], ROWS)
    logarithm = 0.7 * np.log(insured) + frame["age"] / 60 + 0.5 * (frame["region"] == "S") - frame["deductible"] / 1500
    return frame.assign(y=np.exp(logarithm + 0.6 * random.standard_t(4, ROWS)).round(2))


def counts(random: Random) -> pd.DataFrame:
    """Return how many parts were sold in a day: seven of ten are zero."""
    price, stock = np.exp(random.normal(2, 0.5, ROWS)).round(2), random.poisson(20, ROWS)
    frame = pd.DataFrame({"time": pd.date_range("2020-01-01", periods=ROWS, freq="6h"), "price": price, "stock": stock})
    frame["part"] = random.choice([f"P{n:02}" for n in range(30)], ROWS)
    mean = np.exp(-1.9 + 1.2 * frame["part"].str[1:].astype(int) / 10 - 0.4 * (np.log(price) - 2) + (stock - 20) / 40)
    return frame.assign(y=random.poisson(mean * random.gamma(0.8, 1.25, ROWS)) * (random.random(ROWS) < 0.7))


def panel(random: Random) -> pd.DataFrame:
    """Return weekly sales of 160 shops: each has its level; the size of a shop, and its sales of the week before."""
    shops, weeks = 160, ROWS // 160 + 1
    size, level = np.exp(random.normal(6, 0.4, shops)), random.normal(0, 12, shops)
    shop, week = np.tile(np.arange(shops), weeks), np.repeat(np.arange(weeks), shops)
    discount = random.choice([0, 5, 10, 20], shops * weeks, p=[0.6, 0.2, 0.1, 0.1])
    frame = pd.DataFrame({"time": pd.Timestamp("2023-01-02") + pd.to_timedelta(7 * week, unit="D")})
    frame["shop"], frame["size"] = [f"S{n:03}" for n in shop], size[shop].round()
    frame["discount"], frame["staff"] = discount, random.poisson(6, len(frame))
    frame["y"] = (
        80 + size[shop] / 20 + level[shop] + discount + frame["staff"] + random.normal(0, 9, len(frame))
    ).round(1)
    frame["last_week"] = frame.groupby("shop")["y"].shift(1)
    return frame.dropna().reset_index(drop=True)


def trips(random: Random) -> pd.DataFrame:
    """Return how long trips took: the distance explains most of it, honestly; and a planned time."""
    distance = random.gamma(2, 6, ROWS).round(1) + 0.5
    frame = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=ROWS, freq="37min"), "distance": distance})
    frame["vehicle"] = random.choice(["van", "bike", "truck"], ROWS, p=[0.5, 0.2, 0.3])
    frame["stops"], frame["load"] = random.poisson(2, ROWS), random.gamma(3, 100, ROWS).round()
    pace = frame["vehicle"].map({"van": 2.2, "bike": 3.5, "truck": 2.6}) + 0.6 * frame["time"].dt.hour.isin([7, 8, 17])
    frame["planned"] = (distance * 2.5 + 3 * frame["stops"]).round(-1)
    return frame.assign(y=(distance * pace * np.exp(random.normal(0, 0.1, ROWS)) + 3 * frame["stops"]).round(1))


def plant(random: Random) -> pd.DataFrame:
    """Return the output of a plant: sensors that go together, a set point that sets most of it, lasting noise."""
    common = alarms.lasting(random, ROWS, 0.95)
    frame = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=ROWS, freq="1h")})
    frame["set_point"] = 50 + 5 * random.integers(0, 8, ROWS // 20 + 1)[np.arange(ROWS) // 20]
    for n in range(4):
        frame[f"sensor_{n}"] = (20 + 4 * common + 3 * random.normal(size=ROWS)).round(2)
    frame["shift"] = random.choice(["early", "late", "night"], ROWS)
    noise = 4 * alarms.lasting(random, ROWS, 0.6)
    frame["y"] = (
        2 * frame["set_point"] + 0.4 * frame["sensor_0"].clip(0) ** 1.3 - 5 * (frame["shift"] == "night") + noise
    )
    return frame.assign(y=frame["y"].round(2))


def meals(random: Random) -> pd.DataFrame:
    """Return what tables spend: a product of guests, prices and a season; many small restaurants."""
    frame = pd.DataFrame(
        {"time": pd.date_range("2023-01-01", periods=ROWS, freq="3h"), "guests": 1 + random.poisson(3, ROWS)}
    )
    place = random.integers(0, 60, ROWS)
    frame["restaurant"], frame["courses"] = [f"R{n:02}" for n in place], random.integers(1, 5, ROWS)
    season = 0.1 * np.cos(2 * np.pi * frame["time"].dt.day_of_year / 365)
    logarithm = 2 + random.normal(0, 0.2, 60)[place] + np.log(frame["guests"]) + 0.3 * np.log(frame["courses"]) + season
    return frame.assign(y=np.exp(logarithm + random.normal(0, 0.3, ROWS)).round(2))


def visits(random: Random) -> pd.DataFrame:
    """Return counts of visits with more spread than Poisson's, in two regions."""
    frame = pd.DataFrame({"ads": random.poisson(4, ROWS), "rank": random.integers(1, 40, ROWS)})
    frame["region"], frame["age"] = random.choice(["old", "new"], ROWS, p=[0.8, 0.2]), random.gamma(2, 8, ROWS).round()
    rate = np.exp(1 + 0.1 * frame["ads"] - 0.03 * frame["rank"] + 0.4 * (frame["region"] == "new"))
    return frame.assign(y=random.poisson(rate * random.gamma(2, 0.5, ROWS)))


def payouts(random: Random) -> pd.DataFrame:
    """Return payments with Pareto's tail, of which the features explain little."""
    frame = pd.DataFrame({"sum": np.exp(random.normal(7, 0.8, ROWS)).round(), "years": random.integers(0, 20, ROWS)})
    frame["cause"] = random.choice(["fire", "water", "theft", "storm"], ROWS, p=[0.1, 0.4, 0.3, 0.2])
    effect = frame["cause"].map({"fire": 0.8, "water": 0.0, "theft": -0.3, "storm": 0.3})
    return frame.assign(y=(np.exp(3 + effect + 0.3 * np.log(frame["sum"])) * (0.2 + random.pareto(2.2, ROWS))).round(2))


def trials(random: Random) -> pd.DataFrame:
    """Return 1,000 rows only: the dose explains most of an effect."""
    frame = pd.DataFrame({"dose": random.uniform(0, 10, 1000).round(1), "weight": random.normal(75, 12, 1000).round()})
    frame["site"], frame["batch"] = random.choice(list("ABC"), 1000), random.integers(1, 9, 1000)
    effect = 40 / (1 + np.exp(4 - frame["dose"])) - 0.1 * frame["weight"] + 3 * (frame["site"] == "B")
    return frame.assign(y=(effect + random.normal(0, 4, 1000)).round(2))


TUNED = {each.__name__: each for each in (season, homes, weak, tails, counts, panel)}
APART = {each.__name__: each for each in (trips, plant, meals, visits, payouts, trials)}


def spread(values: pd.Series) -> float:
    """Return the standard deviation of the middle nine tenths, as that of a normal distribution."""
    low, high = values.quantile([0.05, 0.95])
    return float(high - low) / 3.3 or float(values.std())


def copied(frame: pd.DataFrame, random: Random) -> pd.DataFrame:
    noise = 0.02 * spread(frame["y"]) * random.normal(size=len(frame))
    return frame.assign(leak=frame["y"] * 3 + 40 + 3 * noise)


def in_bins(count: int) -> Callable[[pd.DataFrame, Random], pd.DataFrame]:
    def binned(frame: pd.DataFrame, random: Random) -> pd.DataFrame:
        bins = pd.qcut(frame["y"], count, labels=False, duplicates="drop")
        names = random.permutation([f"class {n}" for n in range(count)])
        return frame.assign(leak=bins if random.random() < 0.5 else names[bins])

    return binned


def afterwards(frame: pd.DataFrame, random: Random) -> pd.DataFrame:
    """Return a column that is computed from the target, from noise, and in half of the tables from another column."""
    r2 = random.uniform(0.57, 0.98)
    noise = np.sqrt(1 / r2 - 1) * random.normal(size=len(frame))
    form = random.integers(4)
    if (frame["y"] > 0).all() and abs(frame["y"].skew()) > 2:
        logarithm = np.log(frame["y"])
        return frame.assign(leak=np.exp(logarithm + logarithm.std() * noise).round(2))
    leak = frame["y"] + spread(frame["y"]) * noise
    if form == 1:
        leak = np.exp(leak / spread(frame["y"]) / 4)
    if form >= 2:
        other = random.choice([name for name in frame.select_dtypes("number") if name != "y"])
        leak += random.choice([-1, 1]) * random.uniform(0.1, 0.4) * spread(frame["y"]) * zscore(frame[other])
    return frame.assign(leak=leak.round(3))


def zscore(values: pd.Series) -> pd.Series:
    return (values - values.mean()) / values.std()


def in_two(frame: pd.DataFrame, random: Random) -> pd.DataFrame:
    part = (frame["y"] * random.uniform(0.2, 0.8, len(frame))).round(2)
    return frame.assign(leak=part, leak_2=(frame["y"] - part).round(2))


def gross(frame: pd.DataFrame, random: Random) -> pd.DataFrame:
    cost = (spread(frame["y"]) * random.gamma(3, 1, len(frame))).round(2)
    return frame.assign(leak=(frame["y"] + cost).round(2), leak_2=cost)


def quotient(frame: pd.DataFrame, random: Random) -> pd.DataFrame:
    units = random.gamma(3, 10, len(frame)).round(1) + 1
    return frame.assign(leak=frame["y"] * units, leak_2=units)


def group_mean(frame: pd.DataFrame, random: Random) -> pd.DataFrame:
    """Return the mean of the target in groups of about eight rows, the row's own target included."""
    groups = random.integers(0, len(frame) // 8, len(frame))
    return frame.assign(leak=frame["y"].groupby(groups).transform("mean"))


def next_row(frame: pd.DataFrame, random: Random) -> pd.DataFrame:
    return frame.assign(leak=frame["y"].shift(-1).bfill().ffill())


def ranked(frame: pd.DataFrame, random: Random) -> pd.DataFrame:
    return frame.assign(leak=frame["y"].rank(method="dense"))


LEAKS = {
    "copy with 2 % noise": copied,
    "15 bins": in_bins(15),
    "5 bins": in_bins(5),
    "post-outcome": afterwards,
    "two parts of a sum": in_two,
    "a difference": gross,
    "a ratio": quotient,
    "group mean with its own row": group_mean,
    "target of the next row": next_row,
    "rank": ranked,
}


class Tried(NamedTuple):
    """Of one table: whether the leak was named, and the alarms that name no column of it."""

    hit: bool
    others: list[str]


def tried(frame: pd.DataFrame, options: dict[str, object], seed: int, target: str = "y") -> Tried:
    """Return what the search for leaks says of a table."""
    table, description = feature_engineering(frame, target, **options)
    found = leaks(table, description, seed)
    planted = [each for each in found if str(each["feature"]).startswith("leak")]
    return Tried(bool(planted), [f"{each['feature']}: {each['sentence']}" for each in found if each not in planted])


def split_of(frame: pd.DataFrame) -> dict[str, object]:
    """Return how a table of this file is split: by time, or by a hash of all its columns."""
    return {"split_by": "time", "time_column": "time"} if "time" in frame else {"split_by": "hash"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", help=f"of {', '.join({**TUNED, **APART})} (default: all)")
    parser.add_argument("--kinds", nargs="*", default=list(LEAKS), help="the leaks to plant")
    parser.add_argument("--seeds", type=int, default=5, help="how many tables of each kind")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--output", type=Path, help="also write the results to this Markdown file")
    args = parser.parse_args()
    shapes = {**TUNED, **APART}
    shapes = {name: shapes[name] for name in args.shapes or shapes}
    seeds = range(args.first, args.first + args.seeds)
    lines = [f"| table | clean: alarms | {' | '.join(args.kinds)} |", f"|---|---:|{'---:|' * len(args.kinds)}"]
    with threadpool_limits(1):
        for shape in shapes:
            named = [sum(planted(shape, kind, seed).hit for seed in seeds) for kind in args.kinds]
            false = sum(bool(clean(shape, seed).others) for seed in seeds)
            lines.append(f"| {shape} | {' | '.join(f'{each}/{len(seeds)}' for each in (false, *named))} |")
            print(lines[-1], flush=True)
        for name, kind in alarms.TABLES.items() if not args.shapes else ():
            found = [tried(kind.make(seed), kind.split, seed, kind.target) for seed in seeds]
            lines.append(
                f"| {name} | {sum(bool(each.others) for each in found)}/{len(seeds)} {'| ' * len(args.kinds)}|"
            )
            print(lines[-1], flush=True)
    if args.output:
        text = args.output.read_text(encoding="utf-8")
        before, _, after = text.partition("| table |")
        after = after.partition("\n\n")[2]
        args.output.write_text("\n".join([before + lines[0], *lines[1:]]) + "\n\n" + after, encoding="utf-8")


def planted(shape: str, kind: str, seed: int) -> Tried:
    """Return what is said of a table with one kind of leak."""
    random = np.random.default_rng([seed, len(shape), ord(shape[0])])
    frame = LEAKS[kind]({**TUNED, **APART}[shape](random), random)
    return noted(tried(frame, split_of(frame), seed), shape, kind, seed)


def clean(shape: str, seed: int) -> Tried:
    """Return what is said of a table without a leak."""
    frame = {**TUNED, **APART}[shape](np.random.default_rng([seed, len(shape), ord(shape[0])]))
    return noted(tried(frame, split_of(frame), seed), shape, "clean", seed)


def noted(found: Tried, *where: object) -> Tried:
    """Return what was found, and print what names no column of the leak."""
    if found.others:
        print(*where, *found.others, file=sys.stderr)
    return found


if __name__ == "__main__":
    main()
