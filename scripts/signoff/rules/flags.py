"""Command lines of tasks: flags, quoted for the shell."""

import json
import shlex
from collections.abc import Callable, Iterable
from typing import Any

# A parameter of a rule in Snakemake: a text, or a function of the wildcards.
_Flags = str | Callable[[Any], str]
_LESS = r"'$'\x3c''"


def words(**values: object) -> str:
    """Return command-line flags, quoted for the shell.

    A name with underscores becomes a flag with hyphens. None gives no flag, a list one for each item, and a mapping
    one flag with JSON.
    """
    found = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                # A command may have 128 KiB. Five hundred long names in another script fit only if not escaped.
                each = json.dumps(each, sort_keys=True, ensure_ascii=False)
            if each is not None:
                found.append(f"{flag}={each}")
    return quoted(found)


def quoted(given: Iterable[str]) -> str:
    """Return the words of a command, quoted for the shell."""
    # Snakemake's report has the command inside a script element, which "</script>" would end.
    return " ".join(shlex.quote(each).replace("<", _LESS) for each in given)


def unquoted(text: str) -> list[str]:
    """Return the words that `quoted` was given."""
    return shlex.split(text.replace(_LESS, "<"))


def flags(**values: object) -> _Flags:
    """Return command-line flags as a parameter of a rule.

    With a brace in them, they are a function: Snakemake would take the brace in a text for a wildcard.
    """
    text = words(**values)
    return (lambda wildcards: text) if "{" in text else text


def more_flags(rule: Any, **values: object) -> _Flags:
    """Return the flags of a rule, followed by more, which override them.

    Parameters
    ----------
    rule
        As Snakemake gives it: `rules.NAME`, with `params.options` made by `flags`.
    values
        As for `words`.
    """
    own, more = rule.params.options, words(**values)
    return lambda wildcards: f"{own(wildcards) if callable(own) else own} {more}"
