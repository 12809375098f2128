"""Write one page about all models of a project: what waits for a person, the worst model first.

    python scripts/models_page.py --chunks 50 --output reports/final_report.md

Run in the folder of the config, once the reports of the models were written. The page gets the suffix .html.
"""

import logging
from pathlib import Path

from signoff.base import command_line
from signoff.base.config import Config
from signoff.base.files import replacing
from signoff.config.settings import config_argument, read_values, section
from signoff.ops.many import MODELS, failed_models, forget_chunks, model_folders
from signoff.ops.overview import models_page
from signoff.release.approval import utc_now
from signoff.report.markdown import markdown
from signoff.report.page import page
from signoff.rules.model_folder import write_projects


def main(argv: list[str] | None = None) -> None:
    parser = command_line.arguments(__doc__)
    config_argument(parser)
    parser.add_argument("--chunks", required=True, type=int, help="the number of jobs that have made the reports")
    parser.add_argument("--output", required=True, type=Path, help="the Markdown file to write")
    args = parser.parse_args(argv)
    with command_line.logged("models_page", args, MODELS):
        values, config_paths = read_values(args.config)
        forget_chunks(args.chunks)
        folders = model_folders(section(Config, values))
        write_projects(values, folders)
        title, parts = models_page(Path.cwd().name, config_paths, utc_now())
        as_page = args.output.with_suffix(".html")
        for path, text in {args.output: markdown(title, parts), as_page: page(title, parts)}.items():
            with replacing(path) as new:
                new.write_text(text, encoding="utf-8")
        logging.info("[models_page] to read in a browser: %s", as_page)
        logging.info("[models_page] completed. Models: %d, failed: %d", len(folders), len(failed_models()))


if __name__ == "__main__":
    main()
