"""Features from custom code: its arguments, and checks of what it returns."""

from types import ModuleType

import numpy as np
import pandas as pd

from signoff.base.errors import TaskError, nearest
from signoff.features.evidence import column_of, is_boolean
from signoff.features.records import CodeRecord, CustomCode
from signoff.features.user_code import call
from signoff.tables.cells import MISSING

_NUMBERS_AS_OBJECTS = ("integer", "floating", "mixed-integer-float", "decimal")


def _columns_given(frame: pd.DataFrame, code: ModuleType) -> dict[str, str]:
    """Return the columns that the custom code gets, with their kinds: all of `frame`, or those in its list COLUMNS."""
    names = getattr(code, "COLUMNS", list(frame.columns))
    if not isinstance(names, list | tuple):
        raise TaskError(f'{code.__file__}: COLUMNS is {names!r}, but must be a list of columns, such as ["km"].')
    for name in names:
        if name not in frame:
            raise TaskError(f"{code.__file__}: COLUMNS has {name!r}: {nearest(str(name), frame.columns)}")
    kinds = {}
    for name in names:
        kinds[name] = kind_of(column_of(frame, name))
    return kinds


def kind_of(values: pd.Series) -> str:
    """Return the kind of a column: date, boolean, number or text."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return "date"
    if is_boolean(values) and values.notna().any():
        return "boolean"
    return "number" if pd.api.types.is_numeric_dtype(values) else "text"


def as_given(values: pd.Series, kind: str) -> pd.Series:
    """Return a column in the dtype of its kind, so that the dtype does not depend on the batch.

    Numbers are float64, text is str, booleans are pandas' boolean, dates are datetime64[us] in UTC without a zone.
    """
    if kind == "date":
        return (values.dt.tz_convert("UTC").dt.tz_localize(None) if values.dt.tz else values).astype("datetime64[us]")
    if kind == "number":
        return pd.Series(values.to_numpy("float64", na_value=np.nan), values.index)
    return values.astype("boolean" if kind == "boolean" else "str")


def custom_features(
    rows: pd.DataFrame, built_in: pd.DataFrame | None, metadata: CodeRecord, code: ModuleType
) -> pd.DataFrame:
    """Return the features that the custom code makes of n rows, as float64 and str, in a table of n rows.

    Parameters
    ----------
    rows
        n rows, numbered from 0, with the columns and kinds that metadata["custom"]["columns"] names.
    built_in
        The n rows' built-in features if the code runs after them, else None.
    metadata
        target, time_column and custom, as `feature_engineering` describes them.
    code
        As returned by `user_code.load_code`.

    Raises
    ------
    TaskError
        The code fails, or does not return features of these rows.
    """
    target, own = metadata["target"], metadata["custom"]
    assert own is not None, "custom code has a record"
    given = {name: as_given(rows[name], kind) for name, kind in own["columns"].items()}
    arguments = {"rows": pd.DataFrame(given, index=rows.index)}
    if built_in is not None:
        kinds = {name: "number" if is_number(built_in[name]) else "text" for name in built_in}
        arguments["built_in"] = pd.DataFrame({name: as_given(built_in[name], kind) for name, kind in kinds.items()})
    try:
        made = call(code, "features", **arguments)
    except TaskError as error:
        if isinstance(error.__cause__, KeyError) and error.__cause__.args == (target,):
            raise TaskError(
                f"{code.__file__} uses the target {target!r}, which is not known when a row is scored."
            ) from error
        raise
    if not isinstance(made, pd.DataFrame):
        raise TaskError(f"{code.__file__}: features returned {type(made).__name__}, but must return a DataFrame.")
    if problem := _problem_of(made, rows, metadata):
        raise TaskError(f"{code.__file__}: features returned {problem}.")
    return pd.DataFrame({str(name): _as_feature(made[name], str(code.__file__)) for name in made})


def _problem_of(made: pd.DataFrame, rows: pd.DataFrame, metadata: CodeRecord) -> str | None:
    """Return why a table does not hold features of these rows; None if it does."""
    target, problem = metadata["target"], None
    if len(made) != len(rows):
        problem = f"{len(made):,} rows for {len(rows):,}; it must keep each of them"
    elif not made.index.equals(rows.index):
        problem = "its rows in another order or under another index; it must keep that of rows"
    elif made.columns.empty:
        problem = "no column"
    elif not made.columns.is_unique:
        problem = f"the column {made.columns[made.columns.duplicated()][0]!r} more than once"
    elif target in made:
        problem = f"the target {target!r}, which cannot be a feature"
    for name in made if problem is None else ():
        if not isinstance(name, str) or not name.strip():
            problem = f"a column named {name!r}; a name is text"
        elif name in (metadata["time_column"], "split"):
            problem = f"a column {name!r}, but that name is taken; give it another"
    return problem


def is_number(values: pd.Series) -> bool:
    """Return whether values are real numbers, or booleans, which count as 0 and 1."""
    real = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_complex_dtype(values)
    return bool(real or (is_boolean(values) and (values.dtype != object or values.notna().any())))


def _as_feature(values: pd.Series, file: str) -> pd.Series:
    """Return a column of custom features as float64 or str. Raises TaskError if it holds neither numbers nor text."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    if values.dtype == object and pd.api.types.infer_dtype(values, skipna=True) in _NUMBERS_AS_OBJECTS:
        values = pd.to_numeric(values)
    if is_number(values):
        return as_given(values.astype("boolean") if values.dtype == object else values, "number")
    found = pd.api.types.infer_dtype(values, skipna=True)
    if not isinstance(values.dtype, pd.StringDtype) and found not in ("string", "empty"):
        raise TaskError(
            f"{file}: features returned the column {values.name!r} of {found}, but a feature is numbers, booleans or "
            "text. Make dates numbers (.dt.hour), a time span too (.dt.total_seconds()), and anything else text."
        )
    text = values.astype("str")
    # Texts that a CSV file would read as missing are missing here, too.
    return text.mask(text.isin(MISSING) | text.str.isspace())


def infinite_values(features: pd.DataFrame) -> dict[str, pd.Series]:
    """Return for each numeric feature in which rows it is infinite."""
    return {str(name): np.isinf(values) for name, values in features.items() if is_number(values)}


# The features of this many rows are computed again, one row at a time.
_ROWS_ALONE = 10


def own_features(
    frame: pd.DataFrame, built_in: dict[str, pd.Series], plan: CodeRecord, code: ModuleType, mode: str
) -> tuple[pd.DataFrame, CustomCode]:
    """Return the features that the custom code makes of all rows, and its record."""
    own: CustomCode = {"mode": mode, "columns": _columns_given(frame.drop(columns=plan["target"]), code)}
    about: CodeRecord = {"target": plan["target"], "time_column": plan["time_column"], "custom": own}
    given = pd.DataFrame(built_in) if mode == "after" else None
    features = custom_features(frame, given, about, code)
    refuse_infinite(features, code, "the cleaned data")
    _check_rows_alone(features, frame, given, about, code)
    return features, own


def _check_rows_alone(
    features: pd.DataFrame, rows: pd.DataFrame, built_in: pd.DataFrame | None, metadata: CodeRecord, code: ModuleType
) -> None:
    """Check that some rows get the same features when the custom code gets each of them alone.

    Raises
    ------
    TaskError
        They do not, so a row's score would depend on its batch; the message names the feature.
    """
    for row in sorted({round(each) for each in np.linspace(0, len(rows) - 1, _ROWS_ALONE)}):
        one = rows.iloc[[row]].reset_index(drop=True)
        its_own = None if built_in is None else built_in.iloc[[row]].reset_index(drop=True)
        alone = f"{code.__file__}: row {row + 1} of the cleaned data, given alone:"
        try:
            again = custom_features(one, its_own, metadata, code)
        except TaskError as error:
            raise TaskError(f"{alone} {error}") from error
        if sorted(map(str, again)) != sorted(map(str, features)):
            raise TaskError(
                f"{alone} the features are {', '.join(map(str, again))}, and among all rows "
                f"{', '.join(map(str, features))}."
            )
        for name in features:
            was, now = features[name].iloc[row], again[name].iloc[0]
            if is_number(features[name]) and is_number(again[name]):
                same = np.isclose(was, now, rtol=1e-9, atol=1e-12, equal_nan=True)
            else:
                same = was == now or (pd.isna(was) and pd.isna(now))
            if not same:
                raise TaskError(
                    f"{alone} the feature {name!r} is {now}, and among all rows {was}. A feature must depend on "
                    "its own row alone (no mean, rank, shift or random number), or a score would depend on the batch."
                )


def refuse_infinite(features: pd.DataFrame, code: ModuleType, rows: str) -> None:
    """Raise TaskError if a feature is infinite; `rows` is the name of the rows in the message."""
    for name, infinite in infinite_values(features).items():
        if infinite.any():
            raise TaskError(
                f"{code.__file__}: the feature {name!r} is infinite in {int(infinite.sum()):,} rows, the first "
                f"row {int(np.argmax(infinite)) + 1} of {rows}. Do not divide by values that can be zero."
            )
