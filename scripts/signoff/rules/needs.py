"""The resources of a job. Each attempt requests more than the one before."""

from collections.abc import Callable
from typing import Any


def memory(megabytes: int, all_rows: object = False) -> Callable[..., int]:
    """Return the memory of a job in MB, as a function that Snakemake calls.

    Parameters
    ----------
    megabytes
        The least.
    all_rows
        Whether the job holds all rows at once: it then gets twelve times the size of its inputs.
    """
    if all_rows:
        return lambda wildcards, input, attempt: attempt * max(megabytes, int(12 * input.size_mb))
    # Without the input, whose size takes a while in a plan of thousands of jobs.
    return lambda wildcards, attempt: attempt * megabytes


def minutes(number: int) -> Callable[[Any, int], int]:
    """Return the time that a job may take in minutes, as a function that Snakemake calls."""
    return lambda wildcards, attempt: attempt * number
