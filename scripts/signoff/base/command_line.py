"""What every command line shares: its options, its log and its exit code."""

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from signoff.base.errors import explain
from signoff.base.files import WORKFLOW, make_way, no_link
from signoff.base.late_import import collect_less, import_late, imported
from signoff.base.redaction import Redacting
from signoff.base.surroundings import use_utf8

collect_less()
# scikit-learn imports them, which takes half of the time of its own import, for functions that few tasks call.
import_late("numpy.f2py", ())
import_late("scipy.integrate", {"trapezoid"})
import_late("scipy.interpolate", {"BSpline"})
import_late("scipy.optimize", {"linear_sum_assignment", "linprog", "minimize", "minimize_scalar"})
import_late("scipy.stats", {"chi2", "gmean", "rankdata"})
import_late("sklearn.callback._progressbar", {"ProgressBar"})

_LOG_FORMAT = "%(asctime)s - %(levelname)s - %(message)s"


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every task has; `description` is the script's docstring.

    The program reads and prints text in any locale from here on, see `use_utf8`.
    """
    imported()
    if Path(sys.argv[0]).resolve().parent == WORKFLOW / "scripts":
        use_utf8()
    parser = argparse.ArgumentParser(
        description=description.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--log", type=Path, help="also write the log to this file")
    parser.add_argument(
        "--verbose",
        action="store_true",
        default=bool(os.environ.get("SIGNOFF_VERBOSE")),
        help="show the Python traceback of a failure (also: SIGNOFF_VERBOSE=1)",
    )
    return parser


def json_object(text: str) -> dict[str, Any]:
    """Return the mapping that a command line gave as JSON text; argparse turns the ValueError into exit 2."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{text} is not a JSON object")
    return value


class _LogFile(logging.FileHandler):
    """The log of a task. A link in its place could lead to any file, which would be emptied."""

    def _open(self) -> TextIOWrapper:
        make_way(Path(self.baseFilename))
        return open(self.baseFilename, "w", encoding="utf-8", opener=no_link)


def start_log(*others: logging.Handler) -> None:
    """Log to standard error and to `others`, without passwords."""
    handlers = [logging.StreamHandler(), *others]
    for each in handlers:
        each.setFormatter(Redacting(_LOG_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)


@contextlib.contextmanager
def logged(task: str, args: argparse.Namespace, subject: object) -> Iterator[None]:
    """Log start and end of `task` on standard error and in `args.log`; turn any failure into one ERROR line and exit 1.

    Raises
    ------
    SystemExit
        With code 1 after any exception of the block, 128 + n after signal n.
    """
    start_log()
    # Without a handler, SIGTERM would end the process at once and leave a half-written file behind.
    signal.signal(signal.SIGTERM, _stop)
    started = time.monotonic()
    try:
        if args.log:
            args.log.parent.mkdir(parents=True, exist_ok=True)
            start_log(_LogFile(args.log, mode="w", encoding="utf-8"))
        logging.info("[%s] start: %s", task, subject)
        yield
    except KeyboardInterrupt:
        logging.error("[%s] interrupted. Run it again to go on.", task)
        sys.exit(128 + signal.SIGINT)
    except SystemExit as stop:
        logging.error("[%s] stopped from outside (exit code %s). Run it again to go on.", task, stop.code)
        raise
    except Exception as error:
        logging.error("[%s] %s", task, " ".join(explain(error).split()), exc_info=args.verbose)
        sys.exit(1)
    logging.info("[%s] end after %.1f s", task, time.monotonic() - started)


def _stop(signal_number: int, _frame: object) -> None:
    sys.exit(128 + signal_number)
