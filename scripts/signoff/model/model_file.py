"""Write and read a model's file: a pickle, or skops' format, which runs no code when it is read."""

import hashlib
import io
import json
import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from signoff.base.errors import TaskError
from signoff.base.files import read_bytes, replacing, sha256
from signoff.base.limits import limited_memory
from signoff.model.boosters import BOOSTERS, INSTALL

# Bytes that reading a file in skops' format may take: this, or this many times the bytes of the file.
_MEMORY, _MOST_TIMES = 1 << 30, 64
# Releases of older versions were written by joblib, which wraps each array in this type.
_BY_JOBLIB = b"NumpyArrayWrapper"
_PARTIAL, _CHECK = "functools.partial", "sklearn.utils.validation.check_array"
_KERNELS = ["ConstantKernel", "DotProduct", "ExpSineSquared", "Exponentiation", "Matern", "PairwiseKernel", "Product"]
_KERNELS += ["RBF", "RationalQuadratic", "Sum", "WhiteKernel"]
_DISTANCES = ["ChebyshevDistance64", "EuclideanDistance64", "ManhattanDistance64", "MinkowskiDistance64"]
# The types in scikit-learn's regressors and their pipelines that skops does not trust by default. Each is listed by its
# name: a prefix such as numpy. would admit functions that run whatever they are given.
_NEEDED = {
    "numpy.dtype",
    "scipy.sparse._csr.csr_matrix",
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.ShuffleSplit",
    "sklearn.model_selection._split.TimeSeriesSplit",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    # A dictionary: the members of a mean by their names.
    "sklearn.utils._bunch.Bunch",
    "signoff.model.residuals.ResidualRegressor",
    "signoff.model.text.IgnoringText",
    "signoff.model.text.TextEncoder",
    _CHECK,
    *(f"sklearn.metrics._dist_metrics.{name}" for name in _DISTANCES),
    *(f"sklearn.gaussian_process.kernels.{name}" for name in _KERNELS),
}


def write_model(model: object, path: Path) -> str:
    """Write a fitted model atomically, as skops if the suffix says so; return the file's SHA-256.

    Raises
    ------
    TaskError
        The model holds types that skops' format cannot hold safely.
    """
    with replacing(path) as new:
        if path.suffix == ".skops":
            new.write_bytes(_skops_bytes(model))
        else:
            with open(new, "wb") as file:
                _Pickler(file, protocol=5).dump(model)
        return sha256(new)


def pickled(model: object) -> bytes:
    """Return the bytes that `write_model` writes for a pickle."""
    content = io.BytesIO()
    _Pickler(content, protocol=5).dump(model)
    return content.getvalue()


class _Pickler(pickle.Pickler):
    """Pickles equal models to equal bytes, and small models of many trees ten times as fast as joblib.

    A pickle refers to an object that it has seen before. Whether two equal names are one object depends on how the
    table was read, so an array of objects gets a pickle of its own.
    """

    def reducer_override(self, obj: object) -> Any:
        if type(obj) is np.ndarray and obj.dtype.hasobject:
            return pickle.loads, (pickle.dumps(obj, protocol=5),)
        return NotImplemented


def load_model(path: Path, digest: str) -> object:
    """Return the model in `path`, read after the file was found to have that SHA-256.

    Raises
    ------
    TaskError
        The file is another one (unpickling it could run anything), or was made by a newer version of scikit-learn, or
        by an older one than can be read.
    """
    from sklearn.exceptions import InconsistentVersionWarning

    content = read_bytes(path)
    if hashlib.sha256(content).hexdigest() != digest:
        raise TaskError(f"{path} is not the file that was written down ({digest[:12]}). Restore it, or train again.")

    def read() -> object:
        if path.suffix == ".skops":
            return _read_skops(content, path)
        if _BY_JOBLIB in content:
            import joblib

            return joblib.load(io.BytesIO(content))
        return pickle.loads(content)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            try:
                return read()
            except InconsistentVersionWarning as other:
                made, here = other.original_sklearn_version, other.current_sklearn_version
            # Models of older versions are read if possible. A model of a newer version may load and fail later.
            if _numbers(made) > _numbers(here):
                raise ValueError(f"it was made by {made}, and {here} is here")
            logging.warning("%s was made by scikit-learn %s, and %s is here: train again soon", path, made, here)
            warnings.simplefilter("ignore", InconsistentVersionWarning)
            return read()
    except (TaskError, MemoryError):
        raise
    # Readers of damaged files raise errors of many types.
    except Exception as error:
        missing = (getattr(error, "name", None) or "").partition(".")[0]
        if isinstance(error, ImportError) and missing in BOOSTERS:
            raise TaskError(f"{path} needs {missing}, which is not installed. {INSTALL}") from error
        raise TaskError(
            f"{path} cannot be read by the installed scikit-learn ({error}). Install the versions that its "
            ".json names, or train again."
        ) from error


def _read_skops(content: bytes, path: Path) -> object:
    """Return the model that the bytes of a skops file hold, in bounded memory: their arrays may claim any size.

    Raises
    ------
    TaskError
        It holds types that models do not need, or takes more memory than a model of this size needs.
    """
    import skops.io

    try:
        with limited_memory(max(_MEMORY, _MOST_TIMES * len(content))):
            return skops.io.loads(content, trusted=_trusted_types(content))
    except MemoryError as error:
        raise TaskError(f"{path} takes more memory than a model of its size needs. Train again.") from error


def _numbers(version: str) -> list[int]:
    """Return a version as a tuple of integers."""
    return [int(each) for each in re.findall(r"\d+", version)]


def _skops_bytes(model: object) -> bytes:
    """Return a model in skops' format, with the same bytes each time.

    skops names each part by its address in memory, and the archive holds the time: both are taken out.
    """
    import skops.io

    raw = skops.io.dumps(model)
    _trusted_types(raw)
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = members.pop("schema.json").decode()
    ids: dict[str, str] = {}
    for address in re.findall(r'"__id__": (\d+)', schema):
        ids.setdefault(address, str(len(ids)))
    schema = re.sub(r'("__id__": )(\d+)', lambda match: match[1] + ids[match[2]], schema)
    schema = re.sub(r'"(\d+)(\.\w+)"', lambda match: f'"{ids.get(match[1], match[1])}{match[2]}"', schema)
    members = {re.sub(r"^\d+", lambda match: ids.get(match[0], match[0]), name): data for name, data in members.items()}
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted({**members, "schema.json": schema.encode()}.items()):
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return written.getvalue()


def _trusted_types(content: bytes) -> list[str]:
    """Return the types in a skops file that skops does not trust by default.

    A gradient boosting with categories holds `functools.partial`: that is trusted around one function alone.

    Raises
    ------
    TaskError
        It holds any type that is not in the list of those that models need.
    """
    import skops.io

    types: list[str] = skops.io.get_untrusted_types(data=content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        schema = json.loads(archive.read("schema.json"))
    harmless = all(map(_only_checks_arrays, _partials(schema)))
    others = [each for each in types if each not in _NEEDED and not (each == _PARTIAL and harmless)]
    if others:
        raise TaskError(f"model.format: skops does not cover {', '.join(others)}. Use model.format: pickle.")
    return types


def _partials(node: object) -> Iterator[dict[str, Any]]:
    """Yield each part of a skops file's schema that names functools.partial."""
    if isinstance(node, dict):
        if f"{node.get('__module__')}.{node.get('__class__')}" == _PARTIAL:
            yield node
        for each in node.values():
            yield from _partials(each)
    elif isinstance(node, list):
        for each in node:
            yield from _partials(each)


def _only_checks_arrays(partial: dict[str, Any]) -> bool:
    """Return whether a partial function is one of scikit-learn's `check_array`."""
    content = partial.get("content")
    func = content.get("func") if isinstance(content, dict) else None
    if partial.get("__loader__") != "PartialNode" or not isinstance(func, dict):
        return False
    name = f"{func.get('__module__')}.{func.get('__class__')}"
    return func.get("__loader__") == "FunctionNode" and name == _CHECK and "content" not in func
