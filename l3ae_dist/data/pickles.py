"""Pickles of arrays, read by an unpickler that calls nothing of NumPy or SciPy.

A pickle is a program. This one may name a fixed list of (module, name) pairs, exactly those that NumPy
arrays and SciPy sparse matrices need, and each name stands for a small class below that records what it
is given. Arrays and matrices are then built from those records by public constructors that check every
length and index, because the real ``__setstate__`` methods trust theirs with memory.

The opcodes are interpreted by the unpickler that is written in Python: that in C reserves what a file
promises, and hashes whatever it names as a key, for as long as that takes.
"""

import functools
import io
import math
import pickle
import re
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from scipy import sparse

from l3ae_dist.errors import DataError
from l3ae_dist.messages import shown

MAX_BYTES = 4 * 2**30
# Rows and columns are stored as int32.
_MOST = 2**31 - 1
# Each takes about a microsecond and, at most, a hundred bytes: texts of some six million items.
MAX_OPCODES = 20_000_000
# Rows and columns that a matrix may have whatever its size, and for each byte of its file.
_MOST_EMPTY, _PER_BYTE = 2**24, 64
_DTYPE = re.compile(r"[<>|=]?([biufSU])[0-9]+")


class _Dtype:
    """A call of ``numpy.dtype(code)``: its code and byte order."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        if not isinstance(code, str) or not _DTYPE.fullmatch(code):
            raise DataError(
                f"the pickle holds an array of dtype {shown(code)}, which is refused; store numbers."
            )
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
        if not isinstance(shape, tuple) or not all(
            type(size) is int and 0 <= size <= _MOST for size in shape
        ):
            raise DataError(f"the pickle holds an array of shape {shown(shape)}; it is refused.")
        if math.prod(shape) * dtype.dtype.itemsize != len(raw):
            raise DataError("the pickle holds an array whose shape and bytes differ; it is refused.")
        flat = np.frombuffer(raw, dtype.dtype) if raw else np.empty(0, dtype.dtype)
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _scalar(dtype: Any, raw: Any) -> Any:
    return np.frombuffer(raw, dtype.dtype)[0]


def _encode(text: Any, _: Any) -> bytes:
    """Encode a text as protocols 0 to 2 write bytes."""
    if not isinstance(text, str):
        raise DataError("the pickle encodes something that is no text; it is refused.")
    return text.encode("latin1")


class _Sparse:
    """A sparse matrix: its attributes by name."""

    form: ClassVar[str]

    def __setstate__(self, state: Any) -> None:
        self.state = {key: _resolved(value) for key, value in state.items()}

    def matrix(self) -> Any:
        """The matrix, all indices checked; raises what its constructor raises, or :class:`DataError`."""
        state = self.state
        shape = tuple(state["_shape"])
        sizes = [_resolved(size) for size in shape]
        if len(sizes) != 2 or not all(
            isinstance(size, int | np.integer) and 0 <= size <= _MOST for size in sizes
        ):
            raise DataError(f"the pickle holds a sparse matrix of shape {shown(shape)}, which is refused.")
        shape = tuple(map(int, sizes))
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


def _is_size(size: object) -> bool:
    return isinstance(size, int | np.integer) and bool(0 <= size <= _MOST)


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


def _refuse(what: str, _: object) -> None:
    raise DataError(f"the pickle holds {what}, which is refused; store arrays, sparse matrices or texts.")


class _Opcodes(dict[int, Any]):
    """Handlers of the opcodes; counts how many were looked up."""

    seen = 0

    def __getitem__(self, code: int) -> Any:
        self.seen += 1
        if self.seen > MAX_OPCODES:
            raise DataError(f"the pickle has over {MAX_OPCODES:,} operations; convert it to Parquet.")
        return super().__getitem__(code)


# Keys other than names are hashed, and tuples within tuples take as long as they like; numbers of more than
# eight bytes collide at will; a bytearray is reserved before it is read.
_REFUSED = {
    "a set": (pickle.EMPTY_SET, pickle.FROZENSET, pickle.ADDITEMS),
    "a huge number": (pickle.LONG4,),
    "a bytearray": (pickle.BYTEARRAY8,),
    "a dictionary of an old protocol": (pickle.DICT,),
    "an extension": (pickle.EXT1, pickle.EXT2, pickle.EXT4),
}


class RestrictedUnpickler(pickle._Unpickler):
    """Records arrays, sparse matrices and plain containers; refuses everything else."""

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.dispatch = _Opcodes(type(self).dispatch)  # type: ignore[misc]  # one count for each file

    def _name_keys(self, items: list[Any]) -> None:
        if not all(type(key) is str for key in items[::2]):
            raise DataError("the pickle holds a dictionary whose keys are no names; it is refused.")

    def load_setitem(self) -> None:
        """Take one item of a dictionary."""
        self._name_keys(self.stack[-2:])
        super().load_setitem()  # type: ignore[misc]  # the stubs name no opcodes

    def load_setitems(self) -> None:
        """Take the items of a dictionary."""
        self._name_keys(self.stack)
        super().load_setitems()  # type: ignore[misc]  # as above

    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    for _what, _codes in _REFUSED.items():
        dispatch |= dict.fromkeys((code[0] for code in _codes), functools.partial(_refuse, _what))

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
        found = _resolved(RestrictedUnpickler(io.BytesIO(path.read_bytes())).load())
        if sparse.issparse(found) and max(found.shape) > _MOST_EMPTY + _PER_BYTE * size:
            raise DataError(f"its {size:,} bytes promise a matrix of shape {found.shape}; it is refused.")
        return found
    except DataError as error:
        raise DataError(f"{path} cannot be used: {error}") from error
    except Exception as error:
        raise DataError(f"{path} is not a readable pickle ({type(error).__name__}); convert it.") from error
