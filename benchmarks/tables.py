"""Make a project of each of many tables, as `make init`, `make run` and `make report` do with no file touched, and set
its held-out error beside that of a scikit-learn pipeline written by hand on the same rows and split.

    python benchmarks/tables.py [NAME …]

Most tables are made here, from a seed, in the likeness of well-known ones; the others are real and need no network.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks")]

from example import Example, effects, gaps, text  # noqa: E402
from strange import STRANGE  # noqa: E402

from clean_data import clean_data  # noqa: E402
from signoff.config.settings import check_config  # noqa: E402
from signoff.tables import contract  # noqa: E402
from signoff.tables.table import read_table  # noqa: E402

# How much larger our error may be than that of the pipeline written by hand.
WORSE = 0.05
FEW_LEVELS = 20


def bikes(random):
    """Hourly counts of rented bikes: an integer target with a daily wave, a growing fleet, a row number."""
    when = pd.date_range("2011-01-01", periods=10_000, freq="h")
    n = len(when)
    temperature = 12 - 10 * np.cos(2 * np.pi * when.day_of_year / 365) + random.normal(0, 3, n)
    weather = random.choice(4, n, p=[0.6, 0.25, 0.13, 0.02])
    rush = np.exp(-(((when.hour - 17) % 24) ** 2) / 8) + (when.day_of_week < 5) * np.exp(-((when.hour - 8) ** 2) / 3)
    mean = (20 + 200 * rush) * (1 + temperature / 30) * (1 - 0.2 * weather) * (1 + np.arange(n) / n)
    frame = pd.DataFrame(
        {
            "datetime": when,
            "season": (when.month % 12 // 3 + 1),
            "holiday": (random.random(n) < 0.03).astype(int),
            "workingday": (when.day_of_week < 5).astype(int),
            "weather": pd.Series(["clear", "mist", "light rain", "storm"])[weather].to_numpy(),
            "temp": temperature.to_numpy().round(2),
            "humidity": random.integers(20, 100, n),
            "windspeed": random.gamma(2, 6, n).round(4),
            "count": random.poisson(np.clip(mean, 1, None)),
        }
    )
    return Example(frame, "count", frame.assign(instant=range(1, n + 1))[["instant", *frame]])


def houses(random):
    """House prices: an id, sixty columns, half of them categories, "NA" for a pool that is not there."""
    n = 1460
    quality = random.integers(1, 11, n)
    area = random.lognormal(7.25, 0.33, n).round()
    year = random.integers(1900, 2010, n)
    quarter = random.choice(25, n)
    frame = pd.DataFrame({"OverallQual": quality, "GrLivArea": area, "YearBuilt": year})
    price = 20_000 * quality + 60 * area + 300 * (year - 1900) + effects(random, quarter, 20_000)
    frame["Neighborhood"] = [f"Quarter{each}" for each in quarter]
    for k, levels in enumerate([2, 3, 4, 5, 5, 6, 6, 8, 9, 9, 3, 4, 5, 2, 7, 5, 5, 16, 8, 6, 5, 4, 3, 6, 5]):
        codes = np.minimum(random.geometric(0.45, n) - 1, levels - 1)
        price += effects(random, codes, 4000)
        frame[f"Category{k}"] = gaps(random, [f"L{each}" for each in codes], [0, 0, 0.05, 0, 0.5, 0.9][k % 6])
    for k in range(30):
        values = random.gamma(1.5, 300, n).round() * (random.random(n) < 0.8)
        price += values * random.normal(0, 6)
        frame[f"Area {k}"] = gaps(random, values, 0.17 if k % 10 == 0 else 0)
    frame["SalePrice"] = (price * random.lognormal(0, 0.08, n)).clip(30_000).round()
    return Example(frame, "SalePrice", frame.assign(Id=range(1, n + 1))[["Id", *frame]], {"na_rep": "NA"})


def insurance(random):
    """Charges of the insured: smoking matters far more with a high body mass index."""
    n = 1338
    age, bmi, smoker = random.integers(18, 65, n), random.normal(30, 6, n).round(2), random.random(n) < 0.2
    region = random.choice(["southwest", "southeast", "northwest", "northeast"], n)
    children = random.poisson(1.1, n)
    charges = 250 * age + 400 * children + smoker * (12_000 + 1_400 * (bmi - 25).clip(0)) + random.gamma(1, 3000, n)
    frame = pd.DataFrame({"age": age, "sex": random.choice(["male", "female"], n), "bmi": bmi, "children": children})
    frame = frame.assign(smoker=np.where(smoker, "yes", "no"), region=region, charges=charges.round(4))
    return Example(frame, "charges")


def diamonds(random):
    """Prices of diamonds: ordered categories by name, a target over three decades, an index without a name."""
    n = 20_000
    carat = random.lognormal(-0.4, 0.58, n).clip(0.2, 5).round(2)
    cut, color, clarity = random.choice(5, n), random.choice(7, n), random.choice(8, n)
    price = 4000 * carat**1.7 * 1.03**cut * 0.94**color * 1.1**clarity * random.lognormal(0, 0.1, n)
    length = (carat ** (1 / 3) * 6.4 * random.normal(1, 0.01, n)).round(2)
    frame = pd.DataFrame(
        {
            "carat": carat,
            "cut": pd.Series(["Fair", "Good", "Very Good", "Premium", "Ideal"])[cut].to_numpy(),
            "color": pd.Series(list("DEFGHIJ"))[color].to_numpy(),
            "clarity": pd.Series(["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"])[clarity].to_numpy(),
            "depth": random.normal(61.7, 1.4, n).round(1),
            "table": random.normal(57, 2, n).round(),
            "x": length,
            "y": (length * random.normal(1, 0.005, n)).round(2),
            "price": price.round().astype(int),
        }
    )
    return Example(frame, "price", csv={"index": True})


def abalone(random):
    """Rings of abalones: measures that go together, a sex of one letter, no header worth the name."""
    n = 4177
    length = random.beta(5, 3, n).round(3)
    weight = (1.5 * length**3 * random.lognormal(0, 0.15, n)).round(4)
    sex = random.choice(["M", "F", "I"], n)
    rings = 4 + 9 * length + 3 * (sex != "I") * length + random.gamma(2, 1.2, n) - 2 * weight
    frame = pd.DataFrame({"Sex": sex, "Length": length, "Diameter": (length * 0.8).round(3), "Whole weight": weight})
    frame["Shell weight"] = (weight * random.normal(0.29, 0.03, n)).round(4)
    return Example(frame.assign(Rings=rings.round().astype(int)), "Rings")


def autos(random):
    """Miles per gallon: "?" for a horsepower nobody knows, and each car's name."""
    n = 398
    cylinders = random.choice([4, 6, 8], n, p=[0.5, 0.25, 0.25])
    displacement = (cylinders * 40 + random.normal(0, 25, n)).clip(70).round()
    power = (displacement * 0.5 + random.normal(20, 15, n)).clip(45).round()
    weight = (displacement * 8 + 1400 + random.normal(0, 200, n)).round()
    year = random.integers(70, 83, n)
    mpg = 48 - weight / 140 - power / 30 + 0.7 * (year - 70) + random.normal(0, 2, n)
    frame = pd.DataFrame({"mpg": mpg.round(1), "cylinders": cylinders, "displacement": displacement})
    frame = frame.assign(horsepower=gaps(random, power, 0.06), weight=weight, year=year, origin=random.choice(3, n) + 1)
    names = [f"{random.choice(['ford', 'toyota', 'fiat', 'volvo'])} {each:03d} {each % 7}" for each in range(n)]
    written = frame.assign(horsepower=text(frame["horsepower"], "{:.0f}", "?"), name=names)
    return Example(frame, "mpg", written)


def wine(random):
    """Quality of wines, eleven measures, separated by semicolons, with every name in quotes."""
    n = 4898
    names = ["fixed acidity", "volatile acidity", "citric acid", "residual sugar", "chlorides", "free sulfur dioxide"]
    frame = pd.DataFrame({f"{each} (g/dm³)": random.gamma(4, 1, n).round(3) for each in names})
    alcohol = random.normal(10.5, 1.2, n).round(1)
    score = 5.8 + 0.4 * (alcohol - 10.5) - 0.15 * (frame.iloc[:, 1] - 4) + random.normal(0, 0.6, n)
    frame = frame.assign(alcohol=alcohol, quality=score.round().clip(3, 9).astype(int))
    return Example(frame, "quality", csv={"sep": ";", "quoting": 2})


def concrete(random):
    """Strength of concrete: names with brackets and units, and an age that matters by its logarithm."""
    n = 1030
    cement, water = random.uniform(100, 540, n).round(1), random.uniform(120, 250, n).round(1)
    slag = (random.uniform(-150, 300, n).clip(0)).round(1)
    age = random.choice([1, 3, 7, 14, 28, 56, 90, 180, 365], n)
    strength = (0.1 * cement + 0.07 * slag) * np.log1p(age) / np.sqrt(water / 150) / 4 + random.normal(0, 4, n) + 10
    frame = pd.DataFrame(
        {
            "Cement (component 1)(kg in a m^3 mixture)": cement,
            "Blast Furnace Slag (component 2)(kg in a m^3 mixture)": slag,
            "Water  (component 4)(kg in a m^3 mixture)": water,
            "Age (day)": age,
            "Concrete compressive strength(MPa, megapascals) ": strength.round(2),
        }
    )
    return Example(frame, "Concrete compressive strength(MPa, megapascals) ")


def energy(random):
    """Energy use every ten minutes: sensors that drift with the season, and two columns of pure noise."""
    when = pd.date_range("2016-01-11 17:00", periods=12_000, freq="10min")
    n, frame = len(when), pd.DataFrame({"date": when})
    outside = 6 + 6 * np.sin(2 * np.pi * when.hour / 24) + np.cumsum(random.normal(0, 0.05, n))
    for k in range(9):
        frame[f"T{k + 1}"] = (18 + outside * random.uniform(0, 0.6) + np.cumsum(random.normal(0, 0.02, n))).round(3)
        frame[f"RH_{k + 1}"] = (40 + random.normal(0, 3, n) - outside * random.uniform(0, 0.6)).round(3)
    frame["rv1"] = frame["rv2"] = random.uniform(0, 50, n).round(6)
    at_home = np.exp(-(((when.hour - 18) % 24) ** 2) / 10) + 0.3 * (when.hour > 7)
    use = 50 + 90 * at_home - 2 * (outside - 6) + 3 * (frame["RH_1"] - 40) + random.gamma(1, 30, n)
    frame["Appliances"] = (use.clip(10) // 10 * 10).astype(int)
    return Example(frame, "Appliances")


def taxi(random):
    """Durations of taxi trips: an id for each, times with AM and PM, a flag, and few passengers."""
    n = 120_000
    start = pd.to_datetime("2016-01-01") + pd.to_timedelta(np.sort(random.integers(0, 180 * 86400, n)), unit="s")
    places = {name: random.normal(each, 0.03, n).round(6) for name, each in (("lon", -73.97), ("lat", 40.75))}
    ends = {name: (values + random.normal(0, 0.02, n)).round(6) for name, values in places.items()}
    km = 111 * np.hypot(ends["lat"] - places["lat"], 0.76 * (ends["lon"] - places["lon"]))
    slow = 1 + 0.6 * np.exp(-(((start.hour - 17) % 24) ** 2) / 12)
    frame = pd.DataFrame({"vendor_id": random.choice([1, 2], n), "pickup_datetime": start})
    frame = frame.assign(passenger_count=random.choice([1, 1, 1, 2, 4, 6], n))
    frame = frame.assign(**{f"pickup_{name}": values for name, values in places.items()})
    frame = frame.assign(**{f"dropoff_{name}": values for name, values in ends.items()})
    frame["store_and_fwd_flag"] = random.choice(["N", "Y"], n, p=[0.99, 0.01])
    frame["trip_duration"] = (120 + 160 * km * slow * random.lognormal(0, 0.3, n)).round()
    written = frame.assign(pickup_datetime=frame["pickup_datetime"].dt.strftime("%m/%d/%Y %I:%M:%S %p"))
    return Example(frame, "trip_duration", written.assign(id=[f"id{each:07d}" for each in random.permutation(n)]))


def superconductors(random):
    """Critical temperatures: eighty numbers, many of which say nearly the same."""
    n = 6000
    hidden = random.normal(size=(n, 12))
    mixed = hidden @ random.normal(size=(12, 80)) + random.normal(0, 0.3, (n, 80))
    frame = pd.DataFrame(mixed.round(4)).add_prefix("wtd_mean_")
    heat = np.exp(2.5 + 0.5 * hidden[:, 0] + 0.4 * np.maximum(hidden[:, 1], 0) * hidden[:, 2])
    return Example(frame.assign(critical_temp=(heat + random.gamma(1, 3, n)).round(3)), "critical_temp")


def sales(random):
    """Sales of a German chain: semicolons, cp1252, decimal commas and points between thousands, day.month.year, "€"."""
    n = 8000
    day = pd.to_datetime("2021-01-01") + pd.to_timedelta(np.sort(random.integers(0, 900, n)), unit="D")
    branch, goods = random.choice(40, n), random.choice(12, n)
    pieces, price = random.poisson(15, n) + 1, random.lognormal(3, 0.5, n).round(2)
    total = pieces * price * (1 + 0.2 * (day.month == 12)) * np.exp(effects(random, branch, 0.3))
    frame = pd.DataFrame(
        {
            "Datum": day,
            "Filiale": [f"Straße {each}" for each in branch],
            "Warengruppe": pd.Series([f"Möbel {each}" for each in range(12)])[goods].to_numpy(),
            "Stück": pieces,
            "Stückpreis": gaps(random, price, 0.02),
            "Rabatt": random.choice([0, 2.5, 5, 10], n),
            "Umsatz": (total).round(2),
        }
    )
    point = str.maketrans(",.", ".,")
    written = frame.assign(
        Datum=frame["Datum"].dt.strftime("%d.%m.%Y"),
        Stückpreis=text(frame["Stückpreis"], "{:.2f} €").str.translate(point),
        Rabatt=text(frame["Rabatt"], "{:.1f}%").str.translate(point),
        Umsatz=text(frame["Umsatz"], "{:,.2f}").str.translate(point),
    )
    return Example(frame, "Umsatz", written, {"sep": ";", "encoding": "cp1252"})


def rooms(random):
    """Rooms to let: "$1,234.00", "97%", t and f, free text with line breaks, dates of reviews, ids, much missing."""
    n = 9000
    area, kind = random.choice(60, n), random.choice(3, n, p=[0.6, 0.35, 0.05])
    guests = random.integers(1, 9, n)
    price = 40 * np.exp(effects(random, area, 0.3) - 0.5 * kind) * guests**0.6 * random.lognormal(0, 0.25, n)
    deposit = gaps(random, (price * random.lognormal(1, 0.3, n)).round(-1), 0.3)
    review = pd.to_datetime("2019-01-01") + pd.to_timedelta(random.integers(0, 1500, n), unit="D")
    frame = pd.DataFrame(
        {
            "host_since": review - pd.to_timedelta(random.integers(30, 2000, n), unit="D"),
            "host_response_rate": gaps(random, random.choice([100, 97, 90, 50], n, p=[0.6, 0.2, 0.1, 0.1]), 0.2),
            "host_is_superhost": random.choice(["t", "f"], n),
            "neighbourhood": [f"Área {each}" for each in area],
            "room_type": pd.Series(["Entire home/apt", "Private room", "Shared room"])[kind].to_numpy(),
            "accommodates": guests,
            "bathrooms": gaps(random, (guests / 3).round() / 2 + 0.5, 0.01),
            "security_deposit": deposit,
            "last_review": gaps(random, review, 0.15),
            "price": price.round(),
        }
    )
    words = np.array(["lovely", "quiet", "flat,", "near", "the park;", "“cosy”", "loft", "with view\nand", "garden"])
    written = frame.assign(
        id=random.choice(10**8, n, replace=False),
        name=[" ".join(random.choice(words, 5)) for _ in range(n)],
        description=[" ".join(random.choice(words, 30)) for _ in range(n)],
        host_response_rate=text(frame["host_response_rate"], "{:.0f}%", "N/A"),
        security_deposit=text(frame["security_deposit"], "${:,.2f}"),
        price=text(frame["price"], "${:,.2f}"),
        license=np.nan,
    )
    return Example(frame, "price", written)


def grades(random):
    """Grades of pupils: thirty answers, most of them words, quoted and separated by semicolons."""
    n = 649
    frame = pd.DataFrame({f"answer {k}": random.choice(["yes", "no"], n) for k in range(8)})
    for name, levels in (("Mjob", 5), ("Fjob", 5), ("reason", 4), ("guardian", 3)):
        frame[name] = random.choice([f"{name} {each}" for each in range(levels)], n)
    for name in ("Medu", "Fedu", "traveltime", "studytime", "famrel", "goout", "Dalc", "health"):
        frame[name] = random.integers(1, 6, n)
    frame["failures"] = random.choice(4, n, p=[0.8, 0.12, 0.05, 0.03])
    frame["absences"] = random.geometric(0.2, n) - 1
    grade = 9 + 0.7 * frame["Medu"] + 0.8 * frame["studytime"] - 2 * frame["failures"] - 0.1 * frame["absences"]
    grade += 1.5 * (frame["answer 3"] == "yes") + random.normal(0, 2, n)
    return Example(frame.assign(G3=grade.round().clip(0, 20).astype(int)), "G3", csv={"sep": ";", "quoting": 2})


def estates(random):
    """Prices of flats: "No" counts the rows, and the date is a year with a fraction."""
    n = 414
    walk, age = random.lognormal(6.3, 1, n).round(4), random.uniform(0, 44, n).round(1)
    shops, year = random.integers(0, 11, n), (2012.667 + random.integers(0, 12, n) / 12).round(3)
    frame = pd.DataFrame({"X1 transaction date": year, "X2 house age": age, "X3 distance to station": walk})
    frame = frame.assign(**{"X4 number of stores": shops, "X5 latitude": random.normal(24.97, 0.012, n).round(5)})
    frame["Y price of unit area"] = (60 - 5 * np.log(walk) - 0.25 * age + 1.2 * shops + random.normal(0, 5, n)).round(1)
    return Example(frame, "Y price of unit area", frame.assign(No=range(1, n + 1))[["No", *frame]])


def sensors(random):
    """A machine's sensors: constant and empty columns, one that failed half-way, a zone, "-" for a gap."""
    when = pd.date_range("2022-03-01", periods=9000, freq="7min", tz="UTC")
    n, frame = len(when), pd.DataFrame({"timestamp": when.tz_localize(None)})
    speed = 50 + 20 * np.sin(np.arange(n) / 300) + random.normal(0, 2, n)
    frame["speed"] = gaps(random, speed.round(3), 0.01)
    frame["pressure"] = gaps(random, (speed * 0.1 + random.normal(3, 0.5, n)).round(3), 0.08)
    frame["vibration"] = pd.Series((speed**2 / 500 + random.normal(0, 0.5, n)).round(3)).mask(np.arange(n) > n / 2)
    frame["mode"] = random.choice(["idle", "run", "boost"], n, p=[0.2, 0.7, 0.1])
    wear = 20 + 0.5 * speed + 8 * (frame["mode"] == "boost") + random.normal(0, 2, n)
    frame["temperature"] = gaps(random, wear.round(2), 0.03)
    written = frame.assign(
        timestamp=when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        pressure=text(frame["pressure"], "{:.3f}", "-"),
        temperature=text(frame["temperature"], "{:.2f}", "-"),
        plant="A1",
        firmware=7,
        comment=np.nan,
        spare=np.nan,
    )
    return Example(frame, "temperature", written)


def wide(random):
    """Five hundred columns, most of which say nothing, with names of questions as a survey exports them."""
    n, questions = 1500, 440
    frame = pd.DataFrame(random.normal(size=(n, questions)).round(3))
    frame.columns = [f"F{k}. Wie zufrieden sind Sie mit Aspekt № {k} (1–10)?" for k in range(questions)]
    words = pd.DataFrame({f"Антwort {k}": random.choice(list("abcde"), n) for k in range(59)})
    score = 5 * frame.iloc[:, 3] - 4 * frame.iloc[:, 100] + 3 * frame.iloc[:, 7].abs() + 2 * (words.iloc[:, 5] == "c")
    frame = pd.concat([frame, words], axis=1).assign(score=(score + random.normal(0, 1, n)).round(3))
    return Example(frame, "score")


def tiny(random):
    """Ninety rows."""
    n = 90
    frame = pd.DataFrame({"dose": random.uniform(0, 10, n).round(2), "weight": random.normal(70, 12, n).round(1)})
    frame["group"] = random.choice(["control", "treated"], n)
    effect = 3 * frame["dose"] * (frame["group"] == "treated") + 0.4 * frame["weight"] + random.normal(0, 3, n)
    return Example(frame.assign(response=effect.round(2)), "response")


def narrow(random):
    """A hundred rows of three columns, one of them whole numbers that are all different and no ids."""
    n = 100
    visits = random.choice(np.arange(1000, 9000), n, replace=False)
    shop = random.choice(["north", "south"], n)
    sold = 0.3 * visits * np.where(shop == "north", 1.4, 1.0) + random.normal(0, 60, n)
    return Example(pd.DataFrame({"shop": shop, "num_visits": visits, "sold": sold.round()}), "sold")


def millions(random):
    """Two million rows: flights-like, with a time, categories and numbers."""
    n = 2_000_000
    start = pd.to_datetime("2020-01-01") + pd.to_timedelta(np.sort(random.integers(0, 730 * 1440, n)), unit="min")
    line, port = random.choice(15, n), random.choice(300, n)
    distance, left = random.integers(100, 4000, n), random.exponential(12, n).round() - 5
    late = 0.9 * left + effects(random, line, 4) + effects(random, port, 3) - distance / 800
    late += 6 * (start.hour > 16) + random.normal(0, 9, n)
    frame = pd.DataFrame(
        {
            "scheduled": start.as_unit("s"),
            "line": pd.Series([f"L{each}" for each in range(15)])[line].to_numpy(),
            "port": pd.Series([f"P{each:03d}" for each in range(300)])[port].to_numpy(),
            "distance": distance,
            "left_late": left.astype(int),
            "seats": random.choice([90, 120, 180, 240], n),
            "arrived_late": late.round().astype(int),
        }
    )
    return Example(frame, "arrived_late")


def zips(random):
    """Thousands of levels: postal codes with leading zeros, dealers by name, most of them rare."""
    n = 30_000
    code, dealer = random.choice(3000, n), np.minimum(random.zipf(1.3, n), 1500) - 1
    price = 100 + effects(random, code // 30, 25) + effects(random, code, 10) + effects(random, dealer, 20)
    frame = pd.DataFrame(
        {
            "zip": [f"{each * 7 + 501:05d}" for each in code],
            "dealer": pd.Series([f"{zlib.crc32(str(each).encode()):08x} Ltd" for each in range(1500)])[
                dealer
            ].to_numpy(),
            "size": random.uniform(20, 200, n).round(1),
        }
    )
    frame["price"] = (price + 0.8 * frame["size"] + random.normal(0, 10, n)).round(2)
    return Example(frame, "price", csv={"quoting": 2})


def mixed(random):
    """Columns of more than one kind: numbers among words, units, "(1,234.50)", and many words for missing."""
    n = 5000
    power, weight = random.uniform(40, 300, n).round(1), random.uniform(800, 2500, n).round()
    profit, year = random.normal(0, 4000, n).round(2), random.integers(1990, 2024, n)
    price = 60 * power + 3 * weight + 0.5 * profit + 300 * (year - 1990) + random.normal(0, 800, n)
    frame = pd.DataFrame({"power": gaps(random, power, 0.3), "weight": weight, "profit": profit, "year": year})
    frame["seats"] = gaps(random, random.choice([2, 4, 5, 7], n), 0.04)
    frame["price"] = price.round()
    words = random.choice(["on request", "see note", "tba", "electric"], n)
    written = frame.assign(
        power=text(frame["power"], "{:.1f}").where(frame["power"].notna(), words),
        weight=text(frame["weight"], "{:,.0f} kg"),
        profit=[f"({-each:,.2f})" if each < 0 else f"{each:,.2f}" for each in profit],
        seats=text(frame["seats"], "{:.0f}").mask(
            frame["seats"].isna(), random.choice(["n/a", "?", "--", "unknown"], n)
        ),
        price=text(frame["price"], "USD {:,.0f}"),
    )
    return Example(frame, "price", written)


def excel(random):
    """A French workbook saved as Unicode text: UTF-16, tabs, spaces between thousands, decimal commas, accents."""
    n = 1200
    surface, rooms_ = random.gamma(9, 8, n).round(1), random.integers(1, 8, n)
    city = random.choice(["Évry", "Nîmes", "Orléans", "Besançon"], n)
    built = pd.to_datetime("1950-01-01") + pd.to_timedelta(random.integers(0, 26_000, n), unit="D")
    price = 2500 * surface * (1 + 0.3 * (city == "Nîmes")) + 8000 * rooms_ + random.normal(0, 15_000, n)
    frame = pd.DataFrame({"Surface (m²)": surface, "Nombre de pièces": rooms_, "Ville": city})
    frame = frame.assign(**{"Année de construction": built, "Prix de vente (€)": price.round(2)})
    written = frame.assign(
        **{
            "Surface (m²)": text(frame["Surface (m²)"], "{:.1f}").str.replace(".", ","),
            "Année de construction": built.strftime("%d/%m/%Y"),
            "Prix de vente (€)": text(frame["Prix de vente (€)"], "{:,.2f}").str.translate(
                str.maketrans(",.", "\u202f,")
            ),
        }
    )
    return Example(frame, "Prix de vente (€)", written, {"sep": "\t", "encoding": "utf-16"})


def copies(random):
    """Every row up to three times."""
    n = 2500
    frame = pd.DataFrame({"a": random.normal(size=n).round(3), "b": random.normal(size=n).round(3)})
    frame["c"] = random.choice(list("uvwxyz"), n)
    frame["y"] = (frame["a"] * 3 + frame["b"] ** 2 + 2 * (frame["c"] == "v") + random.normal(0, 0.5, n)).round(3)
    return Example(frame.loc[np.repeat(frame.index, random.integers(1, 4, n))].reset_index(drop=True), "y")


def claims(random):
    """Amounts of claims: a heavy tail, most of it from a few categories."""
    n = 12_000
    kind, age = random.choice(8, n), random.integers(18, 90, n)
    amount = np.exp(6 + effects(random, kind, 0.8) + (age < 25) * 0.5) * random.lognormal(0, 0.9, n)
    names = pd.Series(["fire", "water", "theft", "glass", "storm", "hail", "fall", "other"])[kind].to_numpy()
    frame = pd.DataFrame({"policy": random.choice(10**6, n, replace=False), "kind": names, "age": age})
    frame["bonus"] = random.choice([0.5, 0.75, 1, 1.25], n)
    frame["amount"] = amount.round(2)
    written = frame.rename(columns={"policy": "policy_id"})
    return Example(frame.drop(columns="policy"), "amount", written)


def counts(random):
    """Visits to the doctor: small whole numbers with many zeros; booleans as True and False; a year and a sex."""
    n = 5000
    frame = pd.DataFrame({"sex": random.choice(["f", "m"], n), "age": random.integers(18, 95, n)})
    frame["chronic"], frame["insured"] = random.random(n) < 0.3, gaps(random, random.random(n) < 0.9, 0.08)
    rate = np.exp(-1 + 0.02 * frame["age"] + 0.9 * frame["chronic"] - 0.3 * (frame["sex"] == "m"))
    return Example(frame.assign(visits=random.poisson(rate)), "visits")


def cars(random):
    """Used cars: "23.4 kmpl", "1,248 CC", "74.0 bhp", brand and model in one name, "Rs." before the price."""
    n = 6000
    model, year = random.choice(180, n), random.integers(2000, 2024, n)
    engine = random.choice([998, 1197, 1248, 1498, 1968, 2143], n)
    power = (engine / 16 + random.normal(0, 6, n)).round(2)
    price = (
        np.exp(effects(random, model, 0.35) + power / 90 - 0.08 * (2024 - year) + random.normal(0, 0.12, n)) * 300_000
    )
    frame = pd.DataFrame({"name": [f"Brand{each % 20} Model {each}" for each in model], "year": year})
    frame["km_driven"] = (random.gamma(3, 20_000, n)).round()
    frame["mileage"] = gaps(random, (30 - engine / 150 + random.normal(0, 1, n)).round(2), 0.02)
    frame["engine"], frame["max_power"] = gaps(random, engine, 0.02), gaps(random, power, 0.02)
    frame["owner"] = random.choice(["First Owner", "Second Owner", "Third Owner"], n, p=[0.6, 0.3, 0.1])
    frame["selling_price"] = price.round(-3)
    written = frame.assign(
        km_driven=text(frame["km_driven"], "{:,.0f} km"),
        mileage=text(frame["mileage"], "{} kmpl"),
        engine=text(frame["engine"], "{:,.0f} CC"),
        max_power=text(frame["max_power"], "{} bhp"),
        selling_price=text(frame["selling_price"], "Rs. {:,.0f}"),
    )
    return Example(frame, "selling_price", written)


def stores(random):
    """Weekly sales of stores, month/day/two-digit year, few different days, TRUE and FALSE."""
    weeks, shops = pd.date_range("2010-02-05", periods=120, freq="7D"), 45
    frame = pd.DataFrame({"Store": np.tile(np.arange(1, shops + 1), len(weeks)), "Date": np.repeat(weeks, shops)})
    n = len(frame)
    frame["IsHoliday"] = np.repeat(random.random(len(weeks)) < 0.08, shops)
    frame["Temperature"] = (
        15 - 12 * np.cos(2 * np.pi * frame["Date"].dt.day_of_year / 365) + random.normal(0, 3, n)
    ).round(2)
    frame["MarkDown"] = gaps(random, random.gamma(1, 3000, n).round(2), 0.6)
    level = 1e6 * np.exp(effects(random, frame["Store"].to_numpy(), 0.5))
    frame["Weekly_Sales"] = (level * (1 + 0.2 * frame["IsHoliday"]) * random.lognormal(0, 0.08, n)).round(2)
    written = frame.assign(
        Date=frame["Date"].dt.strftime("%m/%d/%y"), IsHoliday=frame["IsHoliday"].map({True: "TRUE", False: "FALSE"})
    )
    return Example(frame, "Weekly_Sales", written)


def flights(random):
    """The flights of 2013 of resources/, as a stranger would take them: 336,776 real rows."""
    path = ROOT / "resources/flights.csv.xz"
    frame = pd.read_csv(path, parse_dates=["time_hour"])
    frame["time_hour"] = frame["time_hour"].dt.tz_localize(None)
    return Example(frame, "arr_delay", file=str(path))


def packaged(name: str, target: str | None = None) -> Callable:
    """Return a function that gives a real table which scikit-learn brings along."""

    def load(random):
        from sklearn import datasets

        bunch = getattr(datasets, f"load_{name}")(as_frame=True)
        frame = (
            bunch.frame if target is None or target in bunch.frame else pd.concat([bunch.data, bunch.target], axis=1)
        )
        return Example(frame, target or "target")

    load.__doc__ = f"{name}, as scikit-learn brings it along."
    return load


TABLES = [
    bikes,
    houses,
    insurance,
    diamonds,
    abalone,
    autos,
    wine,
    concrete,
    energy,
    taxi,
    superconductors,
    sales,
    rooms,
]
TABLES += [grades, estates, sensors, wide, tiny, narrow, zips, mixed, excel, copies, claims, counts, cars, stores]
TABLES = {each.__name__: each for each in TABLES + STRANGE}
TABLES |= {
    "diabetes": packaged("diabetes"),
    "linnerud": packaged("linnerud", "Weight"),
    "iris": packaged("iris", "petal width (cm)"),
    "cancer": packaged("breast_cancer", "mean area"),
    "flights": flights,
    "millions": millions,
}


def make_table(name: str, folder: Path) -> tuple[Example, Path]:
    """Write the table of that name to a folder; the same name gives the same bytes."""
    example = TABLES[name](np.random.default_rng(zlib.crc32(name.encode())))
    if Path(example.file).is_absolute():
        return example, Path(example.file)
    written = example.frame if example.written is None else example.written
    written.to_csv(folder / example.file, **{"index": False, **(example.csv or {})})
    return example, folder / example.file


def run(*command: object, **variables: str) -> str:
    """Run make in the project's root, and return what it printed. Raises CalledProcessError where it fails."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env={**os.environ, **variables},
        text=True,
        encoding="utf-8",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    done.check_returncode()
    return done.stdout


def rows_kept(project: Path) -> np.ndarray:
    """Return which rows of the source are in the features, from 0: cleaning is done once more, beside a row number."""
    config = yaml.safe_load((project / "config.yaml").read_text(encoding="utf-8"))
    check_config(config, ROOT / "workflow/schemas/config.schema.yaml")
    kinds = contract.kinds(contract.read_contract(project / config["validation"]["schema"]))
    table = read_table(project / "data/raw/raw_data.csv", kinds)
    required = tuple(each for each in (config["target"], config["time_column"]) if each)
    cleaning = config["cleaning"]
    policies = cleaning["columns"], cleaning["default"], required, "keep", cleaning["max_rows_lost"], table.bad
    return clean_data(table.frame.assign(**{"row number": range(len(table.frame))}), *policies)[0][
        "row number"
    ].to_numpy()


def by_hand(frame: pd.DataFrame, target: str, train: np.ndarray) -> dict[str, float]:
    """Return MAE and RMSE on the test part of what a person would write in ten minutes.

    Dates become their parts, numbers stay, words become codes, or a column a level where there are few of them: of
    these two, the one with the lower error.

    Parameters
    ----------
    frame
        n rows × m columns with their types, the target among them.
    train
        n booleans: the rows to train on; the others test.
    """
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    x, words = {}, []
    for name, values in frame.drop(columns=target).items():
        if pd.api.types.is_datetime64_any_dtype(values):
            x |= {
                f"{name} {part}": getattr(values.dt, part) for part in ("year", "month", "day", "day_of_week", "hour")
            }
        elif pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            x[name] = values
        else:
            x[name] = values.astype("object").where(values.notna(), "missing").astype("str")
            words.append(name)
    x, y = pd.DataFrame(x), frame[target].astype("float64")
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    dummies = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    few = [name for name in words if x[name].nunique() <= FEW_LEVELS]
    found = []
    for encoders in [[(codes, words)], [(dummies, few), (codes, [each for each in words if each not in few])]]:
        if words or not found:
            encode = make_column_transformer(
                *[each for each in encoders if each[1]], ("passthrough", []), remainder="passthrough"
            )
            model = make_pipeline(encode, HistGradientBoostingRegressor(random_state=0)).fit(x[train], y[train])
            predicted = model.predict(x[~train])
            scores = {"MAE": mean_absolute_error, "RMSE": root_mean_squared_error}
            found.append({each: float(score(y[~train], predicted)) for each, score in scores.items()})
    return min(found, key=lambda each: each["MAE"])


def measure(name: str, parent: Path, targets: tuple[str, ...] = ("init", "run", "report")) -> dict:
    """Return what became of a table: rows, columns, outcome, seconds, and the errors of both sides.

    `targets` of make are run one after the other; the errors need the first two.
    """
    folder = parent / name
    folder.mkdir()
    example, source = make_table(name, folder)
    project = folder / "project"
    result = {
        "name": name,
        "rows": len(example.frame),
        "columns": (example.frame if example.written is None else example.written).shape[1],
    }
    started = time.perf_counter()
    # benchmarks/presets.py measures the preset good, which compares many models.
    made = {"SOURCE": str(source), "TARGET": example.target, "PRESET": "fast"}
    for target in targets:
        try:
            run("make", target, f"DIR={project}", **(made if target == "init" else {}))
        except subprocess.CalledProcessError as error:
            why = [line for line in error.stdout.splitlines() if " failed: " in line or " - ERROR - " in line]
            return {**result, "outcome": f"{target} failed: {why[-1] if why else error.stdout[-300:]}"}
    seconds = time.perf_counter() - started
    metrics = json.loads((project / "reports/evaluation_metrics.json").read_text(encoding="utf-8"))
    train = (pd.read_csv(project / "data/features/features.csv", usecols=["split"])["split"] == "train").to_numpy()
    frame = example.frame.iloc[rows_kept(project)].reset_index(drop=True)
    hand = by_hand(frame, example.target, train)
    ours, mean = metrics["model"]["test"], metrics["baselines"]["mean"]["test"]
    return {
        **result,
        "outcome": "succeeded",
        "seconds": seconds,
        "kept": len(frame) / max(example.frame[example.target].notna().sum(), 1),
        "tested": ours["rows"],
        "MAE": ours["MAE"],
        "R2": ours["R2"],
        "mean": mean["MAE"],
        "ratios": {each: ours[each] / hand[each] if hand[each] else 1.0 for each in hand},
        "beats": ours["MAE"] < mean["MAE"] or hand["MAE"] >= mean["MAE"],
    }


def line(result: dict) -> str:
    """Return a line of the printed table."""
    head = f"{result['name']:<16}{result['rows']:>10,}{result['columns']:>5}  "
    if "ratios" not in result:
        return head + result["outcome"]
    missed = [each for each, ratio in result["ratios"].items() if ratio > 1 + WORSE] + ["mean"] * (not result["beats"])
    cells = (
        f"{result['kept']:>7.1%}{result['tested']:>9,}{result['MAE']:>12.5g}{result['mean']:>12.5g}{result['R2']:>8.3f}"
    )
    ratios = "".join(f"{ratio:>7.3f}" for ratio in result["ratios"].values())
    return f"{head}{cells}{ratios}{result['seconds']:>7.0f}  {'MISSED ' + ', '.join(missed) if missed else 'kept'}"


def page(results: list[dict]) -> str:
    """Return the results as Markdown."""
    lines = [
        "# Tables compared with pipelines written by hand",
        "",
        "`make bench-tables` creates a project for each table with `make init PRESET=fast`, `make run` and `make",
        "report`, without editing any file. *Kept* is the share of the rows with a target that remain after cleaning.",
        "*Error* is the mean absolute error on the held-out rows. *Ratio* is this error divided by that of the better",
        "of two scikit-learn pipelines written by hand, on the same rows and split. All random numbers are seeded, so",
        "the errors are the same each time. `benchmarks/tables.py` and `benchmarks/strange.py` describe the tables.",
        "",
        "| table | rows | columns | kept | held out | error | of the mean | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in results:
        head = f"| {each['name']} | {each['rows']:,} | {each['columns']} |"
        if "ratios" not in each:
            lines.append(f"{head} {each['outcome']} | | | | |")
            continue
        cells = f"{each['kept']:.1%} | {each['tested']:,} | {each['MAE']:.4g} | {each['mean']:.4g}"
        lines.append(f"{head} {cells} | {each['ratios']['MAE']:.3f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TABLES)} (default: all)")
    parser.add_argument("--output", type=Path, help="the Markdown file to write")
    args = parser.parse_args()
    names = args.names or list(TABLES)
    unknown = [each for each in names if each not in TABLES]
    if unknown:
        parser.error(f"there is no table {unknown[0]}")
    print("ratios: our error on the held-out rows by that of a pipeline written by hand on the same rows\n")
    heads = f"{'kept':>7}{'tested':>9}{'MAE':>12}{'mean MAE':>12}{'R2':>8}{'MAE':>7}{'RMSE':>7}{'s':>7}"
    print(f"{'':<16}{'rows':>10}{'cols':>5}  {heads}")
    results = []
    for name in names:
        with tempfile.TemporaryDirectory() as parent:
            results.append(measure(name, Path(parent)))
            print(line(results[-1]), flush=True)
    if args.output:
        args.output.write_text(page(results), encoding="utf-8")
    good = [each for each in results if line(each).endswith("kept")]
    print(f"\n{len(good)} of {len(results)} kept: they succeed, beat the mean where the pipeline written by hand does,")
    print(f"and their errors are at most {WORSE:.0%} above its own.")
    sys.exit(len(good) < len(results))


if __name__ == "__main__":
    main()
