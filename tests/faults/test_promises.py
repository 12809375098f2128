"""docs/promises.md names a test for each of its sentences, and each is there."""

import ast
import re

from conftest import ROOT


def test_each_promise_has_its_tests():
    text = (ROOT / "docs/promises.md").read_text("utf-8")
    promises = [" ".join(each.split()) for each in re.findall(r"^- .*\n(?:  .*\n)*", text, flags=re.M)]
    assert len(promises) > 10
    for promise in promises:
        named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", promise)
        assert named, f"no test holds: {promise}"
        for path, name in named:
            functions = [getattr(node, "name", None) for node in ast.parse((ROOT / path).read_text("utf-8")).body]
            assert name in functions, f"{path} has no {name}: {promise}"
