"""The decorator `retry`: repeat a call that may succeed later, with linear backoff, over tenacity."""

import logging
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import tenacity

from signoff.base.redaction import redact

_P = ParamSpec("_P")
_R = TypeVar("_R")
# The root logger would configure itself, and Snakemake's lines would appear twice.
_logger = logging.getLogger(__name__)


def retry(
    n_tries: int = 3, delay_s: float = 1, on: type[Exception] | tuple[type[Exception], ...] = Exception
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Call the decorated function up to `n_tries` times; wait `k * delay_s` seconds after attempt k.

    An exception that has an attribute `retry_after` (seconds) makes the wait at least that long. Under pytest no
    wait sleeps.

    Raises
    ------
    ValueError
        When `n_tries` is below 1 or `delay_s` is negative.
    Exception
        The last exception of the function, unchanged; one that `on` does not name, at once.
    """
    if n_tries < 1 or delay_s < 0:
        raise ValueError(f"n_tries={n_tries} must be at least 1, delay_s={delay_s} at least 0")

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        name = getattr(function, "__name__", repr(function))

        def wait(state: tenacity.RetryCallState) -> float:
            return max(state.attempt_number * delay_s, getattr(_failure(state), "retry_after", None) or 0)

        def log_retry(state: tenacity.RetryCallState) -> None:
            _logger.warning(
                "Attempt %d/%d failed for %s. Retrying in %ss... Error: %s",
                state.attempt_number,
                n_tries,
                name,
                float(state.next_action.sleep if state.next_action else 0),
                redact(str(_failure(state))),
            )

        def log_failure(state: tenacity.RetryCallState) -> None:
            _logger.error("All %d attempts failed for %s. Error: %s", n_tries, name, redact(str(_failure(state))))
            raise _failure(state)

        return tenacity.retry(
            stop=tenacity.stop_after_attempt(n_tries),
            wait=wait,
            retry=tenacity.retry_if_exception_type(on),
            before_sleep=log_retry,
            retry_error_callback=log_failure,
            sleep=_sleep,
        )(function)

    return decorate


def _failure(state: tenacity.RetryCallState) -> BaseException:
    """Return the exception of the last attempt."""
    error = state.outcome.exception() if state.outcome else None
    assert error is not None, "tenacity asks only after a failed attempt"
    return error


def _sleep(seconds: float) -> None:
    if "PYTEST_CURRENT_TEST" not in os.environ:
        tenacity.nap.sleep(seconds)
