"""Each promise in docs/promises.md and docs/threat-model.md names a test, and each of these exists."""

import ast
import re

from conftest import ROOT


def test_each_promise_has_its_tests():
    text = (ROOT / "docs/promises.md").read_text("utf-8")
    promises = [" ".join(each.split()) for each in re.findall(r"^- .*\n(?:  .*\n)*", text, flags=re.M)]
    table = (ROOT / "docs/threat-model.md").read_text("utf-8").partition("| promise | tests |\n|---|---|\n")[2]
    assert len(promises) > 10 and len(table.splitlines()) > 20
    for promise in [*promises, *table.splitlines()]:
        named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", promise)
        assert named, f"no test holds: {promise}"
        for path, name in named:
            functions = [getattr(node, "name", None) for node in ast.parse((ROOT / path).read_text("utf-8")).body]
            assert name in functions, f"{path} has no {name}: {promise}"
