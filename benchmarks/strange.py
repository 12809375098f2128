"""More tables for `tables.py`, each written in a way that someone somewhere takes for usual."""

import uuid

import numpy as np
import pandas as pd
from example import Example, effects, gaps, text

GERMAN = str.maketrans(",.", ".,")


def adverts(random):
    """Ninety used cars: semicolons, decimal commas, Latin letters of Windows, ja and nein, euros."""
    n = 90
    km, power, age = random.gamma(3, 30_000, n).round(), random.integers(50, 250, n), random.integers(0, 20, n)
    price = 20_000 * np.exp(-age / 9) + 60 * power - 0.05 * km + random.normal(0, 900, n)
    frame = pd.DataFrame({"Kilometerstand": km, "Leistung (PS)": power, "Alter": age})
    frame["Getränkehalter"], frame["Preis"] = random.choice(["ja", "nein"], n), price.clip(300).round(2)
    written = frame.assign(
        Kilometerstand=text(frame["Kilometerstand"], "{:,.0f}").str.translate(GERMAN),
        Preis=text(frame["Preis"], "{:,.2f}").str.translate(GERMAN) + " €",
    )
    return Example(frame, "Preis", written, {"sep": ";", "encoding": "cp1252", "lineterminator": "\r\n"})


def power(random):
    """Load of a grid: times with the offset of their zone, which changes in summer."""
    when = pd.date_range("2022-01-01", periods=6000, freq="3h", tz="Europe/Berlin")
    n = len(when)
    warmth = 10 - 9 * np.cos(2 * np.pi * when.dayofyear / 365) + random.normal(0, 2, n)
    load = 400 - 4 * warmth + 80 * np.sin((when.hour - 6) / 12 * np.pi) - 60 * (when.dayofweek > 4)
    frame = pd.DataFrame({"measured at": when.tz_convert("UTC").tz_localize(None), "temp °C": warmth.round(1)})
    frame["load [MW]"] = (load + random.normal(0, 10, n)).round(2)
    return Example(frame, "load [MW]", frame.assign(**{"measured at": [each.isoformat() for each in when]}))


def flats(random):
    """Rents: six ways to write yes and no, one of them a mark or nothing."""
    n = 2500
    words = {"garage": ("yes", "no"), "pool": ("Y", "N"), "cellar": ("ja", "nein"), "lift": (1, 0), "new": ("t", "f")}
    words["sea view"] = ("x", "")
    worth = dict(zip(words, (40, 90, 15, 0, 30, 200), strict=True))
    frame = pd.DataFrame({name: (random.random(n) < 0.3).astype(int) for name in words})
    frame["area"] = random.gamma(9, 9, n).round(1)
    rent = 100 + 3 * frame["area"] + sum(frame[name] * each for name, each in worth.items())
    frame["rent"] = (rent + random.normal(0, 10, n)).round(2)
    written = frame.assign(**{name: np.where(frame[name] == 1, *each) for name, each in words.items()})
    return Example(frame, "rent", written)


def parcels(random):
    """Costs of parcels: 20240131 and "Wed, 31 Jan 2024"."""
    n = 3000
    shipped = pd.Series(pd.Timestamp("2015-01-01") + pd.to_timedelta(np.sort(random.integers(0, 2900, n)), unit="D"))
    ordered = shipped - pd.to_timedelta(random.integers(1, 20, n), unit="D")
    frame = pd.DataFrame({"shipped": shipped, "ordered": ordered, "weight": random.gamma(2, 3, n).round(2)})
    season = 10 * np.sin(2 * np.pi * shipped.dt.dayofyear / 365)
    frame["cost"] = (50 + season + 4 * frame["weight"] + random.normal(0, 2, n)).round(2)
    words = {"shipped": shipped.dt.strftime("%Y%m%d"), "ordered": ordered.dt.strftime("%a, %d %b %Y")}
    return Example(frame, "cost", frame.assign(**words))


def meters(random):
    """Readings of a meter: seconds since 1970."""
    n = 4000
    when = pd.Series(pd.Timestamp("2020-01-01") + pd.to_timedelta(np.sort(random.integers(0, 6 * 10**7, n)), unit="s"))
    use = 50 + 20 * np.sin(2 * np.pi * when.dt.hour / 24) - 5 * (when.dt.dayofweek > 4) + random.normal(0, 3, n)
    frame = pd.DataFrame({"timestamp": when, "volts": random.normal(230, 3, n).round(1), "use": use.round(2)})
    return Example(frame, "use", frame.assign(timestamp=(when - pd.Timestamp(0)).dt.total_seconds().astype("int64")))


def branches(random):
    """Monthly sales of branches: 2024-01."""
    months, shops = pd.date_range("2018-01-01", periods=60, freq="MS"), 30
    frame = pd.DataFrame({"month": np.repeat(months, shops), "shop": np.tile(np.arange(shops), len(months))})
    season = 100 * np.sin(2 * np.pi * frame["month"].dt.month / 12)
    sales = 1000 + effects(random, frame["shop"].to_numpy(), 300) + season + random.normal(0, 40, len(frame))
    frame["sales"] = sales.round(1)
    return Example(frame, "sales", frame.assign(month=frame["month"].dt.strftime("%Y-%m")))


def regions(random):
    """Quarterly figures of regions: 2024Q1."""
    quarters, count = pd.date_range("2012-01-01", periods=40, freq="QS"), 40
    codes = np.tile(np.arange(count), len(quarters))
    frame = pd.DataFrame({"quarter": np.repeat(quarters, count), "region": [f"R{each}" for each in codes]})
    product = 1000 + effects(random, codes, 300) + 100 * (frame["quarter"].dt.quarter == 4)
    frame["product"] = (product + random.normal(0, 40, len(frame))).round(1)
    words = frame["quarter"].dt.year.astype("str") + "Q" + frame["quarter"].dt.quarter.astype("str")
    return Example(frame, "product", frame.assign(quarter=words))


def calls(random):
    """Prices of calls: a time of day, 07:45, and a duration, 1:02:30."""
    n = 3000
    minute, seconds = random.integers(0, 24 * 60, n), random.gamma(3, 600, n).round().astype(int)
    price = (3 + seconds / 300 + 2 * (minute // 60 == 8) + random.normal(0, 0.5, n)).round(2)
    frame = pd.DataFrame({"start": minute / 60, "duration": seconds, "bars": random.integers(1, 6, n), "price": price})
    starts = [f"{each // 60:02d}:{each % 60:02d}" for each in minute]
    durations = [f"{each // 3600}:{each % 3600 // 60:02d}:{each % 60:02d}" for each in seconds]
    return Example(frame, "price", frame.assign(start=starts, duration=durations))


def hotels(random):
    """Shares: 35.2%, +1.5 %, and a target with a percent sign."""
    n = 2000
    frame = pd.DataFrame({"occupancy": random.beta(2, 5, n).round(3) * 100, "growth rate": random.normal(0, 5, n)})
    frame = frame.round(1).assign(region=random.choice(list("NSEW"), n))
    share = 0.3 * frame["occupancy"] + frame["growth rate"] + random.normal(0, 0.5, n)
    frame["share"] = share.round(1)
    forms = {"occupancy": "{:.1f}%", "growth rate": "{:+.1f} %", "share": "{:.1f} %"}
    return Example(frame, "share", frame.assign(**{name: text(frame[name], form) for name, form in forms.items()}))


def blanks(random):
    """Columns without a value, constant ones, one with three values, and 200 rows of nothing at the end."""
    n = 1200
    frame = pd.DataFrame({"a": random.normal(size=n).round(2), "b": random.choice(list("xyz"), n)})
    frame["y"] = (frame["a"] * 2 + (frame["b"] == "x") + random.normal(0, 0.2, n)).round(3)
    written = frame.assign(leer="", nothing=np.nan, region="EU", one=1, mostly=["1", "2", "3"] + [""] * (n - 3))
    return Example(frame, "y", written.reindex(range(n + 200)))


def shop(random):
    """A Japanese export: UTF-16, tabs, .txt."""
    n = 500
    frame = pd.DataFrame({"数量": random.integers(1, 50, n), "カテゴリ": random.choice(["食品", "衣料", "家電"], n)})
    frame["価格"] = frame["数量"] * 100 + 900 * (frame["カテゴリ"] == "家電") + random.normal(0, 90, n).round()
    return Example(frame, "価格", csv={"encoding": "utf-16", "sep": "\t"}, file="売上.txt")


def bodies(random):
    """A byte order mark, semicolons, all in quotes, decimal commas."""
    n = 800
    frame = pd.DataFrame({"Größe": random.normal(170, 9, n).round(1), "Ort": random.choice(["München", "Köln"], n)})
    frame["Gewicht"] = (frame["Größe"] * 0.9 - 90 + 5 * (frame["Ort"] == "Köln") + random.normal(0, 4, n)).round(1)
    written = frame.assign(**{name: text(frame[name], "{}").str.replace(".", ",") for name in ("Größe", "Gewicht")})
    return Example(frame, "Gewicht", written, {"sep": ";", "encoding": "utf-8-sig", "quoting": 1})


def listings(random):
    """Prose with quotes, semicolons and line breaks; 300 hosts; an id."""
    n = 4000
    words = "great awful fine small large bright dark cosy noisy quiet central remote modern old"
    frame = pd.DataFrame({"host": random.choice([f"Host {each}" for each in range(300)], n)})
    frame["beds"] = random.integers(1, 6, n)
    frame["price"] = (40 * frame["beds"] + random.normal(0, 15, n)).round()
    prose = [f'"{" ".join(random.choice(words.split(), each))}",\nit says; again' for each in random.integers(3, 30, n)]
    return Example(frame, "price", frame.assign(listing_id=np.arange(n) * 7 + 1000, description=prose))


def orders(random):
    """Ids of many kinds, one of them of customers that come again."""
    n = 3000
    frame = pd.DataFrame({"customer_id": random.integers(10_000, 10_400, n), "seats": random.integers(1, 40, n)})
    frame["plan"] = random.choice(["free", "pro", "team"], n)
    worth = frame["seats"] * frame["plan"].map({"free": 5, "pro": 10, "team": 20})
    frame["spend"] = worth + effects(random, frame["customer_id"].to_numpy() - 10_000, 60) + random.normal(0, 10, n)
    ids = {"order": [f"A-{each:06d}" for each in range(n)], "email": [f"user{each}@example.org" for each in range(n)]}
    ids["uuid"] = [str(uuid.UUID(int=int(each))) for each in random.integers(0, 2**62, n)]
    return Example(frame, "spend", frame.assign(**ids))


def losses(random):
    """Losses: three of ten are 0, the others over six decades."""
    n = 8000
    a, group = random.normal(size=(n, 5)).round(3), random.integers(0, 30, n)
    loss = np.exp(1.5 * a[:, 0] + a[:, 1] + effects(random, group, 1) + random.normal(0, 1, n))
    frame = pd.DataFrame(a, columns=list("abcde")).assign(group=[f"g{each}" for each in group])
    return Example(frame.assign(loss=(loss * (random.random(n) < 0.7)).round(2)), "loss")


def offers(random):
    """Prices in dollars, a quarter of them missing in several words; codes with a leading zero."""
    n = 3000
    codes = random.integers(0, 40, n)
    frame = pd.DataFrame({"sqft": random.gamma(9, 150, n).round(), "zip": [f"{501 + each:05d}" for each in codes]})
    price = frame["sqft"] * 200 + effects(random, codes, 40_000) + random.normal(0, 15_000, n)
    frame["price"] = gaps(random, price.round(-2), 0.25)
    prices = text(frame["price"], "${:,.0f}")
    prices[prices == ""] = random.choice(["", "N/A", "-", "TBD"], (prices == "").sum(), p=[0.4, 0.3, 0.29, 0.01])
    return Example(frame, "price", frame.assign(price=prices))


def names(random):
    """Names of columns with commas, quotes, line breaks, spaces around them, and one that the workflow uses itself."""
    n = 700
    columns = ["a,b", 'say "hi"', "line\nbreak", "split", "target", "🚲 count", "  padded ", "class", "x%y"]
    frame = pd.DataFrame(random.normal(size=(n, len(columns))).round(3), columns=columns)
    frame["y`tick"] = (frame["a,b"] + 2 * frame["split"] + random.normal(0, 0.1, n)).round(3)
    return Example(frame, "y`tick")


def contracts(random):
    """Ends of contracts on 9999-12-31, temperatures of -999."""
    n = 3000
    start = pd.Series(pd.Timestamp("2019-01-01") + pd.to_timedelta(np.sort(random.integers(0, 1500, n)), unit="D"))
    end = (start + pd.to_timedelta(random.integers(1, 400, n), unit="D")).astype("datetime64[us]")
    warmth = random.normal(20, 5, n).round(1)
    frame = pd.DataFrame(
        {"start_date": start, "end_date": end.mask(random.random(n) < 0.3, pd.Timestamp("9999-12-31"))}
    )
    frame["temp"], frame["y"] = warmth, (warmth * 2 + random.normal(0, 1, n)).round(2)
    frame["temp"] = frame["temp"].mask(random.random(n) < 0.1, -999)
    return Example(frame, "y")


def posts(random):
    """Followers: 512, 3.4K, 1.2M."""
    n = 2000
    frame = pd.DataFrame({"followers": (10 ** random.uniform(2, 7, n)).round(-1), "posts": random.integers(1, 999, n)})
    frame["likes"] = (frame["followers"] * 0.02 * random.lognormal(0, 0.3, n)).round()
    short = [
        f"{n / 1e6:.1f}M" if n >= 1e6 else f"{n / 1e3:.1f}K" if n >= 1e3 else f"{n:.0f}" for n in frame["followers"]
    ]
    return Example(frame, "likes", frame.assign(followers=short))


def assays(random):
    """Numbers from 1e-9 to 1e9, in the notation of science, lines that end as on an old Macintosh."""
    n = 1500
    frame = pd.DataFrame({"conc": 10 ** random.uniform(-9, 9, n), "ph": random.uniform(2, 12, n).round(2)})
    frame["signal"] = np.log10(frame["conc"]) * 1e-6 + frame["ph"] * 1e-7 + random.normal(0, 2e-7, n)
    return Example(frame, "signal", csv={"float_format": "%.6e", "lineterminator": "\r"})


def museum(random):
    """Visitors a day: "7. Mai 2018"."""
    days = pd.Series(pd.date_range("2018-01-01", periods=1400))
    visitors = 200 + 30 * np.sin(2 * np.pi * days.dt.dayofyear / 365) + 40 * (days.dt.dayofweek > 4)
    frame = pd.DataFrame({"Tag": days, "Wetter": random.choice(["Sonne", "Regen", "Schnee"], len(days))})
    frame["Besucher"] = (visitors + random.normal(0, 5, len(days))).round()
    months = ["Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sept.", "Okt.", "Nov.", "Dez."]
    words = [f"{each.day}. {months[each.month - 1]} {each.year}" for each in days]
    return Example(frame, "Besucher", frame.assign(Tag=words), {"sep": ";"})


STRANGE = [adverts, power, flats, parcels, meters, branches, regions, calls, hotels, blanks, shop, bodies, listings]
STRANGE += [orders, losses, offers, names, contracts, posts, assays, museum]
