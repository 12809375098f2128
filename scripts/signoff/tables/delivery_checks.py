"""Whether a delivery as a whole is what the data contract says: enough rows, fresh, complete, not too much missing."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from signoff.base.errors import TaskError
from signoff.base.files import read_json
from signoff.tables.delivery import Delivery
from signoff.tables.own_keys import DeliveryRules
from signoff.tables.records import EarlierDelivery, ValidationReport, Violation

# A level is required in the newest period if it had at least this many rows in each of this many earlier periods.
STEADY_ROWS, STEADY_PERIODS = 3, 8
# The usual number of rows in a period is the median of this many earlier periods.
USUAL = 4
# The share of missing values among fewer rows is chance.
FEWEST_DELIVERED_ROWS = 12
# A level with fewer rows in the last run may vanish by chance.
_FEWEST_BEFORE = 10
_MOST_NAMED = 5


def _check_delivery(
    rules: DeliveryRules, found: Delivery, last: EarlierDelivery | None, time: str | None, now: pd.Timestamp | None
) -> list[Violation]:
    """Return the violations of a delivery as a whole.

    Parameters
    ----------
    rules
        What the contract says.
    found
        What the delivery holds.
    last
        What the last accepted delivery held; None for the first one.
    time
        The time column.
    now
        When the delivery was ingested (UTC, without a zone); None if unknown: then freshness is not judged.

    Raises
    ------
    TaskError
        A key needs a time column, and there is none.
    """
    if time is None and (needing := rules.needing_time()):
        keys = " and ".join(needing)
        raise TaskError(
            f"the data contract: {keys} cannot be judged without a time column. Set time_column in the config."
        )
    violations = [*_rows(rules, found, last), *_levels_of_last_run(rules, found, last)]
    if found.days:
        violations += _freshness(rules, found, time, now)
        violations += _gaps(rules, found, time)
        violations += _newest_rows(rules, found)
        violations += _newest_levels(rules, found)
    return [*violations, *_missing(rules, found)]


def with_delivery(
    report: ValidationReport,
    delivery: Delivery,
    rules: DeliveryRules,
    output: Path,
    time: str | None,
    now: pd.Timestamp | None,
) -> ValidationReport:
    """Return a validation report with the violations by the delivery as a whole, and what it was compared with.

    The report of the run before is read from `output`; `report` has raw_sha256. For the others see `check_delivery`.
    """
    if not rules.any():
        return report
    try:
        earlier = cast(ValidationReport, read_json(output)) if output.is_file() else None
    except TaskError as error:
        logging.warning("[validate_data] %s So this delivery is compared with no other.", error)
        earlier = None
    last = _last_record(earlier, report["raw_sha256"], report["profile"])
    violations = report["violations"] + _check_delivery(rules, delivery, last, time, now)
    judged: ValidationReport = {
        **report,
        "status": "fail" if violations else "pass",
        "violations": violations,
        "delivery": delivery.record(),
    }
    if last:
        judged["last_delivery"] = last
    return judged


def _accepted(report: ValidationReport) -> bool:
    """Return whether the delivery of a validation report is what the next one is compared with."""
    return not any(each["check"] in ("rows", "complete") for each in report["violations"])


def _last_record(earlier: ValidationReport | None, raw_sha256: str, columns: Iterable[str]) -> EarlierDelivery | None:
    """Return what this delivery is compared with, by the validation report before this one.

    The same data are compared with the same record again. Nothing is compared with a delivery that was not
    accepted, or with a different table, which shares less than half of the columns.
    """
    if earlier is None or "delivery" not in earlier:
        return None
    before, here = set(earlier.get("profile", ())), set(columns)
    if 2 * len(before & here) < max(len(before), len(here)):
        return None
    if earlier.get("raw_sha256") == raw_sha256 or not _accepted(earlier):
        return earlier.get("last_delivery")
    return earlier["delivery"]


def _violation(column: str | None, check: str, found: str, rows: int = 0) -> Violation:
    return {"column": column, "check": check, "rows": rows, "examples": [], "found": found}


def _rows(rules: DeliveryRules, found: Delivery, last: EarlierDelivery | None) -> Iterator[Violation]:
    n = found.rows
    for key, limit, too_few in (("at_least", rules.at_least, True), ("at_most", rules.at_most, False)):
        if limit is not None and (n < limit if too_few else n > limit):
            words = f"{n:,} rows, but the contract asks for {key.replace('_', ' ')} {limit:,} (rows.{key})"
            yield _violation(None, "rows", f"{words}. {_check_source('rows')}")
    if last is None or not last["rows"]:
        return
    share = n / last["rows"]
    for key, limit, too_few in (("min", rules.min_share, True), ("max", rules.max_share, False)):
        if limit is not None and (share < limit if too_few else share > limit):
            words = f"{n:,} rows, {share:.0%} of the {last['rows']:,} in the last run"
            bound = f"the contract allows at {'least' if too_few else 'most'} {limit:.0%} (rows.{key})"
            cause = "part of the history is missing" if too_few else "rows were loaded twice"
            yield _violation(None, "rows", f"{words}; {bound}. {_check_source('rows', f'whether {cause}')}")


def _check_source(key: str, what: str = "what is missing") -> str:
    return f"Check at the source {what}. If the delivery is right, change {key} in the contract"


def _levels_of_last_run(rules: DeliveryRules, found: Delivery, last: EarlierDelivery | None) -> Iterator[Violation]:
    for column, required in rules.levels.items():
        here, before = found.levels[column], (last or {"levels": {}})["levels"].get(column, {})
        names = required or [level for level, n in before.items() if n >= _FEWEST_BEFORE]
        if gone := [level for level in names if level not in here]:
            words = [f"{each!r} ({before[each]:,} in the last run)" if each in before else repr(each) for each in gone]
            yield _violation(column, "complete", f"no rows of {_named(words)}. {_levels_hint(column)}")


def _levels_hint(column: str) -> str:
    return (
        "Check at the source whether they were delivered. If they have ended, list those that remain in "
        f"complete.levels.{column} in the contract"
    )


def _named(words: list[str]) -> str:
    more = f" and {len(words) - _MOST_NAMED:,} more" if len(words) > _MOST_NAMED else ""
    return ", ".join(words[:_MOST_NAMED]) + more


def _freshness(
    rules: DeliveryRules, found: Delivery, time: str | None, now: pd.Timestamp | None
) -> Iterator[Violation]:
    if rules.freshness is None or now is None or found.newest is None:
        return
    age = now - found.newest
    if age > rules.freshness:
        words = f"the newest row is dated {found.newest:%Y-%m-%d %H:%M}, {_duration(age)} before the ingest"
        bound = f"the contract allows {_duration(rules.freshness)}"
        hint = _check_source("freshness", "why newer rows are missing")
        yield _violation(time, "freshness", f"{words}; {bound}. {hint}")


def _duration(age: pd.Timedelta) -> str:
    hours = age / pd.Timedelta(hours=1)
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def _gaps(rules: DeliveryRules, found: Delivery, time: str | None) -> Iterator[Violation]:
    if rules.every is None:
        return
    number = {"day": lambda day: day, "week": lambda day: (day + 3) // 7, "month": _month}[rules.every]
    there = {number(day) for day in found.days}
    gone = sorted(set(range(min(there), max(there) + 1)) - there)
    if gone:
        words = [_period_name(each, rules.every) for each in gone]
        count = f"{len(gone):,} {rules.every}{'s' if len(gone) > 1 else ''} without rows"
        hint = _check_source("complete.every", "whether they were delivered")
        yield _violation(time, "complete", f"{count}: {_named(words)}. {hint}")


def _month(day: int) -> int:
    date = _date(day)
    return date.year * 12 + date.month - 1


def _period_name(number: int, every: str) -> str:
    if every == "month":
        return f"{number // 12}-{number % 12 + 1:02d}"
    if every == "day":
        return f"{_date(number):%Y-%m-%d}"
    return f"{_date(number * 7 - 3):%G-W%V} (from {_date(number * 7 - 3):%Y-%m-%d})"


def _date(day: int) -> pd.Timestamp:
    return pd.Timestamp(np.datetime64(day, "D"))


def _newest_words(found: Delivery, length: int) -> str:
    """Return in words what the newest period of `length` days is."""
    last = max(found.days)
    if length == 1:
        return f"on the newest day ({_date(last):%Y-%m-%d})"
    return f"in the newest {length} days ({_date(last - length + 1):%Y-%m-%d} to {_date(last):%Y-%m-%d})"


def _newest_rows(rules: DeliveryRules, found: Delivery) -> Iterator[Violation]:
    counts = found.periods(found.days, rules.newest)
    if rules.newest_share is None or len(counts) <= USUAL:
        return
    usual = float(np.median(counts[1 : USUAL + 1]))
    if counts[0] < rules.newest_share * usual:
        share = f"{counts[0] / usual:.0%} of the usual {usual:,.0f}"
        words = f"{counts[0]:,} rows {_newest_words(found, rules.newest)}, {share}"
        bound = f"the contract asks for at least {rules.newest_share:.0%} (rows.newest)"
        yield _violation(None, "newest rows", f"{words}; {bound}. {_check_source('rows.newest')}")


def _newest_levels(rules: DeliveryRules, found: Delivery) -> Iterator[Violation]:
    for column, required in rules.levels.items():
        gone = []
        for level, counts in found.by_level(column, rules.newest).items():
            before = counts[1 : STEADY_PERIODS + 1]
            steady = len(before) == STEADY_PERIODS and before.min() >= STEADY_ROWS
            if steady and counts[0] == 0 and (required is None or level in required):
                gone.append(f"{level!r} (usually {np.median(before):,.0f})")
        if gone:
            words = f"no rows of {_named(gone)} {_newest_words(found, rules.newest)}"
            yield _violation(column, "newest levels", f"{words}. {_levels_hint(column)}")


def _missing(rules: DeliveryRules, found: Delivery) -> Iterator[Violation]:
    for column, most in rules.max_missing.items():
        cases = [("in all rows", found.missing[column], found.rows, most.all, "all")]
        if found.days:
            rows = found.periods(found.days, rules.newest)
            if len(rows) and rows[0] >= FEWEST_DELIVERED_ROWS:
                absent = int(found.periods(found.missing_by_day[column], rules.newest)[0])
                cases.append((_newest_words(found, rules.newest), absent, int(rows[0]), most.newest, "newest"))
        for where, n, of, limit, key in cases:
            if of and n > limit * of:
                words = f"{n:,} of {of:,} values are missing {where} ({n / of:.0%})"
                bound = f"the contract allows {limit:.0%} (max_missing.{key})"
                hint = _check_source("max_missing", "whether the column was delivered")
                yield _violation(column, f"max_missing.{key}", f"{words}; {bound}. {hint}", n)
