"""The tasks of each model of a chunk, from the plan that the rule has written."""

import functools
from pathlib import Path
from types import SimpleNamespace

from signoff.base.config import ReleaseConfig
from signoff.rules.place import Place
from signoff.rules.steps import CHAMPION, DIAGNOSED, LIVE, PREDICTIONS, Member, ModelTask, Steps

_PLACE = Place("models/{model}/")


@functools.cache
def _read_steps(path: Path, _changed: int) -> Steps:
    """Return the steps of models with the same config; the file is read once for all of them."""
    return Steps.read(path)


def tasks_of(model: str, member: Member) -> list[ModelTask]:
    """Return the tasks of a model, in the order in which they run."""
    path = Path(member["steps"]).absolute()
    found = _read_steps(path, path.stat().st_mtime_ns)
    champion = _PLACE.champion_flags(ReleaseConfig(found.allowed_signers, found.required_approvals))
    wildcards = SimpleNamespace(model=model)
    own = {CHAMPION: champion(wildcards), DIAGNOSED: _PLACE.diagnosed_flags(wildcards)}
    own |= {LIVE: _PLACE.live_flags(wildcards), PREDICTIONS: _PLACE.predictions(wildcards)}
    steps = [each.of(model, own, member["pieces"]) for each in found.steps]
    # Before the first release, there is nothing to compare.
    return [each for each in steps if each.task != "live_record" or own[CHAMPION]]
