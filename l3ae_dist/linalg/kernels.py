"""Tile kernels behind one small interface, with LAPACK's names.

A kernel works in place on its first argument, a handle made by ``load`` from a row-major tile, and
returns nothing; ``store`` brings the result back. On the CPU the handle is the tile itself, on a GPU a
copy that stays there from kernel to kernel. Tile tasks name kernels by :class:`Kernel`.
"""

from enum import StrEnum
from typing import Any, Protocol, assert_never

import numpy as np

from l3ae_dist.errors import ConfigError, NotPositiveDefiniteError
from l3ae_dist.linalg import blas
from l3ae_dist.linalg.arrays import Array

# What a back end computes with: a NumPy array on the CPU, a tensor elsewhere.
Handle = Any


class Kernel(StrEnum):
    """Names of the tile kernels: LAPACK's, with the transposed operand or the side of the triangle after it.

    Each is the method of the same name of :class:`Kernels`.
    """

    ADD_RIDGE = "add_ridge"
    GEMM_NT = "gemm_nt"
    GEMM_NN = "gemm_nn"
    GEMM_TN = "gemm_tn"
    SYRK_N = "syrk_n"
    SYRK_T = "syrk_t"
    POTRF = "potrf"
    TRSM_RT = "trsm_rt"
    TRSM_LL = "trsm_ll"
    TRTRI = "trtri"
    LAUUM = "lauum"
    TRMM_RN = "trmm_rn"
    TRMM_LT = "trmm_lt"
    SYMMETRIZE = "symmetrize"


# Below this order LAPACK's own blocking is as good as ours.
_LEAF = 512


class Kernels(Protocol):
    """The kernels of a back end; handles are modified in place, operands are row-major tiles only read."""

    def load(self, acc: Array) -> Handle:
        """Return the handle of a tile that the caller owns; it is the back end's until :meth:`store`."""

    def store(self, handle: Handle, acc: Array) -> None:
        """Make ``acc``, the tile that was loaded, hold the values of ``handle``."""

    def add_ridge(self, acc: Handle, ridge: float) -> None:
        """Add the ridge to the diagonal: ``acc += ridge I``."""

    def gemm_nt(self, acc: Handle, a: Array, b: Array) -> None:
        """Subtract a product: ``acc -= a b'``; 2 m n k flops (?gemm).

        Parameters
        ----------
        acc
            Handle of an (m, n) tile, overwritten.
        a
            (m, k) tile.
        b
            (n, k) tile.
        """

    def gemm_nn(self, acc: Handle, a: Array, b: Array) -> None:
        """Add a product: ``acc += a b``; 2 m n k flops (?gemm).

        Parameters
        ----------
        acc
            Handle of an (m, n) tile, overwritten.
        a
            (m, k) tile.
        b
            (k, n) tile.
        """

    def gemm_tn(self, acc: Handle, a: Array, b: Array) -> None:
        """Add a product: ``acc += a' b``; 2 m n k flops (?gemm).

        Parameters
        ----------
        acc
            Handle of an (m, n) tile, overwritten.
        a
            (k, m) tile.
        b
            (k, n) tile.
        """

    def syrk_n(self, acc: Handle, a: Array) -> None:
        """Subtract a symmetric product: ``acc -= a a'``, lower triangle (?syrk)."""

    def syrk_t(self, acc: Handle, a: Array) -> None:
        """Add a symmetric product: ``acc += a' a``, lower triangle (?syrk)."""

    def potrf(self, acc: Handle) -> None:
        """Replace ``acc`` by its Cholesky factor, strict upper triangle zero (?potrf)."""

    def trsm_rt(self, acc: Handle, lower: Array) -> None:
        """Solve from the right with a transposed triangle: ``acc := acc lower^-T`` (?trsm)."""

    def trsm_ll(self, acc: Handle, lower: Array) -> None:
        """Solve from the left with a triangle, negated: ``acc := -lower^-1 acc`` (?trsm)."""

    def trtri(self, acc: Handle) -> None:
        """Invert the lower triangle (?trtri)."""

    def lauum(self, acc: Handle) -> None:
        """Multiply the lower triangle by itself: ``acc := acc' acc``, result lower (?lauum)."""

    def trmm_rn(self, acc: Handle, lower: Array) -> None:
        """Multiply from the right with a triangle: ``acc := acc lower`` (?trmm)."""

    def trmm_lt(self, acc: Handle, lower: Array) -> None:
        """Multiply from the left with a transposed triangle: ``acc := lower' acc`` (?trmm)."""

    def symmetrize(self, acc: Handle) -> None:
        """Copy the lower triangle onto the upper."""


class CpuKernels:
    """SciPy's BLAS and LAPACK, called in place with the interpreter lock released; handles are the tiles."""

    def load(self, acc: Array) -> Array:
        """Return ``acc`` itself."""
        return acc

    def store(self, handle: Array, acc: Array) -> None:
        """Do nothing: ``handle`` is ``acc``."""

    def add_ridge(self, acc: Array, ridge: float) -> None:
        """See :meth:`Kernels.add_ridge`."""
        index = np.arange(acc.shape[0])
        acc[index, index] += ridge

    def gemm_nt(self, acc: Array, a: Array, b: Array) -> None:
        """Subtract a product: ``acc -= a b'``; 2 m n k flops (?gemm).

        Parameters
        ----------
        acc
            Handle of an (m, n) tile, overwritten.
        a
            (m, k) tile.
        b
            (n, k) tile.
        """
        blas.gemm(acc, a, b, -1.0, False, True)

    def gemm_nn(self, acc: Array, a: Array, b: Array) -> None:
        """Add a product: ``acc += a b``; 2 m n k flops (?gemm).

        Parameters
        ----------
        acc
            Handle of an (m, n) tile, overwritten.
        a
            (m, k) tile.
        b
            (k, n) tile.
        """
        blas.gemm(acc, a, b, 1.0, False, False)

    def gemm_tn(self, acc: Array, a: Array, b: Array) -> None:
        """Add a product: ``acc += a' b``; 2 m n k flops (?gemm).

        Parameters
        ----------
        acc
            Handle of an (m, n) tile, overwritten.
        a
            (k, m) tile.
        b
            (k, n) tile.
        """
        blas.gemm(acc, a, b, 1.0, True, False)

    def syrk_n(self, acc: Array, a: Array) -> None:
        """See :meth:`Kernels.syrk_n`; n^2 k flops."""
        blas.syrk(acc, a, -1.0, False)

    def syrk_t(self, acc: Array, a: Array) -> None:
        """See :meth:`Kernels.syrk_t`; n^2 k flops."""
        blas.syrk(acc, a, 1.0, True)

    def potrf(self, acc: Array) -> None:
        """Factor recursively (Cholesky); n^3 / 3 flops, nearly all of them in ``trsm`` and ``syrk``.

        Raises
        ------
        NotPositiveDefiniteError
            With ``item`` set to the row of ``acc`` whose pivot is not positive.
        """
        bad = _recursive_potrf(acc)
        finite = np.isfinite(np.diagonal(acc))
        if not bad and not finite.all():  # OpenBLAS takes a pivot that is not a number for a good one
            bad = int(finite.argmin()) + 1
        if bad:
            raise NotPositiveDefiniteError("a pivot is not positive", item=bad - 1)
        _zero_upper(acc)

    def trsm_rt(self, acc: Array, lower: Array) -> None:
        """See :meth:`Kernels.trsm_rt`; m n^2 flops."""
        blas.trsm(acc, lower, side="right", trans=True)

    def trsm_ll(self, acc: Array, lower: Array) -> None:
        """See :meth:`Kernels.trsm_ll`; m^2 n flops."""
        blas.trsm(acc, lower, side="left", trans=False)
        np.negative(acc, out=acc)

    def trtri(self, acc: Array) -> None:
        """See :meth:`Kernels.trtri`; n^3 / 3 flops."""
        _recursive_trtri(acc)
        _zero_upper(acc)

    def lauum(self, acc: Array) -> None:
        """See :meth:`Kernels.lauum`; n^3 / 3 flops."""
        _recursive_lauum(acc)

    def trmm_rn(self, acc: Array, lower: Array) -> None:
        """See :meth:`Kernels.trmm_rn`; m n^2 flops."""
        blas.trmm(acc, lower, side="right", trans=False)

    def trmm_lt(self, acc: Array, lower: Array) -> None:
        """See :meth:`Kernels.trmm_lt`; m^2 n flops."""
        blas.trmm(acc, lower, side="left", trans=True)

    def symmetrize(self, acc: Array) -> None:
        """See :meth:`Kernels.symmetrize`."""
        _mirror_lower(acc)


def _half(n: int) -> int:
    return (n // 2 + 127) // 128 * 128


def _recursive_potrf(a: Array) -> int:
    """Factor by halves (Cholesky): factor A11, solve A21, update A22, factor A22; returns LAPACK's info."""
    n = a.shape[0]
    if n <= _LEAF:
        return blas.potrf(a)
    h = _half(n)
    info = _recursive_potrf(a[:h, :h])
    if info:
        return info
    blas.trsm(a[h:, :h], a[:h, :h], side="right", trans=True)
    blas.syrk(a[h:, h:], a[h:, :h], -1.0, False)
    info = _recursive_potrf(a[h:, h:])
    return info + h if info else 0


def _recursive_trtri(a: Array) -> None:
    """Invert by halves: W21 = -A22^-1 A21 A11^-1."""
    n = a.shape[0]
    if n <= _LEAF:
        blas.trtri(a)
        return
    h = _half(n)
    blas.trsm(a[h:, :h], a[h:, h:], side="left", trans=False)
    np.negative(a[h:, :h], out=a[h:, :h])
    blas.trsm(a[h:, :h], a[:h, :h], side="right", trans=False)
    _recursive_trtri(a[:h, :h])
    _recursive_trtri(a[h:, h:])


def _recursive_lauum(a: Array) -> None:
    """Compute ``A' A`` by halves: P11 = A11'A11 + A21'A21, P21 = A22'A21, P22 = A22'A22."""
    n = a.shape[0]
    if n <= _LEAF:
        blas.lauum(a)
        return
    h = _half(n)
    _recursive_lauum(a[:h, :h])
    blas.syrk(a[:h, :h], a[h:, :h], 1.0, True)
    blas.trmm(a[h:, :h], a[h:, h:], side="left", trans=True)
    _recursive_lauum(a[h:, h:])


def _zero_upper(a: Array) -> None:
    step = 256
    for start in range(0, a.shape[0], step):
        stop = min(start + step, a.shape[0])
        a[start:stop, stop:] = 0
        a[start:stop, start:stop] = np.tril(a[start:stop, start:stop])


def _mirror_lower(a: Array) -> None:
    step = 256
    for start in range(0, a.shape[0], step):
        stop = min(start + step, a.shape[0])
        block = np.tril(a[start:stop, start:stop])
        a[start:stop, start:stop] = block + np.tril(block, -1).T
        a[start:stop, stop:] = a[stop:, start:stop].T


def apply_kernel(kernels: Kernels, kernel: Kernel, acc: Handle, *operands: Array, ridge: float = 0.0) -> None:
    """Call the method of a back end that a kernel's name stands for.

    Parameters
    ----------
    kernels
        The back end.
    kernel
        Which kernel.
    acc
        Handle of the tile that is overwritten.
    operands
        Row-major tiles, as many as the kernel takes.
    ridge
        Added to the diagonal by :attr:`Kernel.ADD_RIDGE`, which takes no tile.
    """
    match kernel:
        case Kernel.ADD_RIDGE:
            kernels.add_ridge(acc, ridge)
        case Kernel.GEMM_NT:
            kernels.gemm_nt(acc, *operands)
        case Kernel.GEMM_NN:
            kernels.gemm_nn(acc, *operands)
        case Kernel.GEMM_TN:
            kernels.gemm_tn(acc, *operands)
        case Kernel.SYRK_N:
            kernels.syrk_n(acc, *operands)
        case Kernel.SYRK_T:
            kernels.syrk_t(acc, *operands)
        case Kernel.POTRF:
            kernels.potrf(acc)
        case Kernel.TRSM_RT:
            kernels.trsm_rt(acc, *operands)
        case Kernel.TRSM_LL:
            kernels.trsm_ll(acc, *operands)
        case Kernel.TRTRI:
            kernels.trtri(acc)
        case Kernel.LAUUM:
            kernels.lauum(acc)
        case Kernel.TRMM_RN:
            kernels.trmm_rn(acc, *operands)
        case Kernel.TRMM_LT:
            kernels.trmm_lt(acc, *operands)
        case Kernel.SYMMETRIZE:
            kernels.symmetrize(acc)
        case _:
            assert_never(kernel)


def get_kernels(device: str = "cpu") -> Kernels:
    """Return the back end for a device, in the process that computes.

    Parameters
    ----------
    device
        ``"cpu"`` (SciPy), ``"cuda"`` or ``"cuda:N"`` (torch on a GPU), ``"auto"`` (a GPU where this process
        sees one, else SciPy), ``"torch"`` or ``"torch:cpu"`` (torch on the CPU, for tests).

    Raises
    ------
    ConfigError
        For another name, or a GPU that is not there.
    """
    if device == "auto":
        from l3ae_dist.linalg.torch_kernels import resolve_device

        device = resolve_device(device)
    if device == "cpu":
        return CpuKernels()
    if device in ("torch", "torch:cpu", "cuda") or device.startswith("cuda:"):
        from l3ae_dist.linalg.torch_kernels import TorchKernels

        return TorchKernels("cpu" if device.startswith("torch") else device)
    raise ConfigError(f"unknown kernel device {device!r}; use auto, cpu, cuda or cuda:N.")
