"""Make a project of a table: read it, decide what its columns are, and write a config and a data contract.

    python scripts/init_project.py --source rides.csv --target minutes [--output FOLDER]

Everything that was decided, and why, is printed, and stands in the two files, where a person can change it.
"""

import csv
import io
import itertools
import logging
import os
import re
import shlex
import tempfile
import textwrap
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from pathlib import Path

import pandas as pd
import yaml

import task
from address import expand, refuse_password, shown
from dates import hides_dates
from facts import facts_of, names_or_prose, names_the_row, unit_of
from ingest_data import ingest_data
from packing import open_text, packed_as
from reader import READER, Reader
from source import fetch, label, parts
from source_checks import SEPARATORS
from table import Table, read_table
from task import TaskError, printable, replacing
from values import BLANKS, COMMA_NUMBER

SAMPLE = 1 << 18
# The share of rows that dropping those with a missing value may cost.
MOST_LOST = 0.05
# With more columns to blame for lost rows, none is named.
MOST_NAMED = 20
# A split by time needs so many different times.
FEWEST_TIMES = 20
WHEN = re.compile(r"time|date|stamp|when|day|month|datum|zeit|tag|fecha|heure|created|started|period", re.IGNORECASE)
# Dates that tell something else than when the row happened.
NOT_WHEN = re.compile(r"birth|born|dob|geb|expir|valid|due|end|until|bis|hire|build|built", re.IGNORECASE)
# Digits that a decimal comma parts, which no comma between thousands does; and a plain number with a decimal point.
CLEAR_COMMA = re.compile(r"\D*(?:0|\d{4,}|\d{1,3}(?:[. ’'\u00a0\u202f]\d{3})+)?,\d+\D*|\D*\d+,(?:\d\d?|\d{4,})\D*")
CLEAR_POINT = re.compile(r"[+-]?(?:\d+\.(?:\d{1,2}|\d{4,})|0?\.\d+)")


def sniff(opened, name: str) -> dict[str, str]:
    """Return how a text file is written: its encoding, delimiter and decimal, as the config's `reader` calls them.

    Parameters
    ----------
    opened
        A function that opens the file's (decompressed) bytes for reading.
    name
        What to call it in an error.
    """
    with opened() as stream:
        head = stream.read(SAMPLE)
    encoding = "utf-8"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    else:
        try:
            with opened() as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
                while text.read(SAMPLE):
                    pass
        except UnicodeDecodeError:
            encoding = "cp1252" if not set(head) & {0x81, 0x8D, 0x8F, 0x90, 0x9D} else "latin-1"
    text = head.decode("utf-8-sig" if encoding == "utf-8" else encoding, errors="ignore")
    # The last line of the sample may be cut.
    lines = text.splitlines(keepends=True)[: -1 if len(head) == SAMPLE else None]
    tables = {mark: rows_of(lines, mark) for mark in (",", *(mark for mark in SEPARATORS if mark != ","))}
    delimiter = max(tables, key=lambda mark: regularity(tables[mark]))
    return {"delimiter": delimiter, "encoding": encoding, "decimal": decimal_of(tables[delimiter][1:], delimiter)}


def decimal_of(rows: list[list[str]], delimiter: str) -> str:
    """Return what stands before a fraction in rows of text: a comma where a column says so and none says a point."""
    commas = maybe = points = False
    for column in itertools.zip_longest(*rows, fillvalue=""):
        values = [each for each in column if each.strip() and each.strip().lower() not in BLANKS]
        with_comma = [each for each in values if "," in each]
        if with_comma and sum(map(number_with_comma, values)) >= 0.9 * len(values):
            # 1,234 may be more than a thousand, or a little more than one.
            clear = any(CLEAR_COMMA.fullmatch(each) for each in with_comma)
            commas, maybe = commas or clear, maybe or not clear
        points |= bool(values) and sum(bool(CLEAR_POINT.fullmatch(each)) for each in values) >= 0.5 * len(values)
    return "," if not points and (commas or (maybe and delimiter == ";")) else "."


def number_with_comma(cell: str) -> bool:
    """Tell whether a cell is a number in a notation with a decimal comma; whole numbers are in any."""
    return bool(COMMA_NUMBER.fullmatch(cell)) or cell.strip().lstrip("+-").isdigit()


def rows_of(lines: list[str], delimiter: str) -> list[list[str]]:
    """Return the first thousand rows of CSV text."""
    try:
        return [row for row in itertools.islice(csv.reader(lines, delimiter=delimiter), 1000) if row]
    except csv.Error:
        return []


def regularity(rows: list[list[str]]) -> tuple[float, int]:
    """Return how well rows make a table: the share that is as long as the header, where there is more than a column."""
    if not rows or len(rows[0]) < 2:
        # Something may stand above the header.
        return 0.0, max((len(row) for row in rows), default=0)
    return sum(len(row) == len(rows[0]) for row in rows) / len(rows), len(rows[0])


def init_project(table: Table, target: str) -> tuple[dict, dict, list[str]]:
    """Return the config but for its source, the data contract, and what was decided, one line each.

    Parameters
    ----------
    table
        n rows × m columns.
    target
        The column to predict; its rows without a value are not counted as lost.
    """
    if target == "split":
        raise TaskError("the name 'split' is taken by the workflow: give the target another name in the source.")
    frame = table.frame[table.frame[target].notna()]
    rows, said = len(frame), []
    if rows < len(table.frame):
        said.append(f"rows: {len(table.frame) - rows:,} without {target} are dropped, {rows:,} are left")
    kinds, validation = dict(table.kinds), {}
    for name, values in table.bad.items():
        found = f"{name}: {len(values):,} values are no {kinds[name]}, such as {values.iloc[0]!r}"
        if kinds[name] == "number" and name != target:
            # As text, its numbers are still of use, and no row is lost for the others.
            kinds[name] = "text"
            column = frame[name].astype("str")
            frame = frame.assign(**{name: column.mask(column.index.isin(values.index), values.astype("str"))})
            said.append(f"{found}; so it is text. Once they are corrected, say dtype: float64 in schema.yaml")
        else:
            validation = {"on_failure": "warn"}
            said.append(
                f"{found}; their rows are dropped, and each run warns of them. Once they are corrected, take "
                "on_failure: warn out of config.yaml"
            )
    config: dict = {"target": target}
    time_column, split, why = choose_time(frame, kinds, target)
    said.append(why)
    if time_column:
        config["time_column"] = time_column
    facts = facts_of(frame)
    ids = [name for name in frame if name != target and names_the_row(name, facts[name])]
    if ids:
        config["features"] = {"drop": ids}
        said.append(f"features: {', '.join(ids)} left out, whole numbers that only name the row")
    dates = [facts[name] for name in frame if kinds[name] == "date" and name != target]
    if dates and not any(each.has_time for each in dates):
        config.setdefault("features", {})["date_parts"] = ["year", "month", "day", "day_of_week"]
        said.append("features: of dates, which have no time of day, also the day of the month")
    empty = [name for name in frame if frame[name].isna().all() and name != target]
    if empty:
        said.append(f"features: {', '.join(empty)} left out, empty")
    text = [name for name in frame if kinds[name] == "text" and name not in empty]
    units = {name: unit for name in text if (unit := unit_of(facts[name])) is not None}
    if units:
        words = {"": "", ":": " (in hours)"}
        shown_units = ", ".join(name + words.get(unit, f" ({unit})") for name, unit in units.items())
        said.append(f"features: of {shown_units}, the numbers; other words count as missing")
    loose = [name for name in text if name not in units]
    loose = [name for name in loose if names_or_prose(facts[name])]
    if loose:
        said.append(f"features: {', '.join(loose)} left out, text of which more than half of the values differ")
    if not set(frame) - {target, *ids, *empty, *loose}:
        others = ", ".join(frame.columns.drop(target))
        raise TaskError(f"there is nothing to predict {target} from: {others} only name rows, or are empty.")
    left = columns_to_leave(frame.drop(columns=[target]), time_column)
    lost = int(frame.drop(columns=left).isna().any(axis=1).sum())
    blamed = ", ".join(name for name in left if name not in empty)
    if len(left) > MOST_NAMED:
        lost = int(frame[time_column].isna().sum()) if time_column else 0
        config["cleaning"] = {"default": "leave"}
        said.append(f"cleaning: missing values are left to the model in every column, {len(left)} being to blame")
    elif left:
        config["cleaning"] = {"columns": dict.fromkeys(left, "leave")}
    if blamed and len(left) <= MOST_NAMED:
        said.append(
            f"cleaning: missing values are left to the model in {blamed}; rows with any other missing value "
            f"are dropped ({lost:,}, {lost / rows:.1%})"
        )
    elif lost and not blamed:
        said.append(f"cleaning: rows with a missing value are dropped ({lost:,}, {lost / rows:.1%})")
    # The default of max_rows_lost, less some room.
    share = 1 - (rows - lost) / len(table.frame)
    if share > 0.45:
        config.setdefault("cleaning", {})["max_rows_lost"] = float(f"{min(share + 0.1, 0.99):.2f}")
        said.append(f"cleaning: {share:.1%} of the rows are lost in all; max_rows_lost lets them go")
    if split:
        config["split"] = split
    if validation:
        config["validation"] = validation
    contract = {"columns": {name: rules(each, kinds[name]) for name, each in table.frame.items() if name not in empty}}
    return config, contract, said


def choose_time(frame: pd.DataFrame, kinds: dict[str, str], target: str) -> tuple[str | None, dict, str]:
    """Return the column that says when a row happened (None where none does), the split, and why."""
    dates = [name for name in frame if kinds[name] == "date" and name != target]
    candidates = []
    for name in dates:
        known = frame[name].dropna()
        steps = known.diff().dropna()
        in_order = max((steps >= pd.Timedelta(0)).mean(), (steps <= pd.Timedelta(0)).mean())
        likely = bool(WHEN.search(name)) or in_order > 0.9
        # Rows without a time are dropped, whatever the policy.
        if not likely or NOT_WHEN.search(name) or len(known) <= (1 - MOST_LOST) * len(frame):
            continue
        if known.nunique() >= FEWEST_TIMES:
            candidates.append((round(in_order, 1), name))
    if candidates:
        # The first of those that are about as well in order.
        name = max(candidates, key=lambda each: each[0])[1]
        return name, {}, f"time: rows are split by {name}, the last fifth is held out"
    if dates:
        why = f"time: {', '.join(dates)} does not seem to say when a row happened, so a stable hash decides which rows "
        return None, {"by": "hash"}, why + "are held out. If it does, set time_column and split.by: time"
    return None, {}, "time: no column of dates, so a stable hash decides which rows are held out"


def columns_to_leave(frame: pd.DataFrame, time_column: str | None) -> list[str]:
    """Return the columns to blame where dropping rows with a missing value costs too many, the worst first."""
    missing = frame.isna()
    left: list[str] = []
    counts = missing.sum().sort_values(ascending=False, kind="stable")
    for name in counts[counts > 0].index:
        if missing.drop(columns=left).any(axis=1).mean() < MOST_LOST:
            break
        if name != time_column:
            left.append(name)
    return left


def rules(values: pd.Series, kind: str) -> dict:
    """Return a column's part of the contract, with slack: what a person knows better stands in a comment."""
    dtype = {"number": "float64", "boolean": "bool", "date": "datetime64[ns]"}.get(kind, "str")
    found: dict = {"dtype": dtype, "nullable": bool(values.isna().any() or len(values) < 1000)}
    if kind == "number" and values.notna().any():
        low, high = float(values.min()), float(values.max())
        slack = (high - low) or abs(high) or 1.0
        least = 0.0 if low >= 0 else rounded(low - slack, ROUND_FLOOR)
        found["checks"] = {"in_range": {"min_value": least, "max_value": rounded(high + slack, ROUND_CEILING)}}
    return found


def rounded(value: float, direction: str) -> float:
    """Return a number with three digits, up or down."""
    return float(Context(prec=3, rounding=direction).create_decimal_from_float(value))


def seen(values: pd.Series, kind: str) -> str:
    """Return what the data show of a column, for the comment beside its rules."""
    known, missing = values.dropna(), int(values.isna().sum())
    words = [f"{missing:,} missing"] if missing else []
    if kind in ("number", "date"):
        words.insert(0, f"seen {known.min()} … {known.max()}")
    elif kind == "text":
        levels = known.unique()
        few = ", ".join(map(repr, sorted(levels)[:8]))
        words.insert(0, f"only {few}: tighten with checks: isin" if len(levels) <= 8 else f"{len(levels):,} different")
    # The first rows tell of most columns, and fast.
    if len(known) == len(values) and kind != "boolean" and known.head(1000).is_unique and known.is_unique:
        words.append("no value stands twice: tighten with unique: true")
    return " ".join("; ".join(words).split())


def config_text(source: str, config: dict, reader: dict) -> str:
    """Return config.yaml: what matters, with a word on each."""
    usual = {"delimiter": ",", "encoding": "utf-8", "decimal": "."}
    reader = {key: value for key, value in reader.items() if value != usual.get(key)}
    notes = {
        "raw_data_source_url": "a path from this folder, or a URL; read anew when it changes",
        "target": "what to predict",
        "time_column": "when each row happened; the last fifth in time is held out",
        "reader": "how the source is written",
        "features": "columns that are no features, parts of dates; derived features can be added here",
        "cleaning": "what becomes of rows with a missing value: dropped, but for what stands here",
        "split": "no time to split by",
    }
    config = dict(config)
    validation = config.pop("validation", {})
    sections = {"raw_data_source_url": source, **({"reader": reader} if reader else {}), **config}
    lines = ["# Every other key: config/README.md of the workflow"]
    for key, value in sections.items():
        lines.append(f"# {notes[key]}")
        lines.append(block({key: value}))
    lines += ["# the data contract", block({"validation": {"schema": "schema.yaml", **validation}})]
    lines += ["# what a model must reach; set it when you have seen what is usual"]
    lines += ["# thresholds: {mae_max: 1.0, r2_min: 0.5}"]
    return "\n".join(lines) + "\n"


def block(value: dict) -> str:
    """Return a mapping as YAML, one key a line."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000).rstrip()


def contract_text(contract: dict, table: Table) -> str:
    """Return schema.yaml, with what was seen of each column."""
    lines = [
        "# What the data must keep, inferred from the data with slack: ranges are twice as wide as what was seen.",
        "# Tighten what you know better, above all the ranges, isin for categories, and unique for ids.",
        "columns:",
    ]
    for name, each in contract["columns"].items():
        lines.append(f"  # {seen(table.frame[name], table.kinds[name])}")
        lines.append(textwrap.indent(block({name: each}), "  "))
    return "\n".join(lines) + "\n"


def look_at(source: str, query: str | None, scratch: Path) -> tuple[dict[str, str], str]:
    """Return how the (first) file of a source is written, and where to read it from: what was downloaded, once."""
    found = parts(expand(source), Reader(query=query))
    reader = {"delimiter": ",", "encoding": "utf-8", "decimal": "."}
    if query:
        return reader, source
    arrived, _ = fetch(found[0], scratch / "source", READER)
    name, form = label(found[0]), packed_as(arrived)
    if form in (None, "gzip", "xz", "zip"):
        reader = sniff(lambda: open_text(arrived, form, name), name)
    # A file of this machine stays where it is.
    if len(found) > 1 or arrived != scratch / "source":
        return reader, source
    # Under its own name, for what that says.
    return reader, str(arrived.rename(scratch / (Path(name.partition("?")[0]).name or "table")))


def folder_name(source: str) -> str:
    """Return the name that a source gives to its project: the last of its words that has a letter."""
    path = shown(source).partition("?")[0] if "://" in source else source
    words = [re.sub(r"[^\w-]+", "_", each.split(".")[0]).strip("_") for each in path.split("/")]
    return next((each for each in reversed(words) if each), "project")


def from_folder(source: str, folder: Path) -> str:
    """Return a source as it is named from the project's folder."""
    if re.match(r"sqlite(\+\w+)?:///[^/]", source):
        scheme, _, path = source.partition(":///")
        return f"{scheme}:///{os.path.relpath(path, folder)}"
    return source if "://" in source or source.startswith("${") else os.path.relpath(source, folder)


def main(argv: list[str] | None = None) -> None:
    parser = task.arguments(__doc__)
    parser.add_argument("--source", required=True, help="a path, folder, pattern or URL of a table")
    parser.add_argument("--query", help="the SQL statement whose rows to read, where the source is a database")
    parser.add_argument("--target", required=True, help="the column to predict")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="the project's folder; named after the source")
    parser.add_argument("--force", action="store_true", help="overwrite a config that is there")
    args = parser.parse_args(argv)
    # As ingest_data writes the names of columns.
    args.target = args.target.strip()
    with task.logged("init_project", args, shown(args.source)):
        refuse_password(args.source)
        folder = args.output or Path(folder_name(args.source))
        taken = [folder / name for name in ("config.yaml", "schema.yaml") if (folder / name).exists()]
        if taken and not args.force:
            raise TaskError(f"{taken[0]} is there already. Choose another folder, or overwrite it with --force.")
        with tempfile.TemporaryDirectory(prefix="signoff-") as scratch:
            reader, local = look_at(args.source, args.query, Path(scratch))
            raw = Path(scratch, "raw_data.csv")
            # Through the same checks as every later run.
            ingest_data(local, raw, args.target, Reader(**reader, query=args.query))
            table = read_table(raw)
            hidden = [name for name in table.frame if name != args.target and hides_dates(name, table.frame[name])]
            if hidden:
                table = read_table(raw, dict.fromkeys(hidden, "date"))
        config, contract, said = init_project(table, args.target)
        said = [f"dates: {name}, written as {table.formats[name]}" for name in hidden] + said
        source = from_folder(args.source, folder)
        reader |= {"query": args.query} if args.query else {}
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (
            ("config.yaml", config_text(source, config, reader)),
            ("schema.yaml", contract_text(contract, table)),
        ):
            with replacing(folder / name) as new:
                new.write_text(text, encoding="utf-8")
        kinds = pd.Series(table.kinds).value_counts()
        print(f"\n{len(table.frame):,} rows, {len(table.kinds)} columns: ", end="")
        print(", ".join(f"{count} {kind}" for kind, count in kinds.items()))
        if reader != {"delimiter": ",", "encoding": "utf-8", "decimal": "."}:
            print(f"reader: {', '.join(f'{key} {value!r}' for key, value in reader.items())}")
        print(*map(printable, said), sep="\n")
        print(f"\nWrote {folder}/config.yaml and {folder}/schema.yaml. Look at them, then:", end="  ")
        print(f"make run DIR={shlex.quote(str(folder))}\n")
        logging.info("[init_project] wrote %s", folder)


if __name__ == "__main__":
    main()
