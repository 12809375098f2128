"""The part of a page that a script measures, between two marks; what people wrote around it stays."""

import sys

BEGINS, ENDS = "<!-- measured -->", "<!-- /measured -->"


def between_marks(page: str, lines: list[str]) -> str:
    """Return a page with these lines between its marks."""
    before, begins, rest = page.partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not (begins and ends):
        sys.exit(f"The page has no {BEGINS} … {ENDS} to write the results between.")
    return "\n".join([before + begins, *lines, "", ends + after])
