"""Features that a user's own code makes: what it gets, and that what it returns are features of these rows."""

from types import ModuleType

import numpy as np
import pandas as pd

from signoff.base.errors import TaskError, nearest
from signoff.features.evidence import is_boolean
from signoff.features.user_code import call
from signoff.tables.cells import MISSING

_NUMBERS_AS_OBJECTS = ("integer", "floating", "mixed-integer-float", "decimal")


def _columns_given(frame: pd.DataFrame, code: ModuleType) -> dict[str, str]:
    """Return the columns that the user's code gets, with their kinds: all of `frame`, or those of its list COLUMNS."""
    names = getattr(code, "COLUMNS", list(frame.columns))
    if not isinstance(names, list | tuple):
        raise TaskError(f'{code.__file__}: COLUMNS is {names!r}, but must be a list of columns, such as ["km"].')
    for name in names:
        if name not in frame:
            raise TaskError(f"{code.__file__}: COLUMNS has {name!r}: {nearest(str(name), frame.columns)}")
    kinds = {}
    for name in names:
        values = frame[name]
        if pd.api.types.is_datetime64_any_dtype(values):
            kinds[name] = "date"
        elif is_boolean(values) and values.notna().any():
            kinds[name] = "boolean"
        else:
            kinds[name] = "number" if pd.api.types.is_numeric_dtype(values) else "text"
    return kinds


def as_given(values: pd.Series, kind: str) -> pd.Series:
    """Return a column in the one dtype of its kind, whatever values a batch happens to have.

    Numbers are float64, text is str, booleans are pandas' boolean, dates are datetime64[us] in UTC without a zone.
    """
    if kind == "date":
        return (values.dt.tz_convert("UTC").dt.tz_localize(None) if values.dt.tz else values).astype("datetime64[us]")
    if kind == "number":
        return pd.Series(values.to_numpy("float64", na_value=np.nan), values.index)
    return values.astype("boolean" if kind == "boolean" else "str")


def custom_features(rows: pd.DataFrame, built_in: pd.DataFrame | None, metadata: dict, code: ModuleType):
    """Return the features that the user's code makes of n rows, as float64 and str, in a table of n rows.

    Parameters
    ----------
    rows
        n rows, numbered from 0, with the columns and kinds that metadata["custom"]["columns"] names.
    built_in
        The n rows' built-in features where the code comes after them, else None.
    metadata
        target, time_column and custom, as `feature_engineering` describes them.
    code
        As `custom.load_code` gives it.

    Raises
    ------
    TaskError
        The code fails, or returns anything but features of these rows.
    """
    file, target = code.__file__, metadata["target"]
    given = {name: as_given(rows[name], kind) for name, kind in metadata["custom"]["columns"].items()}
    arguments = {"rows": pd.DataFrame(given, index=rows.index)}
    if built_in is not None:
        kinds = {name: "number" if is_number(built_in[name]) else "text" for name in built_in}
        arguments["built_in"] = pd.DataFrame({name: as_given(built_in[name], kind) for name, kind in kinds.items()})
    try:
        made = call(code, "features", **arguments)
    except TaskError as error:
        if isinstance(error.__cause__, KeyError) and error.__cause__.args == (target,):
            raise TaskError(f"{file} uses the target {target!r}, which is not known when a row is scored.") from error
        raise
    problem = None
    if not isinstance(made, pd.DataFrame):
        problem = f"{type(made).__name__}, but must return a DataFrame"
    elif len(made) != len(rows):
        problem = f"{len(made):,} rows for {len(rows):,}; it must keep each of them"
    elif not made.index.equals(rows.index):
        problem = "its rows in another order or under another index; it must keep that of rows"
    elif made.columns.empty:
        problem = "no column"
    elif not made.columns.is_unique:
        problem = f"the column {made.columns[made.columns.duplicated()][0]!r} more than once"
    elif target in made:
        problem = f"the target {target!r}, which is no feature"
    for name in made if problem is None else ():
        if not isinstance(name, str) or not name.strip():
            problem = f"a column named {name!r}; a name is text"
        elif name in (metadata["time_column"], "split"):
            problem = f"a column {name!r}, but that name is taken; give it another"
    if problem:
        raise TaskError(f"{file}: features returned {problem}.")
    return pd.DataFrame({name: _as_feature(made[name], file) for name in made})


def is_number(values: pd.Series) -> bool:
    """Tell whether values are real numbers, or booleans, which count as 0 and 1."""
    real = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_complex_dtype(values)
    return bool(real or (is_boolean(values) and (values.dtype != object or values.notna().any())))


def _as_feature(values: pd.Series, file: str) -> pd.Series:
    """Return a column of the user's as float64 or str. Raises TaskError where it is neither numbers nor text."""
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
    # What a CSV file does not tell from a missing value is one here too.
    return text.mask(text.isin(MISSING) | text.str.isspace())


def infinite_values(features: pd.DataFrame) -> dict[str, pd.Series]:
    """Return for each feature that is a number in which rows it is infinite."""
    return {name: np.isinf(values) for name, values in features.items() if is_number(values)}


# So many rows get their features once more, each by itself.
ROWS_ALONE = 10


def own_features(
    frame: pd.DataFrame, built_in: dict[str, pd.Series], plan: dict, code: ModuleType, mode: str
) -> tuple[pd.DataFrame, dict]:
    """Return the features that the user's own code makes of all rows, and what is noted of it."""
    own = {"mode": mode, "columns": _columns_given(frame.drop(columns=plan["target"]), code)}
    about = {"target": plan["target"], "time_column": plan["time_column"], "custom": own}
    built_in = pd.DataFrame(built_in) if mode == "after" else None
    features = custom_features(frame, built_in, about, code)
    refuse_infinite(features, code, "the cleaned data")
    _check_rows_alone(features, frame, built_in, about, code)
    return features, own


def _check_rows_alone(
    features: pd.DataFrame, rows: pd.DataFrame, built_in: pd.DataFrame | None, metadata: dict, code: ModuleType
) -> None:
    """Check that some rows, each given to the user's code by itself, get the features that they got among all rows.

    Raises
    ------
    TaskError
        They do not, so that a row's score would depend on the batch that it comes in; the message names the feature.
    """
    for row in sorted({round(each) for each in np.linspace(0, len(rows) - 1, ROWS_ALONE)}):
        one, its_own = (each if each is None else each.iloc[[row]].reset_index(drop=True) for each in (rows, built_in))
        alone = f"{code.__file__}: row {row + 1} of the cleaned data, given by itself:"
        try:
            again = custom_features(one, its_own, metadata, code)
        except TaskError as error:
            raise TaskError(f"{alone} {error}") from error
        if sorted(again) != sorted(features):
            raise TaskError(f"{alone} the features are {', '.join(again)}, and among all rows {', '.join(features)}.")
        for name in features:
            was, now = features[name].iloc[row], again[name].iloc[0]
            if is_number(features[name]) and is_number(again[name]):
                same = np.isclose(was, now, rtol=1e-9, atol=1e-12, equal_nan=True)
            else:
                same = was == now or (pd.isna(was) and pd.isna(now))
            if not same:
                raise TaskError(
                    f"{alone} the feature {name!r} is {now}, and among all rows {was}. A feature must be made of its "
                    "own row alone (no mean, rank, shift or chance), or a score would depend on the batch."
                )


def refuse_infinite(features: pd.DataFrame, code: ModuleType, rows: str) -> None:
    """Raise TaskError where a feature is infinite; `rows` is what they are called."""
    for name, infinite in infinite_values(features).items():
        if infinite.any():
            raise TaskError(
                f"{code.__file__}: the feature {name!r} is infinite in {int(infinite.sum()):,} rows, the first "
                f"row {infinite.idxmax() + 1} of {rows}. Divide by nothing that can be zero."
            )
