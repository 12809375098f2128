"""The file of a model: equal models have equal bytes, and a file in skops' format cannot harm whoever reads it."""

import hashlib
import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from signoff.base.errors import TaskError
from signoff.model import model_file


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    """The files in the archive of a model."""
    rows = np.arange(30.0).reshape(10, 3)
    model = make_pipeline(StandardScaler(), Ridge()).fit(rows, rows.sum(1))
    with zipfile.ZipFile(io.BytesIO(model_file._skops_bytes(model))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def refusal(path: Path, content: bytes) -> str:
    """Return why the model in a file with these bytes, whose digest is known, is not read."""
    path.write_bytes(content)
    with pytest.raises(TaskError) as told:
        model_file.load_model(path, hashlib.sha256(content).hexdigest())
    return str(told.value)


def packed(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def with_alpha(members: dict[str, bytes], node: dict) -> bytes:
    """Return the archive of a model in which a parameter of the last step is another object."""
    schema = json.loads(members["schema.json"])
    steps = schema["content"]["content"]["steps"]["content"]
    ridge = steps[-1]["content"][-1]
    assert ridge["__class__"] == "Ridge"
    ridge["content"]["content"]["alpha"] = {"__id__": 10**6, **node}
    return packed({**members, "schema.json": json.dumps(schema).encode()})


def named(name: str, loader: str, **more: object) -> dict:
    module, _, kind = name.rpartition(".")
    return {"__module__": module, "__class__": kind, "__loader__": loader, **more}


SYSTEM = named("os.system", "FunctionNode", __id__=10**6 + 1)
EMPTY = named("builtins.dict", "DictNode", __id__=10**6 + 2, content={}, key_types=None)
CALL = {"func": SYSTEM, "args": EMPTY, "kwds": EMPTY, "namespace": EMPTY}


@pytest.mark.parametrize(
    "node",
    [
        SYSTEM,
        named("builtins.eval", "FunctionNode"),
        named("numpy.f2py.compile", "FunctionNode"),
        named("sklearn.datasets.fetch_openml", "FunctionNode"),
        named("sklearn.utils.validation.check_array.__globals__", "FunctionNode"),
        named("os._wrap_close", "TypeNode"),
        named("subprocess.Popen", "ObjectNode", content=EMPTY),
        named("functools.partial", "PartialNode", content=CALL),
        named("operator.methodcaller", "OperatorFuncNode", attrs=EMPTY),
        named("builtins.method", "MethodNode", content={"func": "system", "obj": SYSTEM}),
        named("os.system", "ReduceNode", args=EMPTY, constructor=SYSTEM, content={}),
        named("os.system", "UnknownNode"),
    ],
    ids=lambda node: f"{node['__loader__']} {node['__module__']}.{node['__class__']}",
)
def test_a_skops_file_holds_nothing_that_a_model_does_not_need(members, node, tmp_path):
    told = refusal(tmp_path / "model.skops", with_alpha(members, node))
    assert "skops does not cover" in told or "cannot be read by the installed scikit-learn" in told


def array_of(shape: int, data: bytes) -> bytes:
    """Return the file of an array of bytes that claims to have so many."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "|u1", "fortran_order": False, "shape": (shape,)})
    return content.getvalue() + data


@pytest.mark.parametrize("claimed", [1 << 28, 1 << 36])
def test_a_skops_file_cannot_take_all_memory(members, claimed, tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "_MEMORY", 1 << 26)
    name = next(each for each in members if each.endswith(".npy"))
    bomb = packed({**members, name: array_of(claimed, bytes(1 << 20))})
    told = refusal(tmp_path / "model.skops", bomb)
    assert "takes more memory than a model of its size needs" in told


def test_a_damaged_model_is_one_error_that_names_the_file(members, tmp_path):
    whole = packed(members)
    array = next(each for each in members if each.endswith(".npy"))
    elsewhere = members["schema.json"].replace(f'"{array}"'.encode(), b'"../../etc/passwd"')
    assert elsewhere != members["schema.json"]
    objects = io.BytesIO()
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    damaged = [
        b"",
        bytes(100),
        whole[:-50],
        whole[:-100] + bytes(50) + whole[-50:],
        whole.replace(b"PK\1\2", b"PK\1\3"),
    ]
    damaged += [packed({**members, array: each}) for each in (b"", objects.getvalue(), members[array][:-1])]
    damaged += [packed({**members, "schema.json": each}) for each in (b"{", b"[]", b"[" * 10**5, elsewhere)]
    for content in damaged:
        assert str(tmp_path / "model.skops") in refusal(tmp_path / "model.skops", content)
    pickled = model_file.pickled(Ridge())
    for content in (b"", bytes(10), pickled[:-10], pickled[:20] + b"\xff" + pickled[21:], b"cno_module\nno\n."):
        assert str(tmp_path / "model.pkl") in refusal(tmp_path / "model.pkl", content)


def test_equal_names_give_equal_bytes_whether_or_not_they_are_one_object():
    name = "a column"
    same = np.array([name, name], dtype=object)
    other = np.array([name, "".join(["a ", "column"])], dtype=object)
    assert same[0] is same[1] and other[0] is not other[1]
    # Within one array, and between an array and what stands beside it.
    assert model_file.pickled([name, same]) == model_file.pickled(["".join(["a ", "column"]), same])
    for array in (same, other, np.array([], dtype=object), np.array([[None, 1]], dtype=object)):
        (found,) = pickle.loads(model_file.pickled([array]))
        assert found.dtype == object and found.tolist() == array.tolist() and found.shape == array.shape
    # Numbers are pickled as usual.
    assert model_file.pickled(np.arange(3)) == pickle.dumps(np.arange(3), protocol=5)
