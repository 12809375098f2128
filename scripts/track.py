"""Log to MLflow what is on disk: the model that was judged, what waits from earlier runs, and the releases.

    python scripts/track.py [--config config.yaml]

Run in the project's folder. A model with its verdict is one MLflow run, known by a digest, so that nothing is logged
twice. It waits in logs/mlflow/ until the server has all of it: a server that is down is a warning, never a failure, and
the next run logs what waits.
"""

import logging

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.config.settings import config_argument, read_config
from signoff.release.approval import METRICS
from signoff.release.tracking import track


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    config_argument(parser)
    args = parser.parse_args(argv)
    with command_line.logged("track", args, METRICS):
        config, paths = read_config(args.config)
        if config.tracking.mlflow_uri is None:
            raise TaskError(f"tracking.mlflow_uri is not set in {' or '.join(paths)}: there is nowhere to log to.")
        record = track(config, paths)
        if record["run"]:
            logging.info("[track] completed. Run: %s", record["run"])


if __name__ == "__main__":
    main()
