"""Write a table of any number of flights as CSV: the embedded year, repeated with later dates and noise.

python benchmarks/data.py --rows 3000000 --output flights.csv
"""

import argparse
import lzma
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from measure import ROOT, YEAR_ROWS

FLIGHTS = ROOT / "resources/flights.csv.xz"
NOISE_MINUTES = 3


def read_year() -> pa.Table:
    """Return the embedded flights: 336,776 rows × 11 columns; whole numbers as int64, anything else as text."""
    with lzma.open(FLIGHTS) as file:
        options = pyarrow.csv.ConvertOptions(column_types={"time_hour": pa.string()}, strings_can_be_null=True)
        return pyarrow.csv.read_csv(file, convert_options=options)


def later(year: pa.Table, n: int) -> pa.Table:
    """Return the flights as they may be n × 52 weeks later: the same ones, late by some minutes more or less."""
    times = pc.dictionary_encode(year["time_hour"].combine_chunks())
    hours = np.array([each.removesuffix("Z") for each in times.dictionary.to_pylist()], dtype="datetime64[s]")
    texts = pa.array(np.char.add(np.datetime_as_string(hours + np.timedelta64(52 * n, "W")), "Z"))
    random = np.random.default_rng(n)
    year = year.set_column(0, "time_hour", texts.take(times.indices))
    # At the gate and on arrival, so that the one still tells of the other.
    at_gate, on_the_way = np.rint(random.normal(0, NOISE_MINUTES, (2, len(year)))).astype("int64")
    for name, minutes in (("dep_delay", at_gate), ("arr_delay", at_gate + on_the_way)):
        year = year.set_column(year.column_names.index(name), name, pc.add(year[name], pa.array(minutes)))
    return year


def write_flights(rows: int, path: Path) -> None:
    """Write so many flights to `path`: the year's own first, or fewer, spread over the year."""
    year = read_year()
    if rows < len(year):
        year = year.take(np.linspace(0, len(year) - 1, rows).astype("int64"))
    options = pyarrow.csv.WriteOptions(quoting_style="none", quoting_header="none")
    with pyarrow.csv.CSVWriter(path, year.schema, write_options=options) as writer:
        for n, first in enumerate(range(0, rows, len(year))):
            writer.write_table((later(year, n) if n else year).slice(0, rows - first))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=YEAR_ROWS, help="how many (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="the CSV file to write")
    args = parser.parse_args()
    write_flights(args.rows, args.output)


if __name__ == "__main__":
    main()
