"""BLAS and LAPACK by pointer: in place, on row-major arrays, with the interpreter lock released.

SciPy's own wrappers hold the lock for the whole call, which stops the threads that read the next
tiles. The same routines are exported by ``scipy.linalg.cython_blas`` as C function pointers; calling
those through ctypes releases the lock and never copies.

A row-major array is its own transpose in column-major order, so every routine here is called with
sides and triangles exchanged; the names and arguments speak of the row-major arrays.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from scipy.linalg import cython_blas, cython_lapack

from l3ae_dist.linalg.arrays import Array

_get_name = ctypes.pythonapi.PyCapsule_GetName
_get_name.restype, _get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]

_PREFIX = {np.dtype(np.float32): "s", np.dtype(np.float64): "d"}


@cache
def _routine(module: Any, name: str) -> Callable[..., None]:
    capsule = module.__pyx_capi__[name]
    signature = _get_name(capsule)
    count = signature.count(b",") + 1
    address = _get_pointer(capsule, signature)
    function: Callable[..., None] = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * count)(address)
    return function


def _call(module: Any, name: str, dtype: np.dtype[Any], *arguments: Any) -> None:
    """Call ``name`` for ``dtype``: bytes are characters, ints integers, floats scalars, arrays pointers."""
    scalar = ctypes.c_float if dtype == np.float32 else ctypes.c_double
    kept: list[Any] = []
    pointers: list[int] = []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            pointers.append(argument.ctypes.data)
            continue
        value: Any
        if isinstance(argument, bytes):
            value = ctypes.c_char(argument)
        elif isinstance(argument, float):
            value = scalar(argument)
        elif isinstance(argument, int):
            value = ctypes.c_int(argument)
        else:
            value = argument
        kept.append(value)
        pointers.append(ctypes.addressof(value))
    _routine(module, _PREFIX[dtype] + name)(*pointers)


def _stride(array: Array) -> int:
    """Row stride in elements; the array must be writable-in-place row-major."""
    if array.ndim != 2 or array.strides[1] != array.itemsize or array.strides[0] % array.itemsize:
        if array.shape[1] == 1 and array.strides[0] % array.itemsize == 0:
            return max(1, array.strides[0] // array.itemsize)
        raise ValueError("tile kernels take two-dimensional arrays with contiguous rows")
    return max(1, array.strides[0] // array.itemsize)


def _trans(flag: bool) -> bytes:
    return b"T" if flag else b"N"


def gemm(acc: Array, a: Array, b: Array, alpha: float, trans_a: bool, trans_b: bool) -> None:
    """``acc += alpha op(a) op(b)``; 2 m n k flops (BLAS ?gemm)."""
    m, n = acc.shape
    k = a.shape[0] if trans_a else a.shape[1]
    _call(
        cython_blas, "gemm", acc.dtype, _trans(trans_b), _trans(trans_a), n, m, k, float(alpha),
        b, _stride(b), a, _stride(a), 1.0, acc, _stride(acc),
    )  # fmt: skip


def syrk(acc: Array, a: Array, alpha: float, trans: bool) -> None:
    """``acc += alpha a a'`` (or ``a' a`` with ``trans``), lower triangle only; n^2 k flops (BLAS ?syrk)."""
    n = acc.shape[0]
    k = a.shape[0] if trans else a.shape[1]
    _call(
        cython_blas, "syrk", acc.dtype, b"U", _trans(not trans), n, k, float(alpha),
        a, _stride(a), 1.0, acc, _stride(acc),
    )  # fmt: skip


def trsm(x: Array, lower: Array, *, side: str, trans: bool) -> None:
    """``x := op(lower)^-1 x`` (side "left") or ``x op(lower)^-1`` ("right"), in place (BLAS ?trsm)."""
    _triangular("trsm", x, lower, side, trans)


def trmm(x: Array, lower: Array, *, side: str, trans: bool) -> None:
    """``x := op(lower) x`` (side "left") or ``x op(lower)`` ("right"), in place (BLAS ?trmm)."""
    _triangular("trmm", x, lower, side, trans)


def _triangular(name: str, x: Array, lower: Array, side: str, trans: bool) -> None:
    m, n = x.shape
    _call(
        cython_blas, name, x.dtype, b"R" if side == "left" else b"L", b"U", _trans(trans), b"N",
        n, m, 1.0, lower, _stride(lower), x, _stride(x),
    )  # fmt: skip


def _lapack(name: str, a: Array, *flags: bytes) -> int:
    info = ctypes.c_int(0)
    _call(cython_lapack, name, a.dtype, *flags, a.shape[0], a, _stride(a), info)
    return info.value


def potrf(a: Array) -> int:
    """Cholesky of the lower triangle in place; returns 0, or the order of the bad minor (?potrf)."""
    return _lapack("potrf", a, b"U")


def trtri(a: Array) -> int:
    """Inverse of the lower triangle in place; returns 0, or the one-based zero diagonal (?trtri)."""
    return _lapack("trtri", a, b"U", b"N")


def lauum(a: Array) -> None:
    """``L' L`` of the lower triangle in place, lower triangle only (?lauum)."""
    _lapack("lauum", a, b"U")
