"""A module that is imported late: what starts it, what does not, and that it then is a module like others."""

import sys

import pytest

from signoff.base.late_import import import_late


@pytest.fixture
def late(tmp_path, monkeypatch):
    """A module that is imported late, and that lists each time that it was executed in `sys.executed`."""
    text = "import sys\nsys.executed.append(__name__)\nclass Table:\n    pass\ndef size():\n    return 3\n"
    (tmp_path / "late_one.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "executed", [], raising=False)
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])
    import_late("late_one", {"Table", "size"})
    yield "late_one"
    sys.modules.pop("late_one", None)


def test_names_types_and_checks_of_types_do_not_execute_it(late):
    import late_one
    from late_one import Table, size

    def empty(table: int | Table) -> late_one.Table | None:
        return table

    assert not isinstance(empty(None), Table)
    assert not isinstance([], late_one.Table | None) and not hasattr(late_one, "__path__")
    assert sys.executed == []
    assert size() == 3
    assert sys.executed == [late]


def test_a_check_of_types_knows_its_objects_once_it_is_executed(late):
    import late_one
    from late_one import Table

    assert not isinstance(3, Table)
    assert isinstance(late_one.Table(), Table) and not isinstance(3, Table)
    assert isinstance(Table(), late_one.Table)
    assert sys.executed == [late]


def test_any_other_attribute_executes_it_once(late):
    import late_one

    with pytest.raises(AttributeError, match="module 'late_one' has no attribute 'colour'"):
        _ = late_one.colour
    assert late_one.size() == 3
    assert sys.executed == [late]
