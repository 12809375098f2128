"""What the config says of when columns are known: before the target, or only after it."""

from collections.abc import Collection

from signoff.base.errors import TaskError, nearest
from signoff.features.recipe import columns_used
from signoff.features.records import Description
from signoff.release.records import AlarmRecord
from signoff.review.reasons import alarm


def known_early(known_before: Collection[str], description: Description) -> list[str]:
    """Return the features made only of columns that are known before the target is.

    Raises
    ------
    TaskError
        No feature is made of one of the columns.
    """
    made_of = _made_of(description)
    columns = {column for each in made_of.values() for column in each}
    for column in known_before:
        if column not in columns:
            raise TaskError(f"features.known_before: no feature is made of {column!r}: {nearest(column, columns)}")
    return [name for name, each in made_of.items() if each and set(each) <= set(known_before)]


def known_late(not_before: list[str], description: Description) -> list[AlarmRecord]:
    """Return an alarm for each feature computed from a column that is known only after the target."""
    found = []
    for name, made_of in _made_of(description).items():
        for column in set(not_before) & {name, *made_of}:
            which = f"The feature {name}" + ("" if column == name else f" is made of {column}, which")
            found.append(alarm("not_before", name, f"{which} is known only after the target (features.not_before)."))
    custom = description.get("custom")
    for column in set(not_before) & set(custom["columns"] if custom else ()):
        sentence = f"Your own code gets {column}, which is known only after the target (features.not_before)."
        found.append(alarm("not_before", column, sentence))
    return sorted(found, key=lambda each: str(each["feature"]))


def _made_of(description: Description) -> dict[str, list[str]]:
    """Return the columns that each feature is made of."""
    recipe = description["recipe"]
    return {
        name: columns_used({name: recipe[name]}) if recipe.get(name) else [name] for name in description["features"]
    }
