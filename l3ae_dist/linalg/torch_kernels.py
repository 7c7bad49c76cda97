"""Tile kernels on PyTorch: an NVIDIA GPU, or (for tests) PyTorch's own CPU arithmetic.

A task's accumulator is loaded onto the device once, every kernel works on it there, and it is stored
once. Operands travel through :class:`Staging` on a stream of their own, so that the operands of the next
update are copied while the present one computes; the host runs at most two kernels ahead. A device
holds the accumulators of one block, the operands of a row and a column of it and up to three temporaries:
about 76 tiles where a block has 8 x 8, and eight where it has one. Where the arithmetic is more precise than
the tiles, they travel as they are stored and are widened on the device, which then holds so many of the wider
dtype.

Torch is imported inside the functions, so that importing this module costs nothing.
"""

import contextlib
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from importlib.util import find_spec

from l3ae_dist.errors import BudgetError, ConfigError, NotPositiveDefiniteError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.staging import Device, Dtype, Event, Staging, Tensor, tensor_view
from l3ae_dist.linalg.triangle_tensors import (
    invert_lower,
    multiply_left_transposed,
    multiply_right,
    solve_left_negated,
    solve_right,
    symmetric_update,
)
from l3ae_dist.linalg.visible_gpus import gpu_visible
from l3ae_dist.messages import shown

# Kernels whose operands may be on the device at the same time.
_AHEAD = 2
# How allocators other than torch's own say that there is no memory left.
_NO_MEMORY = ("out of memory", "ALLOC_FAILED", "can't allocate memory")


def resolve_device(device: str) -> str:
    """Replace ``"auto"`` by what this process has: ``"cuda"`` or ``"cpu"``."""
    if device != "auto":
        return device
    if not gpu_visible() or find_spec("torch") is None:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class TorchKernels:
    """The kernels of :class:`l3ae_dist.linalg.kernels.Kernels` on tensors of one torch device.

    Handles are two-dimensional tensors. On ``"cpu"`` they share the memory of the NumPy tile, unless it is
    widened; on a GPU they are copies. Operands are NumPy tiles, also read-only or with padded rows, of the
    accumulator's dtype. One object may be used from several threads: a lock covers the launching of kernels.

    For a GPU, TF32 is turned off in the whole process (see :func:`require_exact_float32`), the one global
    setting that is changed.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cuda"`` (the process's first visible GPU) or ``"cuda:N"``.
    arithmetic
        Least precise dtype that is computed in.

    Raises
    ------
    ConfigError
        When torch does not know the device, or sees no such GPU.
    """

    def __init__(self, device: str, arithmetic: str = "float32") -> None:
        import torch

        self.device = _checked_device(device)
        self._least = getattr(torch, arithmetic)
        self._no_memory: tuple[type[BaseException], ...] = (torch.OutOfMemoryError, MemoryError)
        self._lock = threading.RLock()
        self._issued: deque[Event] = deque()
        self._staging: Staging | None = None
        if self.device.type == "cuda":
            require_exact_float32()
            with self._guard(0):
                self._staging = Staging(self.device)

    def load(self, acc: "Array | Tensor") -> Tensor:
        """Return a tensor with the values of ``acc``: a copy on a GPU or when widened, else a view of it.

        Raises
        ------
        BudgetError
            As every method here, when the device has no room left.
        """
        with self._guard(acc.nbytes):
            return self._on_device(acc)

    def store(self, handle: Tensor, acc: Array) -> Tensor:
        """Write ``handle`` into ``acc``, rounded to its dtype, and wait until it is there.

        Returns
        -------
        The stored values on the device, in the dtype of the arithmetic.
        """
        with self._guard(acc.nbytes):
            rounded = handle.to(tensor_view(acc).dtype)
            self.download(rounded, acc, self.mark())
            return rounded.to(handle.dtype)

    def operand(self, tile: "Array | Tensor") -> Tensor:
        """Return a tensor with the values of ``tile``: a copy on a GPU or when widened, else a view of it."""
        with self._guard(tile.nbytes):
            return self._on_device(tile)

    def upload(self, tile: Array, dtype: str) -> Tensor:
        """Return a copy of a tile on the device, for as long as it is referred to.

        Parameters
        ----------
        tile
            May be overwritten as soon as this returns.
        dtype
            Of the copy.
        """
        with self._guard(tile.nbytes):
            copied = tensor_view(tile).clone() if self._staging is None else self._staging.upload(tile)
            return copied.to(self._dtype(dtype))

    def copied(self, tensor: Tensor) -> Tensor:
        """Return a copy of a tensor of the device."""
        with self._guard(tensor.nbytes):
            return tensor.clone()

    def rounded(self, handle: Tensor, dtype: str) -> Tensor:
        """Return the values of a handle as they are stored; the handle itself when it has their dtype."""
        with self._guard(handle.nbytes):
            return handle.to(self._dtype(dtype))

    def mark(self) -> Event:
        """Return what :meth:`download` waits for: everything that has been launched; None on a CPU."""
        return None if self._staging is None else self._staging.mark()

    def wait(self, after: Event) -> None:
        """Wait until what a :meth:`mark` follows is done."""
        if after is not None:
            after.synchronize()

    def download(self, tensor: Tensor, tile: Array, after: Event) -> None:
        """Copy a tensor of the device into a tile of its dtype, and wait until it is there.

        Parameters
        ----------
        tensor
            On the device.
        tile
            Overwritten.
        after
            The :meth:`mark` after the kernel that made the tensor.
        """
        with self._guard(tile.nbytes):
            if self._staging is not None:
                self._staging.download(tensor, tile, after)
            elif tensor.data_ptr() != tile.ctypes.data:
                tensor_view(tile).copy_(tensor)

    def itemsize(self, dtype: str) -> int:
        """Return the bytes of an entry of a handle of tiles of a dtype."""
        import torch

        return int(torch.promote_types(self._dtype(dtype), self._least).itemsize)

    def give_back(self) -> None:
        """Give memory that no tensor lies in back to the device, for other processes."""
        if self._staging is not None:
            import torch

            torch.cuda.empty_cache()

    def memory_bytes(self) -> tuple[int, int]:
        """Return the bytes of the device that this process has or that are free, and all that it has."""
        if self._staging is None:
            return 0, 0
        import torch

        free, total = torch.cuda.mem_get_info(self.device)
        return int(free + torch.cuda.memory_reserved(self.device)), int(total)

    def add_ridge(self, acc: Tensor, ridge: float) -> None:
        """Add ``ridge`` to the diagonal."""
        self._run(lambda c: c.diagonal().add_(ridge), acc)

    def gemm_nt(self, acc: Tensor, a: Array, b: Array) -> None:
        """Subtract a product: ``acc -= a b'``; 2 m n k flops.

        Parameters
        ----------
        acc
            Handle of an (m, n) tile, overwritten.
        a
            (m, k) tile.
        b
            (n, k) tile.
        """
        self._run(lambda c, x, y: c.addmm_(x, y.mT, alpha=-1), acc, a, b)

    def gemm_nn(self, acc: Tensor, a: Array, b: Array) -> None:
        """Add a product: ``acc += a b``; 2 m n k flops.

        Parameters
        ----------
        acc
            Handle of an (m, n) tile, overwritten.
        a
            (m, k) tile.
        b
            (k, n) tile.
        """
        self._run(lambda c, x, y: c.addmm_(x, y), acc, a, b)

    def gemm_tn(self, acc: Tensor, a: Array, b: Array) -> None:
        """Add a product: ``acc += a' b``; 2 m n k flops.

        Parameters
        ----------
        acc
            Handle of an (m, n) tile, overwritten.
        a
            (k, m) tile.
        b
            (k, n) tile.
        """
        self._run(lambda c, x, y: c.addmm_(x.mT, y), acc, a, b)

    def syrk_n(self, acc: Tensor, a: Array) -> None:
        """Subtract a symmetric product: ``acc -= a a'``, lower triangle; n^2 (k + 1024) flops."""
        self._run(lambda c, x: symmetric_update(c, x, -1), acc, a)

    def syrk_t(self, acc: Tensor, a: Array) -> None:
        """Add a symmetric product: ``acc += a' a``, lower triangle; n^2 (k + 1024) flops."""
        self._run(lambda c, x: symmetric_update(c, x.mT, 1), acc, a)

    def potrf(self, acc: Tensor) -> None:
        """Replace ``acc`` by its Cholesky factor, upper triangle zero; n^3 / 3 flops, waits for the result.

        Raises
        ------
        NotPositiveDefiniteError
            With ``item`` set to the row of ``acc`` whose pivot is not positive.
        """
        self._run(_cholesky, acc)

    def trsm_rt(self, acc: Tensor, lower: Array) -> None:
        """Solve from the right with a transposed triangle: ``acc := acc lower^-T``; m n^2 flops."""
        self._run(solve_right, acc, lower)

    def trsm_ll(self, acc: Tensor, lower: Array) -> None:
        """Solve from the left with a triangle, negated: ``acc := -lower^-1 acc``; m^2 n flops."""
        self._run(solve_left_negated, acc, lower)

    def trtri(self, acc: Tensor) -> None:
        """Invert the lower triangle, strict upper triangle zero; n^3 flops."""
        self._run(invert_lower, acc)

    def lauum(self, acc: Tensor) -> None:
        """Multiply the lower triangle by itself: ``acc := acc' acc``, result lower; n^2 (n + 1024) flops."""
        self._run(_lower_product, acc)

    def trmm_rn(self, acc: Tensor, lower: Array) -> None:
        """Multiply from the right with a triangle: ``acc := acc lower``; 2 m n^2 flops."""
        self._run(multiply_right, acc, lower)

    def trmm_lt(self, acc: Tensor, lower: Array) -> None:
        """Multiply from the left with a transposed triangle: ``acc := lower' acc``; 2 m^2 n flops."""
        self._run(multiply_left_transposed, acc, lower)

    def symmetrize(self, acc: Tensor) -> None:
        """Copy the lower triangle onto the upper."""
        self._run(lambda c: c.copy_(c.tril() + c.tril(-1).mT), acc)

    def _run(self, kernel: Callable[..., object], acc: Tensor, *operands: "Array | Tensor") -> None:
        with self._guard(acc.numel() * acc.element_size()), self._lock:
            if self._staging is not None and operands:
                while len(self._issued) >= _AHEAD:
                    self._issued.popleft().synchronize()
            kernel(acc, *map(self._on_device, operands))
            if self._staging is not None and operands:
                self._issued.append(self._staging.mark())

    def _on_device(self, operand: "Array | Tensor") -> Tensor:
        """Return an operand on the device and in the dtype of the arithmetic, as it is when it is there."""
        import torch

        if isinstance(operand, torch.Tensor):
            tensor = operand
        else:
            tensor = tensor_view(operand) if self._staging is None else self._staging.upload(operand)
        return tensor.to(torch.promote_types(tensor.dtype, self._least))

    def _dtype(self, name: str) -> Dtype:
        import torch

        return getattr(torch, name)

    @contextlib.contextmanager
    def _guard(self, tile_bytes: int) -> Iterator[None]:
        """Turn every way of running out of memory into one error."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not isinstance(error, self._no_memory) and not any(s in str(error) for s in _NO_MEMORY):
                raise
            raise BudgetError(
                f"the device {self.device} has no room for a tile of {tile_bytes:,} bytes beside those "
                f"in use{self._free_text()}; lower compute.block or compute.tile_size, or set "
                "compute.device_memory where several processes share it, or compute.device=cpu."
            ) from error

    def _free_text(self) -> str:
        if self.device.type != "cuda":
            return ""
        import torch

        try:
            free, total = torch.cuda.mem_get_info(self.device)
        except RuntimeError:
            return ""
        return f" ({free:,} of its {total:,} bytes are free)"


def require_exact_float32() -> None:
    """Turn TF32 off for float32 products on GPUs, in this whole process: it keeps 10 bits of 23.

    The older setting is used on purpose. In torch 2.9 and later it also sets the newer one
    (``torch.backends.cuda.matmul.fp32_precision = "ieee"``); setting the newer alone makes every product
    fail in a process that has called ``torch.set_float32_matmul_precision`` before.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions say that it is the older setting
        try:
            torch.backends.cuda.matmul.allow_tf32 = False
        except AttributeError:  # a version without the older setting
            torch.backends.cuda.matmul.fp32_precision = "ieee"


def _checked_device(device: str) -> Device:
    import torch

    try:
        made = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(
            f"{shown(device)} is no device that torch knows; use cpu, cuda or cuda:N."
        ) from error
    if made.type not in ("cpu", "cuda"):
        raise ConfigError(f"the kernels do not run on {shown(device)}; use cpu, cuda or cuda:N.")
    if made.type == "cpu":
        return made
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = made.index or 0
    if index >= count:
        raise ConfigError(
            f"the device is {device} but torch {torch.__version__} sees {count} GPUs in process "
            f"{os.getpid()}; install a CUDA build of torch where the workers run or set compute.device=cpu."
        )
    return torch.device("cuda", index)


def _cholesky(c: Tensor) -> None:
    import torch

    factor, info = torch.linalg.cholesky_ex(c)
    # a pivot that is not a number is reported by LAPACK, but not by every GPU library
    pivots = factor.diagonal()
    bad = ~(torch.isfinite(pivots) & (pivots > 0))
    order, row, found = torch.stack([info.to(torch.int64), bad.int().argmax(), bad.any().long()]).tolist()
    if order or found:
        raise NotPositiveDefiniteError("a pivot is not positive", item=order - 1 if order else row)
    c.copy_(factor)


def _lower_product(c: Tensor) -> None:
    lower = c.tril()
    c.triu_(1)
    symmetric_update(c, lower.mT, 1)
