"""The published code's dataset folder, read by an unpickler that can build nothing but arrays.

A pickle is a program. This one may name a fixed list of (module, name) pairs, exactly those that
NumPy arrays and SciPy sparse matrices need, and nothing else; object arrays are refused, because
their elements are pickles again.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from l3ae_dist.errors import DataError

MAX_BYTES = 4 * 2**30
_NUMPY = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
}
_SPARSE = {
    (f"scipy.sparse.{prefix}{kind}", f"{kind}_{form}")
    for prefix in ("", "_")
    for kind in ("csr", "csc", "coo")
    for form in ("matrix", "array")
}
ALLOWED = _NUMPY | _SPARSE
_FILES = {"train": "trn_mat.pkl", "valid": "val_mat.pkl", "test": "tst_mat.pkl"}


def _dtype(*arguments: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(*arguments)
    if dtype.hasobject or dtype.kind not in "biufSU":
        raise DataError(f"the pickle holds an array of dtype {dtype}, which is refused; store numbers.")
    return dtype


def _array_type_only(*arguments: Any) -> Any:
    if not arguments or arguments[0] is not np.ndarray:
        raise DataError("the pickle builds something that is not a plain array; it is refused.")
    return np.ndarray.__new__(np.ndarray, (0,), np.dtype("b"))


class RestrictedUnpickler(pickle.Unpickler):
    """Builds arrays, sparse matrices and plain containers; refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Resolve an allowed pair; :class:`DataError` for any other."""
        if (module, name) not in ALLOWED:
            raise DataError(
                f"the pickle asks for {module}.{name}, which is refused; only NumPy arrays and SciPy "
                "csr, csc and coo matrices are read."
            )
        if name == "dtype":
            return _dtype
        if name == "_reconstruct":
            return _array_type_only
        if name == "ndarray":
            return np.ndarray
        if name == "scalar":
            from numpy._core.multiarray import scalar

            return scalar
        return getattr(sparse, name)

    def persistent_load(self, pid: Any) -> Any:
        """Persistent ids point outside the file: refused."""
        raise DataError("the pickle refers to objects outside itself, which is refused.")


def load_restricted(path: Path, limit: int = MAX_BYTES) -> Any:
    """Unpickle ``path`` under the allow-list.

    Raises
    ------
    DataError
        For a file over ``limit`` bytes, a forbidden name, an object array, or a broken file.
    """
    size = path.stat().st_size
    if size > limit:
        raise DataError(f"{path} has {size} bytes, over the limit of {limit}; convert it to Parquet.")
    try:
        value = RestrictedUnpickler(io.BytesIO(path.read_bytes())).load()
        _check_plain(value, path)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path} is not a readable pickle ({type(error).__name__}); convert it.") from error
    return value


def _check_plain(value: Any, path: Path) -> None:
    arrays = [value]
    if sparse.issparse(value):
        arrays = [part for part in vars(value).values() if isinstance(part, np.ndarray)]
    for array in arrays:
        if isinstance(array, np.ndarray) and array.dtype.hasobject:
            raise DataError(f"{path} holds an array of Python objects, which is refused; store numbers.")


def is_authors_layout(interactions: Any, items: Any) -> bool:
    """Whether ``interactions`` is a folder with the published code's training pickle."""
    if items is not None or not isinstance(interactions, (str, Path)):
        return False
    return (Path(interactions) / _FILES["train"]).exists()


def read_authors(folder: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Read the folder.

    Returns
    -------
    interactions and items as DataFrames (items are 0..n-1; text where ``*_items.pkl`` lists strings),
    and the ingest options that fit them.
    """
    import pandas as pd

    root = Path(folder)
    parts = []
    columns = 0
    for split, name in _FILES.items():
        if not (root / name).exists():
            raise DataError(f"{root} has no {name}; the layout needs {', '.join(_FILES.values())}.")
        matrix = load_restricted(root / name)
        if not sparse.issparse(matrix):
            raise DataError(f"{root / name} is not a sparse matrix; the layout needs csr, csc or coo.")
        matrix = matrix.tocoo()
        columns = max(columns, int(matrix.shape[1]))
        kept = matrix.data != 0
        parts.append(pd.DataFrame({"user_id": matrix.row[kept], "item_id": matrix.col[kept], "split": split}))
    items = pd.DataFrame({"item_id": np.arange(columns)})
    texts = _item_texts(root, columns)
    if texts is not None:
        items["text"] = texts
    changes = {"split_column": "split", "user_column": "user_id", "item_column": "item_id"}
    return pd.concat(parts, ignore_index=True), items, changes


def authors_embeddings(folder: Any) -> Any:
    """The (n, d) array of ``*_items.pkl``, or None when it holds something else."""
    for path in sorted(Path(folder).glob("*_items.pkl")):
        value = load_restricted(path)
        if isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind == "f":
            return value
    return None


def _item_texts(root: Path, count: int) -> list[str] | None:
    for path in sorted(root.glob("*_items.pkl")):
        value = load_restricted(path)
        if isinstance(value, list) and len(value) == count and all(isinstance(text, str) for text in value):
            return value
    return None
