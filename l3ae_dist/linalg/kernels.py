"""Tile kernels behind one small interface, with LAPACK's names.

A kernel works in place on its first argument, a handle made by ``load`` from a row-major tile, and
returns nothing; ``store`` brings the result back. On the CPU the handle is the tile itself, on a GPU a
copy that stays there from kernel to kernel. Tile tasks name kernels by :class:`Kernel`.

A back end may compute more precisely than tiles are stored: handles and operands are then widened when they
are loaded, and the result is rounded once, when it is stored.
"""

from enum import StrEnum
from typing import Any, Protocol, assert_never

import numpy as np

from l3ae_dist.errors import ConfigError, NotPositiveDefiniteError
from l3ae_dist.linalg import blas
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.triangles import (
    mirror_lower,
    recursive_lauum,
    recursive_potrf,
    recursive_trtri,
    zero_upper,
)
from l3ae_dist.messages import shown

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


class Kernels(Protocol):
    """The kernels of a back end.

    Handles are modified in place. Operands are only read: row-major tiles, what :meth:`operand` made of
    them, or handles.
    """

    def load(self, acc: Array) -> Handle:
        """Return the handle of a tile that the caller owns; it is the back end's until :meth:`store`."""

    def store(self, handle: Handle, acc: Array) -> Handle:
        """Make ``acc``, the tile that was loaded, hold the values of ``handle``; return it as an operand."""

    def operand(self, tile: Array) -> Handle:
        """Return what several kernels may take for a tile that they read, while ``tile`` does not change."""

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
    """SciPy's BLAS and LAPACK, called in place with the interpreter lock released.

    Parameters
    ----------
    arithmetic
        Least precise dtype that is computed in. Handles are the tiles, or copies of less precise ones; so are
        the operands of one kernel at a time.
    """

    def __init__(self, arithmetic: str = "float32") -> None:
        self._least = np.dtype(arithmetic)

    def load(self, acc: Array) -> Array:
        """Return ``acc`` itself, or a copy in the dtype of the arithmetic."""
        return self._wide(acc)

    def store(self, handle: Array, acc: Array) -> Array:
        """Round ``handle`` into ``acc``, unless it is ``acc``; return ``acc``."""
        if handle is not acc:
            acc[...] = handle
        return acc

    def _wide(self, tile: Array) -> Array:
        dtype = np.promote_types(tile.dtype, self._least)
        return tile if tile.dtype == dtype else tile.astype(dtype, order="C")

    def operand(self, tile: Array) -> Array:
        """Return ``tile`` itself."""
        return tile

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
        blas.gemm(acc, self._wide(a), self._wide(b), -1.0, False, True)

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
        blas.gemm(acc, self._wide(a), self._wide(b), 1.0, False, False)

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
        blas.gemm(acc, self._wide(a), self._wide(b), 1.0, True, False)

    def syrk_n(self, acc: Array, a: Array) -> None:
        """See :meth:`Kernels.syrk_n`; n^2 k flops."""
        blas.syrk(acc, self._wide(a), -1.0, False)

    def syrk_t(self, acc: Array, a: Array) -> None:
        """See :meth:`Kernels.syrk_t`; n^2 k flops."""
        blas.syrk(acc, self._wide(a), 1.0, True)

    def potrf(self, acc: Array) -> None:
        """Factor recursively (Cholesky); n^3 / 3 flops, nearly all of them in ``trsm`` and ``syrk``.

        Raises
        ------
        NotPositiveDefiniteError
            With ``item`` set to the row of ``acc`` whose pivot is not positive.
        """
        bad = recursive_potrf(acc)
        finite = np.isfinite(np.diagonal(acc))
        if not bad and not finite.all():  # OpenBLAS takes a pivot that is not a number for a good one
            bad = int(finite.argmin()) + 1
        if bad:
            raise NotPositiveDefiniteError("a pivot is not positive", item=bad - 1)
        zero_upper(acc)

    def trsm_rt(self, acc: Array, lower: Array) -> None:
        """See :meth:`Kernels.trsm_rt`; m n^2 flops."""
        blas.trsm(acc, self._wide(lower), side="right", trans=True)

    def trsm_ll(self, acc: Array, lower: Array) -> None:
        """See :meth:`Kernels.trsm_ll`; m^2 n flops."""
        blas.trsm(acc, self._wide(lower), side="left", trans=False)
        np.negative(acc, out=acc)

    def trtri(self, acc: Array) -> None:
        """See :meth:`Kernels.trtri`; n^3 / 3 flops."""
        recursive_trtri(acc)
        zero_upper(acc)

    def lauum(self, acc: Array) -> None:
        """See :meth:`Kernels.lauum`; n^3 / 3 flops."""
        recursive_lauum(acc)

    def trmm_rn(self, acc: Array, lower: Array) -> None:
        """See :meth:`Kernels.trmm_rn`; m n^2 flops."""
        blas.trmm(acc, self._wide(lower), side="right", trans=False)

    def trmm_lt(self, acc: Array, lower: Array) -> None:
        """See :meth:`Kernels.trmm_lt`; m^2 n flops."""
        blas.trmm(acc, self._wide(lower), side="left", trans=True)

    def symmetrize(self, acc: Array) -> None:
        """See :meth:`Kernels.symmetrize`."""
        mirror_lower(acc)


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


def get_kernels(device: str = "cpu", arithmetic: str = "float32") -> Kernels:
    """Return the back end for a device, in the process that computes.

    Parameters
    ----------
    device
        ``"cpu"`` (SciPy), ``"cuda"`` or ``"cuda:N"`` (torch on a GPU), ``"auto"`` (a GPU where this process
        sees one, else SciPy), ``"torch"`` or ``"torch:cpu"`` (torch on the CPU, for tests).
    arithmetic
        Least precise dtype that is computed in; tiles of a more precise one are computed in theirs.

    Raises
    ------
    ConfigError
        For another name, or a GPU that is not there.
    """
    if device == "auto":
        from l3ae_dist.linalg.torch_kernels import resolve_device

        device = resolve_device(device)
    if device == "cpu":
        return CpuKernels(arithmetic)
    if device in ("torch", "torch:cpu", "cuda") or device.startswith("cuda:"):
        from l3ae_dist.linalg.torch_kernels import TorchKernels

        return TorchKernels("cpu" if device.startswith("torch") else device, arithmetic)
    raise ConfigError(f"unknown kernel device {shown(device)}; use auto, cpu, cuda or cuda:N.")
