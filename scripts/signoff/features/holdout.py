"""Which rows train the model and which test it: by time, or by a hash of each row that no other row changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from signoff.base.errors import TaskError
from signoff.features.evidence import ColumnFacts
from signoff.features.recipe import make_features
from signoff.features.records import Described, Description, Plan, Sides, SplitRule
from signoff.tables.counting import row_hashes


def split_rule(
    facts: dict[str, ColumnFacts],
    target: str,
    time_column: str | None,
    split_by: str,
    test_weeks: float | None,
    test_share: float,
    split_key: list[str] | None,
) -> SplitRule:
    """Return the rule that decides which rows are the test part, also in words; see `plan.FeatureOptions`."""
    if split_by == "auto":
        split_by = "hash" if time_column is None or split_key else "time"
    if split_by == "time" and time_column is None:
        raise TaskError("split.by: time needs a column of dates. Name it as time_column, or set split.by: hash.")
    if split_by == "hash" or time_column is None:
        columns = split_key or sorted(name for name in facts if name != target)
        rule = f"{test_share:.0%} of the rows by a hash of {', '.join(columns)}"
        return {"by": "hash", "rule": rule, "key": columns, "share": test_share}
    return rule_by_time(facts[time_column], time_column, test_weeks, test_share)


def grouped(column: str, facts: ColumnFacts, test_share: float) -> SplitRule:
    """Return what `split_rule` does where each group of rows, by its value in a column, is on one side."""
    rule = f"{test_share:.0%} of the groups by a hash of {column}, all rows of one {column} on the same side"
    kind = "date" if facts.is_date() else "number" if facts.is_number() else "text"
    return {"by": "hash", "rule": rule, "key": [column], "share": test_share, "groups": column, "groups_kind": kind}


def group_column(description: Plan | Described) -> str | None:
    """Return the column of `split.groups`; None if it is not set."""
    return description["split"].get("groups")


def head_of(frame: pd.DataFrame, plan: Plan | Description) -> dict[str, pd.Series]:
    """Return the columns of the table before its features: the time, the group if it is not a feature, the weight."""
    time, groups = plan["time_column"], group_column(plan)
    head = {time: frame[time]} if time else {}
    if groups and groups not in (time, *plan["features"]):
        head |= make_features(frame, {groups: {"column": groups}})
    if "weight" in plan:
        head[plan["weight"]] = frame[plan["weight"]]
    return head


def groups_of(rows: pd.DataFrame, column: str | None) -> np.ndarray | None:
    """Return the number of each row's group by `split.groups`, from 0, if it is set; missing values are one group."""
    return pd.factorize(rows[column], use_na_sentinel=False)[0] if column else None


def refuse_names(features: Mapping[str, pd.Series], frame: pd.DataFrame, plan: Plan) -> None:
    """Raise TaskError if custom code returns other values by the name of the column of groups or of weights."""
    for name, key in ((group_column(plan), "split.groups"), (plan.get("weight"), "model.weight")):
        if (
            name
            and name in features
            and not features[name].equals(make_features(frame, {name: {"column": name}})[name])
        ):
            raise TaskError(
                f"features.custom returns a feature {name!r} with other values than the column of that name, which is "
                f"{key}. Give the feature another name."
            )


def rule_by_time(times: ColumnFacts, time_column: str, test_weeks: float | None, test_share: float) -> SplitRule:
    """Return what `split_rule` does where time decides; of `times`, the latest is enough for weeks."""
    if times.missing:
        raise TaskError(
            f"{times.missing} rows have no {time_column}, by which the rows are split. Name it as "
            "time_column in the config, and cleaning drops them; or set split.by: hash."
        )
    cut: Any
    if not times.rows:
        cut, what = pd.NaT, "rows"
    elif test_weeks:
        cut, what = times.latest[-1] - pd.Timedelta(weeks=test_weeks), f"{test_weeks:g} weeks"
    else:
        # Where the last time alone is more than that, it is the test part.
        cut, what = min(times.counts.quantiles([1 - test_share])[0], times.latest[0]), f"{test_share:.0%} of the rows"
    return {"by": "time", "rule": f"the last {what} by {time_column}", "after": cut}


def test_rows(frame: pd.DataFrame, plan: Plan | Description) -> np.ndarray:
    """Return for each row whether it is in the test part. A split by time needs the rule of a plan."""
    rule = cast(SplitRule, plan["split"])
    if rule["by"] == "time":
        return cast(np.ndarray, (frame[plan["time_column"]] > rule["after"]).to_numpy())
    return row_hashes(frame[rule["key"]]) < np.uint64(rule["share"] * 2**64)


def sides_of(is_test: np.ndarray) -> pd.api.extensions.ExtensionArray:
    """Return the column split: "test" or "train" for each row."""
    return pd.array(["train", "test"], dtype="str").take(is_test.astype("int8"))


def with_split(frame: pd.DataFrame, features: dict[str, pd.Series], plan: Plan) -> tuple[pd.DataFrame, Sides]:
    """Return the table of some rows (time, features, target, split), and the facts about both parts of the split."""
    target, time_column = plan["target"], plan["time_column"]
    is_test = test_rows(frame, plan)
    table = pd.DataFrame({**head_of(frame, plan), **features, target: frame[target], "split": sides_of(is_test)})
    split: Sides = {"rows": {"train": int((~is_test).sum()), "test": int(is_test.sum())}}
    if plan["split"]["by"] == "time":
        times = frame[time_column]
        split |= {"first": times.min(), "last_train": times[~is_test].max(), "last_test": times.max()}
    return table, split


def kinds_of(plan: Plan) -> dict[str, str]:
    """Return the kinds of the columns of the table that `with_split` returns."""
    head = {plan["time_column"]: "date"} if plan["time_column"] else {}
    groups = group_column(plan)
    if groups and groups not in (*head, *plan["features"]):
        head[groups] = plan["split"]["groups_kind"]
    if "weight" in plan:
        head[plan["weight"]] = "number"
    kinds = {name: kind if kind == "number" else "text" for name, kind in plan["features"].items()}
    return {**head, **kinds, plan["target"]: "number", "split": "text"}


def joint_facts(sides: list[Sides]) -> Sides:
    """Return the facts about the parts of the split, of several batches together."""
    ends = {"first": pd.Series.min, "last_train": pd.Series.max, "last_test": pd.Series.max}
    # Some rows may all be on one side: no time is the last one of the other.
    known = cast(list[dict[str, Any]], sides)
    found = {name: end(pd.Series([each[name] for each in known])) for name, end in ends.items() if name in known[0]}
    rows = {part: sum(each["rows"][part] for each in known) for part in ("train", "test")}
    return cast(Sides, found | {"rows": rows})


def check_count(path: Path, found: int, expected: int, kind: str) -> None:
    """Raise TaskError if a file of features does not have the rows that its description counts: it may be cut.

    Parameters
    ----------
    path
        The file of features; its description is beside it.
    found, expected
        How many rows of a kind were read, and how many the description counts.
    kind
        Which rows were counted: "training", "held-out", or "training and held-out".
    """
    if found != expected:
        raise TaskError(
            f"{path} has {found:,} {kind} rows, but {path.with_suffix('.json')} counts {expected:,}: it was cut, or "
            "edited by hand. Delete it, and run make run to compute it again. To change rows, edit the cleaned data."
        )


def described(plan: Plan, split: Sides) -> Description:
    """Return the description of the features, once it is known how many rows are on which side."""
    rule, rows = plan["split"], split["rows"]
    if min(rows["train"], rows["test"]) < 2:
        raise TaskError(
            f"the split ({rule['rule']}) gives {rows['train']} rows to train and {rows['test']} to test; each part "
            "needs at least 2. Change split.test_weeks or split.test_share, or bring more rows."
        )
    about: Mapping[str, object] = rule
    ends: Mapping[str, object] = split
    told = {name: about[name] for name in ("by", "rule", "key", "share", "groups") if name in about}
    told |= {name: str(ends[name]) for name in ("first", "last_train", "last_test") if name in ends}
    others = {key: value for key, value in plan.items() if key != "split"}
    return cast(Description, {**others, "kinds": kinds_of(plan), "split": {**told, "rows": rows}})
