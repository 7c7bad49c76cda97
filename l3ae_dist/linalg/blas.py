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
from types import ModuleType
from typing import Any, Literal

import numpy as np
from scipy.linalg import cython_blas, cython_lapack

from l3ae_dist.linalg.arrays import Array

_get_name = ctypes.pythonapi.PyCapsule_GetName
_get_name.restype, _get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]

Side = Literal["left", "right"]
_PREFIX = {np.dtype(np.float32): "s", np.dtype(np.float64): "d"}

_Scalar = ctypes.c_char | ctypes.c_int | ctypes.c_float | ctypes.c_double
_Argument = Array | bytes | float | int | _Scalar


@cache
def _routine(module: ModuleType, name: str) -> Callable[..., None]:
    capsule = module.__pyx_capi__[name]
    signature = _get_name(capsule)
    count = signature.count(b",") + 1
    address = _get_pointer(capsule, signature)
    function: Callable[..., None] = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * count)(address)
    return function


def _call(module: ModuleType, name: str, dtype: np.dtype[Any], *arguments: _Argument) -> None:
    """Call ``name`` for ``dtype``: bytes are characters, ints integers, floats scalars, arrays pointers."""
    scalar = ctypes.c_float if dtype == np.float32 else ctypes.c_double
    kept: list[_Scalar] = []
    pointers: list[int] = []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            pointers.append(argument.ctypes.data)
            continue
        value: _Scalar
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
    """Add a product to an accumulator: ``acc += alpha op(a) op(b)`` (BLAS ?gemm).

    Parameters
    ----------
    acc
        (m, n) float32 or float64, overwritten; rows are contiguous.
    a, b
        op(a) is (m, k) and op(b) is (k, n), in the dtype of ``acc``.
    alpha
        Factor of the product.
    trans_a, trans_b
        Whether op transposes.

    Notes
    -----
    2 m n k flops.
    """
    m, n = acc.shape
    k = a.shape[0] if trans_a else a.shape[1]
    _call(
        cython_blas, "gemm", acc.dtype, _trans(trans_b), _trans(trans_a), n, m, k, float(alpha),
        b, _stride(b), a, _stride(a), 1.0, acc, _stride(acc),
    )  # fmt: skip


def syrk(acc: Array, a: Array, alpha: float, trans: bool) -> None:
    """Add a symmetric product to the lower triangle of an accumulator (BLAS ?syrk).

    ``acc += alpha a a'``, or ``alpha a' a`` with ``trans``; n^2 k flops.

    Parameters
    ----------
    acc
        (n, n) float32 or float64; its strict upper triangle is left alone.
    a
        (n, k), or (k, n) with ``trans``, in the dtype of ``acc``.
    alpha
        Factor of the product.
    trans
        Which of the two products.
    """
    n = acc.shape[0]
    k = a.shape[0] if trans else a.shape[1]
    _call(
        cython_blas, "syrk", acc.dtype, b"U", _trans(not trans), n, k, float(alpha),
        a, _stride(a), 1.0, acc, _stride(acc),
    )  # fmt: skip


def trsm(x: Array, lower: Array, *, side: Side, trans: bool) -> None:
    """Solve with a triangle in place: ``x := op(lower)^-1 x`` or ``x op(lower)^-1`` (BLAS ?trsm).

    Parameters
    ----------
    x
        (m, n) float32 or float64, overwritten.
    lower
        Lower triangle of order m (side "left") or n ("right"); what is above it is not read.
    side
        The side that the triangle stands on.
    trans
        Whether op transposes.

    Notes
    -----
    m^2 n or m n^2 flops.
    """
    _triangular("trsm", x, lower, side, trans)


def trmm(x: Array, lower: Array, *, side: Side, trans: bool) -> None:
    """Multiply with a triangle in place: ``x := op(lower) x`` or ``x op(lower)`` (BLAS ?trmm).

    Parameters
    ----------
    x
        (m, n) float32 or float64, overwritten.
    lower
        Lower triangle of order m (side "left") or n ("right"); what is above it is not read.
    side
        The side that the triangle stands on.
    trans
        Whether op transposes.

    Notes
    -----
    m^2 n or m n^2 flops.
    """
    _triangular("trmm", x, lower, side, trans)


def _triangular(name: str, x: Array, lower: Array, side: Side, trans: bool) -> None:
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
    """Factor the lower triangle in place (LAPACK ?potrf); return 0, or the order of the bad minor."""
    return _lapack("potrf", a, b"U")


def trtri(a: Array) -> int:
    """Invert the lower triangle in place (LAPACK ?trtri); return 0, or the one-based zero of its diagonal."""
    return _lapack("trtri", a, b"U", b"N")


def lauum(a: Array) -> None:
    """Compute ``L' L`` of the lower triangle in place, lower triangle only (LAPACK ?lauum)."""
    _lapack("lauum", a, b"U")
