"""Make a project of a table: read it, decide what its columns are, and write a config and a data contract.

    python scripts/init_project.py --source rides.csv --target minutes [--output FOLDER]

It prints every decision with its reason, and writes it to the two files, where a person can change it.
"""

import functools
import logging
import os
import re
import shlex
import tempfile
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pyarrow as pa

from signoff.base import command_line
from signoff.base.config import ReaderConfig
from signoff.base.errors import TaskError
from signoff.base.files import replacing
from signoff.base.redaction import printable
from signoff.config.expectations import expectations
from signoff.config.project_files import config_text, contract_text, history_key
from signoff.features.evidence import (
    ColumnFacts,
    facts_of,
    hides_signs,
    names_or_prose,
    names_the_row,
    other_words,
    unit_of,
)
from signoff.features.prose import is_prose
from signoff.model.records import DEFAULT_MINUTES
from signoff.source.address import expand, refuse_password, shown
from signoff.source.compressed import COMPRESSED, open_text, packed_as
from signoff.source.fetch import fetch, label, parts_of_source
from signoff.source.ingest import ingest_data
from signoff.source.options import READER
from signoff.source.sniffing import sniff
from signoff.source.unpacking import is_json_lines
from signoff.tables.arrays import with_columns
from signoff.tables.dates import hides_dates, undecided
from signoff.tables.delivery import counts_by_day
from signoff.tables.records import ColumnRules, Contract
from signoff.tables.table import ParsedTable, read_table
from signoff.tables.times import Times, in_future, ingest_time

# The share of rows that dropping those with a missing value may cost.
_MOST_LOST = 0.05
# With more columns to blame for lost rows, none is named.
_MOST_NAMED = 20
# A run that compares models may take this many seconds. With fewer values, none takes that long: such a table took
# half a minute on a slow machine.
_LONGEST, _FEW_VALUES = 600, 300_000
# A smaller rank correlation of an id with the target is not worth a note.
_LEAST_CORRELATION = 0.1
# The fewest different times for a split by time.
_FEWEST_TIMES = 20
_WHEN = re.compile(r"time|date|stamp|when|day|month|datum|zeit|tag|fecha|heure|created|started|period", re.IGNORECASE)
# Dates that say something else than when the row happened, by a part of the name or by a whole word of it. The end
# of a week or a month is when its row happened.
_NOT_WHEN = re.compile(r"birth|expir|(?<![a-z])(?:valid|due|end|hire|built|build)(?:date|day|time)", re.IGNORECASE)
_NOT_WHEN_WORDS = {
    "born",
    "dob",
    "geb",
    "geboren",
    "valid",
    "due",
    "end",
    "ends",
    "until",
    "bis",
    "hire",
    "hired",
    "build",
}
_NOT_WHEN_WORDS |= {"built"}
_PERIODS = {"week", "month", "quarter", "period", "day"}
# Columns that say together when a row happened, and what their whole numbers lie between.
_PARTS_OF_DATES = {"year": (1900, 2100), "month": (1, 12), "day": (1, 31)}
# The name of a column that says to whom or what a row belongs.
_ENTITY = re.compile(r"(?:^|[_ .-])(?:id|key|code)$|[a-z](?:Id|ID)$|^[a-z]+id$")


def init_project(
    table: ParsedTable, target: str, now: pd.Timestamp | None = None, preset: str = "good"
) -> tuple[dict[str, Any], Contract, list[str]]:
    """Return the config but for its source, the data contract, and what was decided, one line each.

    Parameters
    ----------
    table
        n rows × m columns.
    target
        The column to predict; its rows without a value are not counted as lost.
    now
        When the table was ingested (UTC, without a zone); None if unknown.
    preset
        model.preset of the config; good becomes fast if it would take longer than ten minutes on this machine.
    """
    if target == "split":
        raise TaskError("the name 'split' is taken by the workflow: give the target another name in the source.")
    draft = _Draft(table, target, now)
    draft.read_mixed_columns_as_text()
    split = draft.find_time()
    draft.choose_features()
    draft.choose_cleaning()
    if preset == "good":
        draft.choose_preset()
    elif preset == "best":
        draft.compare_many_models()
    if split:
        draft.config["split"] = split
    if draft.validation:
        draft.config["validation"] = draft.validation
    return draft.config, draft.contract(), draft.said


class _Draft:
    """The config of a table while it is being decided on, step by step in the order of the methods.

    `frame` has the rows with a target, and `kinds` the kind of each column. `empty` names the columns without a
    value, and `units` has the unit behind the numbers of a column of text. `features` names the columns that the model
    will use, and `prose` those of free text among them. `said` has a line for each decision.
    """

    def __init__(self, table: ParsedTable, target: str, now: pd.Timestamp | None):
        self.table, self.target, self.now = table, target, now
        self.frame = table.frame[table.frame[target].notna()]
        self.kinds = dict(table.kinds)
        self.config: dict[str, Any] = {"target": target}
        self.validation: dict[str, str] = {}
        self.time_column: str | None = None
        self.empty: list[str] = []
        self.units: dict[str, str] = {}
        self.features: list[str] = []
        self.prose: list[str] = []
        self.said: list[str] = []
        if len(self.frame) < len(table.frame):
            dropped = len(table.frame) - len(self.frame)
            self.said.append(f"rows: {dropped:,} without {target} are dropped, {len(self.frame):,} are left")

    def _warn(self) -> None:
        """Let a run with such values continue."""
        self.validation = {"on_failure": "warn"}

    def read_mixed_columns_as_text(self) -> None:
        """Read a column of numbers with other values among them as text; drop the rows with unreadable other values."""
        for name, values in self.table.bad.items():
            found = f"{name}: {len(values):,} values are no {self.kinds[name]}, such as {values.iloc[0]!r}"
            if self.kinds[name] == "number" and name != self.target:
                # As text, its numbers are still of use, and no row is lost for the others.
                self.kinds[name] = "text"
                column = self.frame[name].astype("str")
                mixed = column.mask(column.index.isin(values.index), values.astype("str"))
                self.frame = with_columns(self.frame, {name: mixed})
                self.said.append(f"{found}; so it is text. Once they are corrected, say dtype: float64 in schema.yaml")
            else:
                self._warn()
                self.said.append(
                    f"{found}; their rows are dropped, and each run warns of them. Once they are corrected, take "
                    "on_failure: warn out of config.yaml"
                )

    def find_time(self) -> dict[str, str]:
        """Find the time column, and set wrong times to missing; return the section `split` of the config."""
        time, split, why = _choose_time(self.frame, self.kinds, self.target)
        self.time_column = time
        self.said.append(why)
        if not time:
            self.said += _entities(self.frame, self.target)
            return split
        self.config["time_column"] = time
        all_rows, now = self.table.frame, self.now
        known = self.frame[time]
        times = Times(time, now).narrowed(counts_by_day(known.mask(in_future(known, now))) if now else {})
        for check, each in times.wrong(all_rows[time]).items():
            self._warn()
            self.said.append(
                f"time: {each.sum():,} rows have a time that {check.replace(' not ', ' ')}, such as "
                f"{all_rows[time][each].iloc[0]}; they are dropped, and each run warns of them. Once "
                "they are corrected, take on_failure: warn out of config.yaml"
            )
            all_rows[time] = all_rows[time].mask(each)
        return split

    def choose_features(self) -> None:
        """Leave out what only names the row or is empty, and find free text. Raises TaskError if no feature remains."""
        frame, facts = self.frame, facts_of(self.frame)
        names = [name for name in map(str, frame) if name != self.target]
        ids = [name for name in names if names_the_row(name, facts[name])]
        if ids:
            self.config["features"] = {"drop": ids}
            self.said.append(f"features: {', '.join(ids)} left out, whole numbers that only name the row")
            self.said += _ordered(frame[ids], frame[self.target])
        dates = [facts[name] for name in names if self.kinds[name] == "date"]
        if dates and not any(each.has_time for each in dates):
            self.config.setdefault("features", {})["date_parts"] = ["year", "month", "day", "day_of_week"]
            self.said.append("features: of dates, which have no time of day, also the day of the month")
        self.empty = [name for name in names if frame[name].isna().all()]
        if self.empty:
            self.said.append(f"features: {', '.join(self.empty)} left out, empty")
        text = [name for name in map(str, frame) if self.kinds[name] == "text" and name not in self.empty]
        self._find_units(text, facts)
        signs = [name for name in text if hides_signs(facts[name])]
        if signs:
            self.said.append(
                f"signs: of {', '.join(signs)}, DR and CR do not say which number is negative, so it is text. For "
                "numbers, write the minus in the source"
            )
        loose = [name for name in text if name not in self.units and names_or_prose(facts[name])]
        self.prose = [name for name in loose if is_prose(facts[name].counts.counts)]
        loose = [name for name in loose if name not in self.prose]
        if loose:
            self.said.append(
                f"features: {', '.join(loose)} left out, text of which more than half of the values differ"
            )
        if self.prose:
            self.config.setdefault("features", {})["text"] = self.prose
            self.said.append(
                f"features: of {', '.join(self.prose)}, free text, the words become features (features.text). With "
                "model.preset: good, cross-validation decides whether they are used"
            )
        self.features = [name for name in names if name not in (*ids, *self.empty, *loose)]
        if not self.features:
            others = ", ".join(frame.columns.drop(self.target))
            raise TaskError(
                f"there is nothing to predict {self.target} from: each other column ({others}) only identifies rows "
                "or is empty. Add a column that describes the rows."
            )

    def _find_units(self, text: list[str], facts: dict[str, ColumnFacts]) -> None:
        """Find the columns of text whose values are numbers with a unit."""
        self.units = {name: unit for name in text if (unit := unit_of(facts[name])) is not None}
        if not self.units:
            return
        words = {"": "", ":": " (in hours)"}
        shown = ", ".join(name + words.get(unit, f" ({unit})") for name, unit in self.units.items())
        others = [each for name, unit in self.units.items() for each in _other_words_of(name, self.frame[name], unit)]
        self.said.append(f"features: of {shown}, the numbers; other words count as missing{''.join(others)}")
        if others:
            self._warn()
            self.said.append(
                "Each run warns of them. Once they are corrected, take on_failure: warn out of config.yaml"
            )

    def choose_cleaning(self) -> None:
        """Choose the columns whose missing values are left to the model, and how many rows may be lost."""
        frame, rows = self.frame, len(self.frame)
        left = _columns_to_leave(frame.drop(columns=[self.target]), self.time_column)
        lost = int(frame.drop(columns=left).isna().any(axis=1).sum())
        blamed = ", ".join(name for name in left if name not in self.empty)
        if len(left) > _MOST_NAMED:
            lost = int(frame[self.time_column].isna().sum()) if self.time_column else 0
            self.config["cleaning"] = {"default": "leave"}
            self.said.append(
                f"cleaning: missing values are left to the model in every column, {len(left)} being to blame"
            )
        elif left:
            self.config["cleaning"] = {"columns": dict.fromkeys(left, "leave")}
        if blamed and len(left) <= _MOST_NAMED:
            self.said.append(
                f"cleaning: missing values are left to the model in {blamed}; rows with any other missing value "
                f"are dropped ({lost:,}, {lost / rows:.1%})"
            )
        elif lost and not blamed:
            self.said.append(f"cleaning: rows with a missing value are dropped ({lost:,}, {lost / rows:.1%})")
        # The default of max_rows_lost, less some room.
        share = 1 - (rows - lost) / len(self.table.frame)
        if share > 0.45:
            self.config.setdefault("cleaning", {})["max_rows_lost"] = float(f"{min(share + 0.1, 0.99):.2f}")
            self.said.append(f"cleaning: {share:.1%} of the rows are lost in all; max_rows_lost lets them go")

    def choose_preset(self) -> None:
        """Let several kinds of models be compared, unless that would take too long on this machine."""
        seconds, how_long = 0.0, ""
        if self.frame.size >= _FEW_VALUES:
            # Imported here: only large tables need scikit-learn.
            from signoff.model.preset_time import raw_rows, seconds_of_good

            seconds = seconds_of_good(raw_rows(self.frame, self.kinds, self.features, self.target, self.prose))
            how_long = f", which takes about {max(seconds / 60, 1):,.0f} min here"
        if seconds > _LONGEST:
            self.said.append(
                f"model: one model is trained, because comparing several kinds would take about {seconds / 60:,.0f} "
                "minutes here. To compare them, set model.preset: good"
            )
            return
        self.config["model"] = {"preset": "good"}
        self.said.append(
            f"model: several kinds of models are compared by cross-validation (model.preset: good){how_long}. For one "
            "model, trained at once, set model.preset: fast"
        )

    def compare_many_models(self) -> None:
        """Let as many models be compared as the default time allows."""
        self.config["model"] = {"preset": "best", "minutes": round(DEFAULT_MINUTES)}
        self.said.append(
            f"model: as many models are compared by cross-validation as {DEFAULT_MINUTES:g} minutes allow, at each run "
            "(model.preset: best, model.minutes)"
        )

    def contract(self) -> Contract:
        """Return the data contract."""
        table = self.table
        expected, most_missing = expectations(table.frame, self.kinds, self.target, self.time_column, self.now)
        columns = {
            str(name): _rules(
                each,
                self.kinds[str(name)],
                table.formats.get(str(name)),
                self.units.get(str(name)),
                most_missing.get(str(name), {}),
            )
            for name, each in table.frame.items()
            if name not in self.empty
        }
        return cast(Contract, expected | {"columns": columns})


def _choose_time(frame: pd.DataFrame, kinds: dict[str, str], target: str) -> tuple[str | None, dict[str, str], str]:
    """Return the column that says when a row happened (None where none does), the split, and why."""
    dates = [name for name in map(str, frame) if kinds[name] == "date" and name != target]
    candidates = []
    for name in dates:
        known = frame[name].dropna()
        steps = known.diff().dropna()
        in_order = max((steps >= pd.Timedelta(0)).mean(), (steps <= pd.Timedelta(0)).mean())
        likely = bool(_WHEN.search(name)) or in_order > 0.9
        # Rows without a time are dropped, whatever the policy.
        if not likely or _is_not_when(name) or len(known) <= (1 - _MOST_LOST) * len(frame):
            continue
        if known.nunique() >= _FEWEST_TIMES:
            candidates.append((round(in_order, 1), name))
    if candidates:
        # The first of those that are about as well in order.
        name = max(candidates, key=lambda each: each[0])[1]
        return name, {}, f"time: rows are split by {name}, the last fifth is held out"
    if dates:
        why = f"time: {', '.join(dates)} does not seem to say when a row happened, so a stable hash decides which rows "
        return None, {"by": "hash"}, why + "are held out. If it does, set time_column and split.by: time"
    if parts := _parts_of_dates(frame.drop(columns=target)):
        return (
            None,
            {},
            f"time: {', '.join(parts)} seem to say together when a row happened, but rows are split by time only by "
            "one column of dates. Add one in the source, such as 2024-05-31. Until then, a stable hash decides which "
            "rows are held out",
        )
    return None, {}, "time: no column of dates, so a stable hash decides which rows are held out"


def _is_not_when(name: str) -> bool:
    """Return whether a column of dates says by its name something else than when the row happened."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
    words = set(re.split(r"[^a-zäöüß]+", spaced))
    ends_a_period = bool(words & {"end", "ends"} and words & _PERIODS)
    return bool(_NOT_WHEN.search(name) or (words & _NOT_WHEN_WORDS and not ends_a_period))


def _parts_of_dates(frame: pd.DataFrame) -> list[str]:
    """Return the columns of years and months, and of days if there are any, of which each date is composed."""
    found = []
    for part, (low, high) in _PARTS_OF_DATES.items():
        names = [name for name in map(str, frame) if re.fullmatch(rf"(?:\w+[_ .-])?{part}", str(name), re.IGNORECASE)]
        for name in names[:1]:
            values = pd.to_numeric(frame[name], errors="coerce").dropna()
            if (
                len(values) > (1 - _MOST_LOST) * len(frame)
                and (values % 1 == 0).all()
                and values.between(low, high).all()
            ):
                found.append(name)
    return found if len(found) >= 2 and str(found[0]).lower().endswith("year") else []


def _ordered(ids: pd.DataFrame, target: pd.Series) -> list[str]:
    """Return the notes on ids in whose order the target rises or falls."""
    said = []
    for name, values in ids.items():
        correlation = values.rank().corr(target.rank())
        if abs(correlation) > max(_LEAST_CORRELATION, 3 / len(ids) ** 0.5):
            said.append(
                f"features: the order of {name} goes with {target.name} (rank correlation {correlation:.2f}). If it "
                f"still does for new rows, it may help: move {name} from features.drop to features.keep, and compare"
            )
    return said


def _entities(frame: pd.DataFrame, target: str) -> list[str]:
    """Return the notes on columns whose values group rows, if a hash splits the rows."""
    said = []
    for name in frame.columns.drop(target):
        levels = frame[name].nunique()
        if _ENTITY.search(str(name)) and _FEWEST_TIMES <= levels <= len(frame) / 2:
            said.append(
                f"split: {name} has {levels:,} different values in {len(frame):,} rows, so rows of one of them are "
                f"both trained on and held out. To predict for new ones, set split.groups: {name} in config.yaml"
            )
    return said


def _columns_to_leave(frame: pd.DataFrame, time_column: str | None) -> list[str]:
    """Return the columns to blame where dropping rows with a missing value costs too many, the worst first."""
    missing = frame.isna()
    left: list[str] = []
    counts = missing.sum().sort_values(ascending=False, kind="stable")
    for name in counts[counts > 0].index:
        if missing.drop(columns=left).any(axis=1).mean() < _MOST_LOST:
            break
        if name != time_column:
            left.append(name)
    return left


def _notations(table: ParsedTable) -> list[str]:
    """Return a note on each date format other than ISO 8601, and on each text column that may hold dates."""
    said = [f"dates: {name}, written as {each}" for name, each in table.formats.items() if each != "ISO8601"]
    for name, kind in table.kinds.items():
        text = table.frame[name].astype("str") if kind == "text" else pd.Series(dtype="str")
        if found := undecided(pa.chunked_array([pa.array(text, pa.string(), from_pandas=True)])):
            said.append(
                f"dates: {name} may be written as {' or as '.join(found)}, and no value decides, so it is text. Set "
                f"dtype: datetime64[ns] and date_format: '{found[0]}' (or the other) in schema.yaml, and time_column"
            )
    return said


def _other_words_of(name: str, values: pd.Series, unit: str) -> list[str]:
    """Return the notes on words among numbers; empty if there are none."""
    words = other_words(values.to_frame(), {"columns": {name: {"unit": unit}}}).get(name)
    return [] if words is None or words.empty else [f"; {name}: {len(words):,} values, such as {words.iloc[0]!r}"]


def _rules(
    values: pd.Series, kind: str, date_format: str | None, unit: str | None, most_missing: ColumnRules
) -> ColumnRules:
    """Return a column's part of the contract, with slack; a comment names what a person may know better."""
    dtype = {"number": "float64", "boolean": "bool", "date": "datetime64[ns]"}.get(kind, "str")
    found: ColumnRules = {"dtype": dtype, "nullable": bool(values.isna().any() or len(values) < 1000)}
    if date_format:
        # Kept from now on: a month whose days are all below 13 does not show it.
        found["date_format"] = date_format
    if unit is not None:
        # Other words are violations from now on.
        found["unit"] = unit
    if kind == "number" and values.notna().any():
        low, high = float(values.min()), float(values.max())
        slack = (high - low) or abs(high) or 1.0
        least = 0.0 if low >= 0 else _rounded(low - slack, ROUND_FLOOR)
        found["checks"] = {"in_range": {"min_value": least, "max_value": _rounded(high + slack, ROUND_CEILING)}}
    return {**found, **most_missing} if found["nullable"] else found


def _rounded(value: float, direction: str) -> float:
    """Return a number with three digits, up or down."""
    return float(Context(prec=3, rounding=direction).create_decimal_from_float(value))


def _look_at(source: str, query: str | None, scratch: Path) -> tuple[dict[str, str], str]:
    """Return how the (first) file of a source is written, and where to read it from: what was downloaded, once."""
    found = parts_of_source(expand(source), ReaderConfig(query=query))
    reader = {"delimiter": ",", "encoding": "utf-8", "decimal": "."}
    if query:
        return reader, source
    arrived, _ = fetch(found[0], scratch / "source", READER)
    name, form = label(found[0]), packed_as(arrived)
    if form is None or form in COMPRESSED:
        opened = functools.partial(open_text, arrived, form, name)
        reader = reader if is_json_lines(opened) else sniff(opened, name)
    # A file of this machine stays where it is.
    if len(found) > 1 or arrived != scratch / "source":
        return reader, source
    # Under its own name, for what that says.
    return reader, str(arrived.rename(scratch / (Path(name.partition("?")[0]).name or "table")))


def _folder_name(source: str) -> str:
    """Return the name that a source gives to its project: the last of its words that has a letter."""
    path = shown(source).partition("?")[0] if "://" in source else source
    words = [re.sub(r"[^\w-]+", "_", each.split(".")[0]).strip("_") for each in path.split("/")]
    return next((each for each in reversed(words) if each), "project")


def _from_folder(source: str, folder: Path) -> str:
    """Return a source as it is named from the project's folder."""
    if re.match(r"sqlite(\+\w+)?:///[^/]", source):
        scheme, _, path = source.partition(":///")
        return f"{scheme}:///{os.path.relpath(path, folder)}"
    return source if "://" in source or source.startswith("${") else os.path.relpath(source, folder)


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--source", required=True, help="a path, folder, pattern or URL of a table")
    parser.add_argument("--query", help="the SQL statement whose rows to read, where the source is a database")
    parser.add_argument("--target", required=True, help="the column to predict")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="the project's folder; named after the source")
    parser.add_argument(
        "--preset",
        choices=["fast", "good", "best"],
        default="good",
        help="model.preset of the config; good becomes fast if it would take longer than ten minutes here",
    )
    parser.add_argument("--force", action="store_true", help="overwrite a config that is there")
    args = parser.parse_args(argv)
    # As ingest_data writes the names of columns.
    args.target = args.target.strip()
    with command_line.logged("init_project", args, shown(args.source)):
        refuse_password(args.source)
        folder = args.output or Path(_folder_name(args.source))
        taken = [folder / name for name in ("config.yaml", "schema.yaml") if (folder / name).exists()]
        if taken and not args.force:
            raise TaskError(f"{taken[0]} is there already. Choose another folder, or overwrite it with --force.")
        with tempfile.TemporaryDirectory(prefix="signoff-") as scratch:
            reader, local = _look_at(args.source, args.query, Path(scratch))
            raw = Path(scratch, "raw_data.csv")
            # Through the same checks as every later run.
            ingest_data(local, raw, args.target, ReaderConfig(**cast(dict[str, Any], reader), query=args.query))
            table = read_table(raw)
            hidden = [
                name for name in map(str, table.frame) if name != args.target and hides_dates(name, table.frame[name])
            ]
            if hidden:
                table = read_table(raw, dict.fromkeys(hidden, "date"))
            now = ingest_time(raw)
        config, contract, said = init_project(table, args.target, now, args.preset)
        said = _notations(table) + said
        source = _from_folder(args.source, folder)
        reader |= {"query": args.query} if args.query else {}
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (
            ("config.yaml", config_text(source, config, reader, history_key(table, config))),
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
