"""Messages about a run to the people and channels that the config names."""

import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname
from typing import Any, BinaryIO, TypeAlias, cast
from urllib.parse import quote, unquote

import yaml

from signoff.base.config import NotifyConfig
from signoff.base.errors import TaskError, explain
from signoff.base.files import parsed_json, read_bytes, read_json, read_utf8
from signoff.config.settings import SCHEMA, check_config, read_config, required_config
from signoff.ops.all_models import standing_of_all
from signoff.ops.runs import INGEST_RECORD
from signoff.ops.status import described_run, standing
from signoff.release.approval import DIAGNOSTICS, METRICS, PAGE, REPORT, SIGN_OFF, read_sign_off
from signoff.release.live_record import read_live, warnings
from signoff.release.records import Diagnostics, Metrics
from signoff.release.store import Releases
from signoff.release.verdict import logged_summary
from signoff.report.decision_box import decision
from signoff.report.timeline import Run
from signoff.source.address import expand

# The words of a command, and the variables to add to its environment.
_Command: TypeAlias = tuple[list[str], dict[str, str]]
_COMMAND = "notify.command"
# Seconds for all of them together, the longest that a scheduled run waits.
_TIMEOUT_S = 60
_TITLES = {
    "failed": "the run failed",
    "review": "a new model waits for review",
    "killed": "the run before was killed",
    "unchanged": "the data do not change",
    "live": "the deployed release is less accurate than promised",
    "rolled_back": "the release before is current again",
}
_TITLES_OF_MANY = {"failed": "some models failed", "review": "new models wait for a person"}


def notify(run: Run, earlier: list[Run]) -> dict[str, Any]:
    """Send messages about a run, if there is anything to say and the config names anybody.

    Parameters
    ----------
    run
        What weekly.py has recorded about the run that has just ended.
    earlier
        The runs before it, the oldest first.

    Returns
    -------
    dict
        The keys for the line of the run: events, notified (who got it) and notify_failed (why somebody did not). All
        errors are recorded there; nothing is raised.
    """
    try:
        settings = read_settings()
        if not settings.urls and not settings.command:
            return {}
        events = _find_events(run, earlier, settings.unchanged_weeks, datetime.now(UTC))
        if not events:
            return {}
        attached = _report_of(run.get("model_sha256")) if settings.attach_report else None
        notified, failed = send(settings, *_message(run, events), events, attached)
    except Exception as error:
        events, notified, failed = [], [], [explain(error)]
    for problem in failed:
        logging.warning("[notify] %s", problem)
    return {"events": events, "notified": notified} | ({"notify_failed": "; ".join(failed)} if failed else {})


def read_settings() -> NotifyConfig:
    """Return the section `notify` of the config, which may be wrong elsewhere: a message says so.

    Raises
    ------
    TaskError
        The config is not YAML, or the section is not valid.
    """
    path = required_config()
    try:
        section = yaml.safe_load(read_utf8(Path(path)))["notify"]
    except KeyError:
        section = None
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        raise TaskError(f"{path} cannot be read, so nobody can be notified: {error}") from error
    return check_config({"raw_data_source_url": "-", "target": "-", "notify": section}, SCHEMA).notify


def _find_events(run: Run, earlier: list[Run], unchanged_weeks: int, now: datetime) -> list[str]:
    """Return the events of a run to report: failed, review, live, rolled_back, killed, unchanged.

    Each failed run is reported. A model that waits for review is reported once, unless somebody has decided on it.
    Unchanged data are reported every `unchanged_weeks` weeks, and live alarms when they change. An event counts as
    reported only if somebody got the message.
    """
    events = []
    if run["exit_code"] != 0:
        events.append("failed")
    elif _waits_for_somebody(run, _last_told("review", earlier)):
        events.append("review")
    if run.get("live") and run["live"] != _last_told("live", earlier).get("live"):
        events.append("live")
    if run.get("rolled_back"):
        events.append("rolled_back")
    if earlier and earlier[-1]["verdict"] == "killed":
        events.append("killed")
    # The ingest reports a missing or damaged record.
    with contextlib.suppress(OSError, TaskError):
        since = max(read_json(INGEST_RECORD)["ingested_at"], _last_told("unchanged", earlier).get("at", ""))
        # Rounded, because weekly runs do not start at exactly the same second.
        days = round((now - datetime.fromisoformat(since)).total_seconds() / 86400)
        if unchanged_weeks and days >= 7 * unchanged_weeks:
            events.append("unchanged")
    return events


def _last_told(event: str, earlier: list[Run]) -> Run:
    """Return the last run for which this event was sent to somebody; an empty dict if there is none."""
    found = (run for run in reversed(earlier) if event in run.get("events", []) and run.get("notified"))
    return next(found, Run())


def _waits_for_somebody(run: Run, told: Run) -> bool:
    """Return whether a model waits that was not reported in the run `told`; of many models, whether others wait."""
    if "models" in run:
        return bool(run["models_waiting"] and run["waiting"] != told.get("waiting"))
    model = run.get("model_sha256")
    return model is not None and model != told.get("model_sha256") and _waits_for_review(model)


def _waits_for_review(model_sha256: str) -> bool:
    """Return whether nobody has decided on a model yet. A damaged sign-off does not count as a decision."""
    if any(each.get("model_sha256") == model_sha256 for each in Releases().history()):
        return False
    try:
        return model_sha256 not in read_sign_off(SIGN_OFF)["files"].values()
    except TaskError:
        return True


def _message(run: Run, events: list[str]) -> tuple[str, str]:
    """Return title and text of a message."""
    titles = _TITLES | (_TITLES_OF_MANY if "models" in run else {})
    title = f"Signoff {Path.cwd().name}: {', '.join(titles[each] for each in events)}"
    lines = [f"Project     {Path.cwd()} on {gethostname()}", f"Run         {run['at']}  {described_run(run)}"]
    lines += [f"Log         {run['log']}"] if "log" in run else []
    lines += link()
    try:
        lines += standing_of_all() if "models" in run else standing()
    except TaskError as error:
        lines.append(f"Problem     {error}")
    with contextlib.suppress(TaskError, OSError):
        lines += _box(run.get("model_sha256"))
    # The summary is about this run only if it came to a verdict.
    log = Path("logs/verdict.log")
    if run["verdict"] in ("passed", "failed") and log.is_file():
        lines += ["", *logged_summary(log)]
    if alarms := run.get("alarms"):
        lines += ["", "Alarms", *(f"  {each['name']}: {each['sentence']}" for each in alarms)]
    return title, "\n".join(lines) + "\n"


def link() -> list[str]:
    """Return the line of a message that leads to the report; none without `report.url`, or if the config is wrong."""
    try:
        url = read_config()[0].report.url
    except TaskError:
        return []
    return [f"Report      {url}"] if url else []


def _report_of(model_sha256: str | None) -> Path | None:
    """Return the page of the report on a model; None if there is no report on this model."""
    report, page = Path(REPORT), Path(PAGE)
    if not model_sha256 or not report.is_file() or not page.is_file():
        return None
    return page if model_sha256 in read_utf8(report, errors="replace") else None


def _box(model_sha256: str | None) -> list[str]:
    """Return the box at the top of the report on a model, as text; none if the diagnostics are of another model.

    Raises
    ------
    TaskError, OSError
        One of its input files is damaged or missing.
    """
    if not model_sha256 or not Path(DIAGNOSTICS).is_file():
        return []
    metrics, diagnostics = (parsed_json(read_bytes(Path(path)), Path(path)) for path in (METRICS, DIAGNOSTICS))
    if not metrics["model_sha256"] == diagnostics["model_sha256"] == model_sha256:
        return []
    live = warnings(read_live(), Releases().current())
    found = decision(cast(Metrics, metrics), cast(Diagnostics, diagnostics), live)
    lines = ["", f"Deploy?     {found.deploy}", *(f"  {each}" for each in (*found.why, found.verdict, *found.where))]
    for side, sentences in found.sides.items():
        lines += [side.capitalize(), *(f"  {each}" for each in sentences)]
    return lines


def send(
    settings: NotifyConfig, title: str, text: str, events: list[str], attached: Path | None = None
) -> tuple[list[str], list[str]]:
    """Send a message to all at once, and return who got it, and for each who did not, who and why.

    Parameters
    ----------
    settings
        The section `notify` of the config.
    title, text, events
        Of the message.
    attached
        A file for those services that take one. If a service fails with it, the message is sent without it.
    """
    commands, failed = _commands(settings, title, events)
    deadline = time.monotonic() + _TIMEOUT_S
    problems = _run({name: _attaching(command, attached) for name, command in commands.items()}, text, deadline)
    again = [name for name, problem in problems.items() if problem and name != _COMMAND]
    if attached and again and time.monotonic() < deadline:
        problems |= _run({name: commands[name] for name in again}, text, deadline)
    failed += [f"{name}: {_without_secrets(problem, settings)}" for name, problem in problems.items() if problem]
    return [name for name, problem in problems.items() if problem is None], failed


def _commands(settings: NotifyConfig, title: str, events: list[str]) -> tuple[dict[str, _Command], list[str]]:
    """Return the commands that send a message, by the names of those who get it, and the addresses that are wrong."""
    commands: dict[str, _Command] = {}
    failed = []
    apprise = [str(Path(sys.executable).with_name("apprise")), "-v", "--storage-mode", "memory", "--title", title]
    apprise += ["--notification-type", "failure" if {"failed", "killed"} & {*events} else "info"]
    for number, address in enumerate(settings.urls, 1):
        scheme, mark, _ = address.partition("://")
        name = f"notify.urls, number {number}" + (f" ({scheme})" if mark else "")
        try:
            commands[name] = apprise, {"APPRISE_URLS": expand(address)}
        except TaskError as error:
            failed.append(f"{name}: {error}")
    if settings.command:
        more = {"SIGNOFF_EVENTS": " ".join(events), "SIGNOFF_TITLE": title}
        commands[_COMMAND] = ["/bin/sh", "-c", settings.command], more
    return commands, failed


def _attaching(command: _Command, attached: Path | None) -> _Command:
    """Return a command that sends a file along, or is told about it: SIGNOFF_REPORT."""
    words, more = command
    if attached is None:
        return command
    if "APPRISE_URLS" in more:
        return [*words, "--attach", str(attached)], more
    return words, {**more, "SIGNOFF_REPORT": str(attached)}


def _run(commands: Mapping[str, _Command], text: str, deadline: float) -> dict[str, str | None]:
    """Run commands at once with a text as their input; return why each failed by its name, None if it did not."""
    with contextlib.ExitStack() as files:
        # Files, not pipes, so that a background process of a command does not block this one.
        started = {}
        for name, (command, more) in commands.items():
            given, said = files.enter_context(tempfile.TemporaryFile()), files.enter_context(tempfile.TemporaryFile())
            given.write(text.encode())
            given.seek(0)
            process = subprocess.Popen(
                command,
                stdin=given,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**os.environ, **more},
                start_new_session=True,
            )
            started[name] = process, said
            files.callback(_stop, process)
        return {name: _wait(process, said, deadline) for name, (process, said) in started.items()}


def _wait(process: subprocess.Popen[bytes], said: BinaryIO, deadline: float) -> str | None:
    """Wait for a command until `deadline` at most, and return why it failed; None if it did not."""
    try:
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return f"no end within {_TIMEOUT_S} s"
    if code == 0:
        return None
    said.seek(0)
    lines = [line.split(" - ")[-1].strip() for line in said.read().decode(errors="replace").splitlines()]
    # Apprise shows an address that it cannot load: that line is never passed on, nor its advice on its own options.
    useless = ("://", "apprise --help", "populated configuration file")
    lines = [line for line in lines if line and not any(each in line for each in useless)]
    return f"exit code {code}: {lines[-1] if lines else 'it said nothing of use. Check how the address is written'}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a command and its child processes, if it is still running."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _without_secrets(text: str, settings: NotifyConfig) -> str:
    """Return the output of an address or a command, with the values of its environment variables hidden."""
    for name in re.findall(r"\$\{?(\w+)", " ".join([*settings.urls, settings.command or ""])):
        value = os.environ.get(name, "")
        hidden = [value, quote(value, safe="")]
        if "://" in value:
            # Each part of a whole address is hidden, because it may be a token.
            hidden += [part for part in re.split(r"[/:@?&=]+", unquote(value))[1:] if len(part) > 3]
        for each in filter(None, hidden):
            text = text.replace(each, "***")
    return text
