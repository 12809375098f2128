"""One page for a project: the deployed release, its accuracy, and open tasks by person; a table for many models."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from signoff.base.config import Config
from signoff.base.errors import explain
from signoff.base.files import read_json, replacing, sha256
from signoff.base.numbers import agreed, counted
from signoff.config.settings import read_config
from signoff.ops.many import failed_models, model_folders, values_without_model
from signoff.ops.runs import read_runs
from signoff.ops.status import NextStep, next_step
from signoff.release.approval import DIAGNOSTICS, METRICS, PAGE, SIGN_OFF, read_sign_off, utc_now
from signoff.release.form import Decision, Move
from signoff.release.live_record import Live, newest_words, read_live, warnings
from signoff.release.signature import names_of, plain_name
from signoff.release.store import Releases, last_move
from signoff.report.document import Alarm, Block, Box, Code, Items, Link, Part, Section, Shown, Table, Words
from signoff.report.live import live_figure, live_section
from signoff.report.page import page
from signoff.report.runs_and_releases import release_numbers, release_table, report_link, run_table, shown_number, told
from signoff.report.timeline import Run

INDEX = Path("reports/index.html")
_MOST_RUNS, _MOST_FAILED = 10, 20
_WAITS = {
    "run": "Nothing has been trained yet",
    "report": "A model waits for its report",
    "review": "A model waits for review",
    "approval": "A sign-off is not enough yet",
    "deploy": "An approved model waits for its deployment",
    "nothing": "Nothing waits",
}


@dataclass(frozen=True)
class ProjectState:
    """The state of the project in a folder.

    `metrics` and `alarms` are those of the newest model, `decisions` those of its sign-off, `signers` the names of
    release.allowed_signers. `problem` says why a part of it could not be read.
    """

    moves: list[Move]
    release: str | None
    step: NextStep
    config: Config
    metrics: Mapping[str, Any] | None
    alarms: list[Mapping[str, Any]]
    decisions: list[Decision]
    signers: list[str]
    live: Live | None
    problem: str | None

    @property
    def warnings(self) -> list[str]:
        """The live alarms about the current release, and the limits that it breaks, in sentences."""
        return warnings(self.live, self.release)


def read_state(folder: Path = Path()) -> ProjectState:
    """Return the state of the project in a folder. Damaged files are named in `problem`; nothing is raised."""
    problems: list[str] = []
    with contextlib.chdir(folder):

        def attempt(read: Any, instead: Any) -> Any:
            try:
                return read()
            except Exception as error:
                problems.append(explain(error))
                return instead

        config = attempt(lambda: read_config()[0], Config("", ""))
        moves: list[Move] = attempt(Releases().history, [])
        release = Releases().current()
        step = attempt(lambda: next_step(release, moves), NextStep("run", "make run"))
        metrics = attempt(lambda: read_json(Path(METRICS)) if Path(METRICS).is_file() else None, None)
        model = metrics and metrics.get("model_sha256")
        diagnostics = attempt(lambda: read_json(Path(DIAGNOSTICS)) if Path(DIAGNOSTICS).is_file() else {}, {})
        signed: Any = attempt(lambda: read_sign_off(SIGN_OFF) if SIGN_OFF.is_file() else None, None)
        signers = config.release.allowed_signers
        return ProjectState(
            moves=moves,
            release=release,
            step=step,
            config=config,
            metrics=metrics,
            alarms=diagnostics.get("alarms", []) if model and diagnostics.get("model_sha256") == model else [],
            decisions=signed["decisions"] if signed and model in signed["files"].values() else [],
            signers=names_of(Path(signers)) if signers else [],
            live=read_live(),
            problem=" ".join(problems) or None,
        )


def write_index(path: Path = INDEX) -> None:
    """Write the page of the project in this folder to `path`."""
    runs, damaged = read_runs()
    with replacing(path) as new:
        new.write_text(_overview(Path.cwd().name, runs, damaged, utc_now()), encoding="utf-8")


def update_index() -> None:
    """Rewrite the page of the project if it exists, after a decision or a release.

    If the project is one of many models, the page of them all is also rewritten. An error is only a warning, because
    the decision or the release has already taken effect.
    """
    folder = Path.cwd()
    for each in (folder, folder.parent.parent) if folder.parent.name == "models" else (folder,):
        try:
            with contextlib.chdir(each):
                if INDEX.is_file():
                    write_index()
        except Exception as error:
            logging.warning("%s could not be rewritten: %s. Run make index.", each / INDEX, explain(error))


def _overview(name: str, runs: Sequence[Run], damaged: Sequence[str], at: str) -> str:
    """Return the page of the project in this folder as HTML.

    Parameters
    ----------
    name
        What to call the project.
    runs, damaged
        The scheduled runs and the warnings of `read_runs`.
    at
        The present time, as `utc_now` writes it.
    """
    state = read_state()
    models = model_folders(state.config)
    parts: list[Part] = [_as_of(at)]
    if models:
        parts += _of_models({folder.name: read_state(folder) for folder in models}, state, runs)
    else:
        parts += _of_project(state, runs)
    shown = list(runs[-_MOST_RUNS:])
    blocks: list[Block] = [Items([[Alarm(f"{each}.")] for each in damaged])] if damaged else []
    blocks.append(run_table(shown, release_numbers(state.moves)) if shown else "There has been no scheduled run yet.")
    blocks.append(["All of them: ", Link("runs and releases over time", "history.html"), "."])
    return page(f"Project {name}", [*parts, Section("Runs", blocks)])


def _as_of(at: str) -> Block:
    return [
        f"As of {at[:16].replace('T', ' ')} UTC. ",
        Code("make weekly"),
        " and ",
        Code("make index"),
        " rewrite it, as does each decision, deployment and rollback.",
    ]


def models_page(name: str, config_paths: Sequence[str], at: str) -> tuple[str, list[Part]]:
    """Return the title and the parts of the page of all models, the worst first.

    Parameters
    ----------
    name, at
        As in `_overview`.
    config_paths
        The files that the config was read from.
    """
    state = read_state()
    states = {folder.name: read_state(folder) for folder in model_folders(state.config)}
    about: Block = [f"As of {at[:16].replace('T', ' ')} UTC. ", Code("make index"), " shows what waits now."]
    reports = [Path("models", model, PAGE) for model in sorted(states)]
    files = [path for path in [*reports, *map(Path, config_paths)] if path.is_file()]
    # A run recognises a whole page by the digest at its end.
    table = Table("Files", ["file", "SHA-256"], [[Code(path), Code(sha256(path))] for path in files])
    return f"Models of {name}", [about, *_of_models(states, state, []), Section("Written from", [table])]


def _of_project(state: ProjectState, runs: Sequence[Run]) -> list[Part]:
    """Return the parts of the page of a project with one model."""
    numbers = release_numbers(state.moves)
    parts: list[Part] = [_box(state, runs), Section("Waiting", [_waiting(state)])]
    parts.append(Section("Deployed", _deployed(state, numbers)))
    if state.live:
        figure = live_figure(state.live)
        section = live_section(state.live, numbers)
        parts.append(Section(section.title, [*([figure] if figure else []), *section.blocks]))
    if numbers:
        parts.append(Section("Releases", [release_table(state.moves, runs, numbers)]))
    return parts


def _box(state: ProjectState, runs: Sequence[Run]) -> Box:
    """Return the box with the most important point, and everything else that needs a person."""
    points: list[Words] = [[Alarm(each)] for each in ([state.problem] if state.problem else []) + state.warnings]
    if runs and runs[-1]["verdict"] not in ("passed", "failed"):
        points.append([Alarm(f"The last run came to no verdict: {runs[-1].get('cause') or runs[-1]['verdict']}")])
    title = "✗ It needs a look" if points else f"⚠ {_WAITS[state.step.waits]}"
    title = "✓ Nothing waits" if state.step.waits == "nothing" and not points else title
    tone = "bad" if points else "good" if state.step.waits == "nothing" else "doubt"
    return Box(
        tone,
        title,
        [
            *([Items(points)] if points else []),
            "The last model is decided on." if state.step.waits == "nothing" else f"Next: {state.step.words}.",
        ],
        {},
    )


def _waiting(state: ProjectState) -> Block:
    """Return the table of what waits for whom."""
    decided = {plain_name(each["reviewer"]) for each in state.decisions}
    left = [each for each in state.signers if plain_name(each) not in decided]
    reviewers = ", ".join(left) or "a reviewer"
    needed = state.config.release.required_approvals
    so_far = "; ".join(f"{each['reviewer']}: {each['decision']}" for each in state.decisions) or "none"
    decisions = f"{so_far} ({needed} needed)"
    owner = state.config.report.owner or "the owner"
    whom = {"run": owner, "report": owner, "deploy": "whoever deploys"}.get(state.step.waits, reviewers)
    rows: list[list[Words]] = []
    if state.step.waits != "nothing":
        alarms = ", ".join(dict.fromkeys(each["name"] for each in state.alarms))
        rows.append([_WAITS[state.step.waits], whom, decisions, Alarm(alarms) if alarms else "", state.step.words])
    rows += [["A live alarm", owner, "", Alarm("live"), each] for each in state.warnings]
    names = ["what", "waits for", "decisions so far", "alarms", "next"]
    return Table("What waits for whom", names, rows) if rows else "Nothing waits for a person."


def _deployed(state: ProjectState, numbers: dict[str, int]) -> list[Block]:
    """Return the deployed release, since when it is deployed, and who approved it."""
    move = last_move(state.moves)
    if state.release is None or move is None or state.release not in numbers:
        return ["Nothing is deployed." if state.release is None else "The history does not name what is deployed."]
    first = next(each for each in state.moves if each["release"] == state.release)
    since = move["at"][:16].replace("T", " ")
    lines: list[Words] = [
        [
            "Release ",
            str(numbers[state.release]),
            ", ",
            report_link(state.release),
            f", since {since} ({move['action']})",
        ],
        *(f"Approved by {each}" for each in told(first, state.release, [])),
    ]
    if state.live and (words := newest_words(state.live["weeks"], state.release)):
        lines.append(f"Live: {words}")
    return [Items(lines)]


def _of_models(states: Mapping[str, ProjectState], whole: ProjectState, runs: Sequence[Run]) -> list[Part]:
    """Return the parts of the page of a project with many models."""
    failed = failed_models()
    waiting = sum(each.step.waits != "nothing" for each in states.values())
    alarmed = sum(bool(each.warnings or each.problem) for each in states.values())
    points: list[Words] = [[Alarm(whole.problem)]] if whole.problem else []
    if runs and runs[-1]["verdict"] not in ("passed", "failed"):
        points.append([Alarm(f"The last run came to no verdict: {runs[-1].get('cause') or runs[-1]['verdict']}")])
    points += [[Alarm(f"{name}: {why}")] for name, why in list(failed.items())[:_MOST_FAILED]]
    if len(failed) > _MOST_FAILED:
        points.append([Alarm(f"And {counted(len(failed) - _MOST_FAILED, 'model')} more could not be made.")])
    points.append(f"{counted(waiting, 'model')} of {len(states)} wait for a person.")
    points.append(f"{counted(alarmed, 'model')} of {len(states)} have a live alarm or a damaged file.")
    bad = bool(alarmed or len(points) > 2)
    if few := values_without_model():
        points.append(
            f"{counted(len(few), 'value')} {agreed(len(few), 'has', 'have')} too few rows for a model: a pooled model "
            f"(@…) scores the rows. {', '.join(few[:_MOST_FAILED])}{', …' if len(few) > _MOST_FAILED else '.'}"
        )
    title = "✗ Some need a look" if bad else "⚠ Some wait" if waiting else "✓ Nothing waits"
    box = Box("bad" if bad else "doubt" if waiting else "good", title, [Items(points)], {})
    names = ["model", "state", "verdict", "MAE", "best baseline", "live MAE", "promised", "alarms", "deployed since"]
    names += ["waits"]
    rows = [_model_row(name, state) for name, state in worst_first(states).items()]
    return [box, Section("Models", ["The worst first.", Table("Models", names, rows)])]


def _scores(state: ProjectState) -> tuple[float | None, float | None]:
    """Return the MAE of the newest model and that of its best baseline."""
    if not state.metrics:
        return None, None
    baselines = [each["test"]["MAE"] for each in state.metrics["baselines"].values()]
    return state.metrics["model"]["test"]["MAE"], min(baselines, default=None)


def worst_first(states: Mapping[str, ProjectState]) -> dict[str, ProjectState]:
    """Return the states of models, the worst first."""
    return dict(sorted(states.items(), key=lambda each: _badness(*each)))


def _badness(name: str, state: ProjectState) -> tuple[bool, bool, bool, float, str]:
    """Return the key that sorts the worst model first: problems, live alarms, failures, MAE over the baseline's."""
    mae, best = _scores(state)
    failed = bool(state.metrics and state.metrics["verdict"] == "failed")
    ratio = mae / best if mae is not None and best else float("inf")
    return not state.problem, not state.warnings, not failed, -ratio, name


def _model_row(name: str, state: ProjectState) -> list[Words]:
    """Return the row of a model."""
    path = Path("models", name, PAGE)
    label: Words = Link(name, quote(f"../{path.as_posix()}")) if path.is_file() else name
    move, (mae, best) = last_move(state.moves), _scores(state)
    lines = state.live["weeks"] if state.live else []
    weeks = [each for each in lines if each["answered"] and each["release"] == state.release]
    live, promised = (weeks[-1]["MAE"], weeks[-1]["promised_MAE"]) if weeks else (None, None)
    verdict = state.metrics["verdict"] if state.metrics else ""
    alarms = [*dict.fromkeys(each["name"] for each in state.alarms), *(["live"] if state.warnings else [])]
    condition: Words = Alarm("damaged") if state.problem else Alarm("live alarm") if state.warnings else "well"
    return [
        label,
        condition,
        Alarm(verdict) if verdict == "failed" else verdict,
        *(_cell(each) for each in (mae, best, live, promised)),
        Alarm(", ".join(alarms)) if alarms else "",
        move["at"][:10] if move and state.release else "",
        state.problem or state.step.waits.replace("nothing", ""),
    ]


def _cell(value: float | None) -> Shown | None:
    return shown_number(value, ".4g")
