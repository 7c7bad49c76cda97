"""Pickles of arrays, read by an unpickler that calls nothing of NumPy or SciPy.

A pickle is a program. This one may name a fixed list of (module, name) pairs, exactly those that NumPy
arrays and SciPy sparse matrices need, and each name stands for a small class below that records what it
is given. Arrays and matrices are then built from those records by public constructors that check every
length and index, because the real ``__setstate__`` methods trust theirs with memory.
"""

import io
import math
import pickle
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from l3ae_dist.errors import DataError

MAX_BYTES = 4 * 2**30
# Rows and columns are stored as int32.
_MOST = 2**31 - 1
_DTYPE = re.compile(r"[<>|=]?([biufSU])[0-9]+")


class _Dtype:
    """A call of ``numpy.dtype(code)``: its code and byte order."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise DataError(f"the pickle holds an array of dtype {code!r}, which is refused; store numbers.")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Ndarray:
    """The name ``numpy.ndarray``, as an argument."""


class _Array:
    """An array: shape, dtype, order and bytes."""

    value: Any = None

    def __init__(self, kind: Any = None, *_: Any) -> None:
        if kind is not _Ndarray:
            raise DataError("the pickle builds something that is not a plain array; it is refused.")

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes):
            raise DataError("the pickle holds an array of Python objects, which is refused; store numbers.")
        if math.prod(shape) * dtype.dtype.itemsize != len(raw) or min(shape, default=0) < 0:
            raise DataError("the pickle holds an array whose shape and bytes differ; it is refused.")
        flat = np.frombuffer(raw, dtype.dtype) if raw else np.empty(0, dtype.dtype)
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _scalar(dtype: Any, raw: Any) -> Any:
    return np.frombuffer(raw, dtype.dtype)[0]


def _encode(text: Any, _: Any) -> bytes:
    """Encode a text as protocols 0 to 2 write bytes."""
    return str(text).encode("latin1")


class _Sparse:
    """A sparse matrix: its attributes by name."""

    form: ClassVar[str]

    def __setstate__(self, state: Any) -> None:
        self.state = {key: _resolved(value) for key, value in state.items()}

    def matrix(self) -> Any:
        """The matrix, all indices checked; raises what its constructor raises, or :class:`DataError`."""
        state = self.state
        shape = tuple(int(size) for size in state["_shape"])
        if len(shape) != 2 or not all(0 <= size <= _MOST for size in shape):
            raise DataError(f"the pickle holds a sparse matrix of shape {shape}, which is refused.")
        if self.form == "coo":
            row, column = map(
                _resolved, state["coords"] if "coords" in state else (state["row"], state["col"])
            )
            _numbers(state["data"], row, column)
            return sparse.coo_matrix((state["data"], (row, column)), shape=shape)
        parts = (state["data"], state["indices"], state["indptr"])
        _numbers(*parts)
        # the copies are the matrix's own: these come from bytes and cannot be written
        made = (sparse.csr_matrix if self.form == "csr" else sparse.csc_matrix)(parts, shape=shape, copy=True)
        made.check_format(full_check=True)
        return made


class _Csr(_Sparse):
    form = "csr"


class _Csc(_Sparse):
    form = "csc"


class _Coo(_Sparse):
    form = "coo"


def _numbers(data: Any, *indices: Any) -> None:
    """Refuse parts of a sparse matrix that are not vectors of numbers with integer indices."""
    parts = (data, *indices)
    if not all(isinstance(part, np.ndarray) and part.ndim == 1 for part in parts):
        raise DataError("the pickle holds a sparse matrix whose parts are not vectors; it is refused.")
    if data.dtype.kind not in "biuf" or any(part.dtype.kind not in "iu" for part in indices):
        raise DataError("the pickle holds a sparse matrix that is not of numbers; it is refused.")


def _resolved(value: Any) -> Any:
    """Return what a record stands for; other values as they are."""
    if isinstance(value, _Array):
        return value.value
    return value.matrix() if isinstance(value, _Sparse) else value


_NAMES: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Ndarray,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{
        (f"scipy.sparse.{prefix}{kind.form}", f"{kind.form}_{form}"): kind
        for prefix in ("", "_")
        for kind in (_Csr, _Csc, _Coo)
        for form in ("matrix", "array")
    },
}


class RestrictedUnpickler(pickle.Unpickler):
    """Records arrays, sparse matrices and plain containers; refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Resolve an allowed pair; :class:`DataError` for any other."""
        if (module, name) not in _NAMES:
            raise DataError(
                f"the pickle asks for {module}.{name}, which is refused; only NumPy arrays and SciPy "
                "csr, csc and coo matrices are read."
            )
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Persistent ids point outside the file: refused."""
        raise DataError("the pickle refers to objects outside itself, which is refused.")


def load_restricted(path: Path, limit: int = MAX_BYTES) -> Any:
    """Unpickle an array, a sparse matrix or plain containers under the allow-list.

    Raises
    ------
    DataError
        For a file over ``limit`` bytes, a forbidden name, an object array, a sparse matrix whose indices
        point outside it, or a broken file.
    """
    size = path.stat().st_size
    if size > limit:
        raise DataError(f"{path} has {size} bytes, over the limit of {limit}; convert it to Parquet.")
    try:
        return _resolved(RestrictedUnpickler(io.BytesIO(path.read_bytes())).load())
    except DataError as error:
        raise DataError(f"{path} cannot be used: {error}") from error
    except Exception as error:
        raise DataError(f"{path} is not a readable pickle ({type(error).__name__}); convert it.") from error
