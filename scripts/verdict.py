"""Say how the run ended: the summary, and exit code 1 where a threshold or the data contract failed.

    python scripts/verdict.py --validation reports/validation_report.json --metrics reports/evaluation_metrics.json \\
        --output reports/verdict.json

The output is written only for a run that passed.
"""

import logging
from pathlib import Path
from typing import cast

from signoff.base import command_line
from signoff.base.errors import TaskError
from signoff.base.files import read_json, write_json
from signoff.release.records import Metrics, Validation
from signoff.release.verdict import MARK, verdict


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    parser.add_argument("--validation", required=True, type=Path, help="the validation report")
    parser.add_argument("--metrics", required=True, type=Path, help="the metrics")
    parser.add_argument("--output", required=True, type=Path, help="the JSON file to write")
    parser.add_argument("--tracking", type=Path, help="also say what came of logging the run to MLflow")
    parser.add_argument("--on-failure", choices=["fail", "halt", "warn"], default="fail", help="of the data contract")
    args = parser.parse_args(argv)
    with command_line.logged("verdict", args, args.metrics):
        validation, metrics = cast(Validation, read_json(args.validation)), cast(Metrics, read_json(args.metrics))
        lines, reasons = verdict(validation, metrics, args.on_failure)
        lines.append(f"Verdict     {'failed' if reasons else 'passed'}")
        lines.append(f"Files       model/model.pkl, {args.metrics}, {args.validation}, logs/")
        if args.tracking:
            record = read_json(args.tracking)
            lines.append(f"Warning     {record['problem']}" if record["problem"] else f"Tracking    {record['run']}")
        for line in lines:
            logging.info("%s%s", MARK, line)
        if reasons:
            raise TaskError(f"the verdict is failed: {'; '.join(reasons)}. Everything is on disk; see {args.metrics}.")
        write_json(args.output, {"verdict": "passed"})


if __name__ == "__main__":
    main()
