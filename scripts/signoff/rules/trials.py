"""How many settings the preset `best` draws in a backtest: as many as for the model of the last run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from signoff.base.files import read_json
from signoff.model.records import Metadata, trials_again
from signoff.rules.flags import words


def trials_of_last_model(record: Path) -> Callable[[Any, Any], str]:
    """Return a param of a rule: the flag with the number of trials that model.json records; empty if it has none."""

    # It takes the input, although it does not need it: a new number must not rerun the weeks that are there.
    def trials(wildcards: Any, input: Any) -> str:
        if not record.is_file():
            return ""
        return words(**trials_again(cast(Metadata, read_json(record)).get("candidates")))

    return trials
