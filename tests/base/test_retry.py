"""The retry decorator: how often, how long, what it says, what it leaves alone."""

import inspect
import logging

import pytest
import tenacity

from signoff.base import retry as module
from signoff.base.retry import retry


def flaky(failures: int, error: Exception):
    """Return a function that fails so many times, then returns its arguments; it counts its calls."""

    @retry(n_tries=3, delay_s=1)
    def fetch(path: str, size: int = 1) -> tuple[str, int]:
        """Fetch."""
        fetch.calls += 1
        if fetch.calls <= failures:
            raise error
        return path, size

    fetch.calls = 0
    return fetch


def test_returns_what_the_function_returns_after_failures(caplog):
    fetch = flaky(2, OSError("no route"))
    assert fetch("a", size=2) == ("a", 2)
    assert fetch.calls == 3
    assert caplog.messages == [
        "Attempt 1/3 failed for fetch. Retrying in 1.0s... Error: no route",
        "Attempt 2/3 failed for fetch. Retrying in 2.0s... Error: no route",
    ]


def test_raises_the_last_exception_unchanged(caplog):
    error = ValueError("still bad")
    fetch = flaky(9, error)
    with pytest.raises(ValueError) as raised:
        fetch("a")
    assert raised.value is error
    assert fetch.calls == 3
    assert caplog.messages[-1] == "All 3 attempts failed for fetch. Error: still bad"
    assert caplog.records[-1].levelno == logging.ERROR


def test_on_narrows_what_is_tried_again(caplog):
    calls = []

    @retry(on=(ConnectionError, TimeoutError))
    def fetch():
        calls.append(1)
        raise KeyError("missing column")

    with pytest.raises(KeyError):
        fetch()
    assert len(calls) == 1
    assert caplog.messages == []


def test_waits_grow_linearly_and_honour_retry_after(monkeypatch):
    waits = []
    monkeypatch.setattr(module, "_sleep", waits.append)

    @retry(n_tries=4, delay_s=0.5)
    def fetch():
        error = ConnectionError("busy")
        error.retry_after = 7 if len(waits) == 1 else None
        raise error

    with pytest.raises(ConnectionError):
        fetch()
    assert waits == [0.5, 7, 1.5]


def test_sleeps_outside_of_tests_only(monkeypatch):
    slept = []
    monkeypatch.setattr(tenacity.nap, "sleep", slept.append)
    module._sleep(5)
    assert slept == []
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    module._sleep(5)
    assert slept == [5]


def test_keeps_name_docstring_and_signature():
    fetch = flaky(0, OSError())
    assert (fetch.__name__, fetch.__doc__) == ("fetch", "Fetch.")
    assert list(inspect.signature(fetch).parameters) == ["path", "size"]
    assert fetch.__annotations__["return"] == tuple[str, int]


def test_one_try_is_not_a_retry(caplog):
    @retry(n_tries=1)
    def fetch():
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        fetch()
    assert caplog.messages == ["All 1 attempts failed for fetch. Error: gone"]


@pytest.mark.parametrize("wrong", [{"n_tries": 0}, {"delay_s": -1}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="must be at least"):
        retry(**wrong)


def test_by_default_it_tries_three_times_a_second_apart_whatever_it_is_called(monkeypatch, caplog):
    waits = []
    monkeypatch.setattr(module, "_sleep", waits.append)

    class Fetch:
        def __call__(self):
            raise OSError("gone")

        def __repr__(self):
            return "Fetch()"

    with pytest.raises(OSError):
        retry()(Fetch())()
    assert waits == [1, 2]
    assert caplog.messages[0] == "Attempt 1/3 failed for Fetch(). Retrying in 1.0s... Error: gone"
    with pytest.raises(OSError):
        retry(n_tries=2, delay_s=0)(Fetch())()
    assert waits == [1, 2, 0]
