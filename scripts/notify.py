"""Tell people how a scheduled run ended, through the services in notify.urls and to notify.command.

    python scripts/notify.py        # sends a test message to all of them

weekly.py calls `notify`. Each address has a process of its own, Apprise's command line, that gets the address in its
environment: there alone the `${NAME}` in it are replaced, so that no secret reaches a log, a record or Snakemake.
"""

import logging
from pathlib import Path
from socket import gethostname

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.ops.notify import link, read_settings, send
from signoff.ops.status import standing


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    args = parser.parse_args(argv)
    with command_line.logged("notify", args, Path.cwd()):
        settings = read_settings()
        if not settings.urls and not settings.command:
            raise TaskError("there is nobody to notify: set notify.urls or notify.command in the config.")
        title = f"Signoff {Path.cwd().name}: a test message"
        lines = [f"Project     {Path.cwd()} on {gethostname()}", *link(), "This is a test message.", "", *standing()]
        notified, failed = send(settings, title, "\n".join(lines) + "\n", ["trial"])
        for name in notified:
            logging.info("[notify] sent: %s", name)
        if failed:
            raise TaskError("; ".join(failed))


if __name__ == "__main__":
    main()
