"""Write and read a model's file: joblib's pickle, or skops' format, which runs no code when it is read."""

import hashlib
import io
import logging
import re
import warnings
import zipfile
from pathlib import Path

from signoff.base.errors import TaskError
from signoff.base.files import replacing, sha256


def write_model(model: object, path: Path) -> str:
    """Write a fitted model atomically, as skops where the suffix says so; return the file's SHA-256.

    Raises
    ------
    TaskError
        The model holds types that skops' format cannot hold safely.
    """
    with replacing(path) as new:
        if path.suffix == ".skops":
            new.write_bytes(skops_bytes(model))
        else:
            import joblib

            joblib.dump(model, new)
        return sha256(new)


def load_model(path: Path, digest: str) -> object:
    """Return the model in `path`, read after the file was found to have that SHA-256.

    Raises
    ------
    TaskError
        The file is another one (unpickling it could run anything), or was made by a newer version of scikit-learn, or
        by an older one than can be read.
    """
    from sklearn.exceptions import InconsistentVersionWarning

    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise TaskError(f"{path} is not the file that was written down ({digest[:12]}). Restore it, or train again.")

    def read() -> object:
        if path.suffix == ".skops":
            import skops.io

            return skops.io.loads(content, trusted=trusted_types(content))
        import joblib

        return joblib.load(io.BytesIO(content))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            try:
                return read()
            except InconsistentVersionWarning as other:
                made, here = other.original_sklearn_version, other.current_sklearn_version
            # What an older version has made is read, as far as it can be: what a newer one has, may read and then fail.
            if numbers(made) > numbers(here):
                raise ValueError(f"it was made by {made}, and {here} is here")
            logging.warning("%s was made by scikit-learn %s, and %s is here: train again soon", path, made, here)
            warnings.simplefilter("ignore", InconsistentVersionWarning)
            return read()
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        raise TaskError(
            f"{path} cannot be read by the installed scikit-learn ({error}). Install the versions that its "
            ".json names, or train again."
        ) from error


def numbers(version: str) -> list[int]:
    """Return a version as numbers in their order."""
    return [int(each) for each in re.findall(r"\d+", version)]


def skops_bytes(model: object) -> bytes:
    """Return a model in skops' format, with the same bytes each time.

    skops names each part by its address in memory, and the archive holds the time: both are taken out.
    """
    import skops.io

    raw = skops.io.dumps(model)
    trusted_types(raw)
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


def trusted_types(content: bytes) -> list[str]:
    """Return the types in a skops file beside those that skops trusts by itself: scikit-learn's and NumPy's own.

    Raises
    ------
    TaskError
        It holds any other.
    """
    import skops.io

    types: list[str] = skops.io.get_untrusted_types(data=content)
    others = [each for each in types if not each.startswith(("sklearn.", "numpy.")) and each != "functools.partial"]
    if others:
        raise TaskError(f"model.format: skops does not cover {', '.join(others)}. Use model.format: pickle.")
    return types
