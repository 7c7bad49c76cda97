"""Tile kernels on PyTorch: an NVIDIA GPU, or (for tests) PyTorch's own CPU arithmetic.

A task's accumulator is loaded onto the device once, every kernel works on it there, and it is stored
once. Operands travel through :class:`Staging` on a stream of their own, so that the operands of the next
update are copied while the present one computes; the host runs at most two kernels ahead. A device
holds one accumulator, the operands of two kernels and up to three temporaries: about eight tiles.

Torch is imported inside the functions, so that importing this module costs nothing.
"""

import contextlib
import glob
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator

from l3ae_dist.errors import BudgetError, ConfigError, NotPositiveDefiniteError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.staging import Device, Event, Staging, Tensor, tensor_view

# Symmetric updates go by block columns so wide, which costs n^2 (k + block) flops instead of 2 n^2 k.
_BLOCK = 1024
# Kernels whose operands may be on the device at the same time.
_AHEAD = 2
# How allocators other than torch's own say that there is no memory left.
_NO_MEMORY = ("out of memory", "ALLOC_FAILED", "can't allocate memory")


def gpu_visible() -> bool:
    """Tell whether this process may see an NVIDIA GPU, without importing torch.

    An empty ``CUDA_VISIBLE_DEVICES`` (or -1) hides all of them; otherwise a device file counts.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return visible.strip() not in ("", "-1")
    return bool(glob.glob("/dev/nvidia[0-9]*")) or os.path.exists("/dev/dxg")  # the latter under WSL


def resolve_device(device: str) -> str:
    """Replace ``"auto"`` by what this process has: ``"cuda"`` or ``"cpu"``."""
    if device != "auto":
        return device
    if not gpu_visible():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class TorchKernels:
    """The kernels of :class:`l3ae_dist.linalg.kernels.Kernels` on tensors of one torch device.

    Handles are two-dimensional tensors. On ``"cpu"`` they share the memory of the NumPy tile; on a GPU
    they are copies. Operands are NumPy tiles, also read-only or with padded rows, of the accumulator's
    dtype. One object may be used from several threads: a lock covers staging and launching.

    For a GPU, TF32 is turned off in the whole process (see :func:`require_exact_float32`), the one global
    setting that is changed.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cuda"`` (the process's first visible GPU) or ``"cuda:N"``.

    Raises
    ------
    ConfigError
        When torch does not know the device, or sees no such GPU.
    """

    def __init__(self, device: str) -> None:
        import torch

        self.device = _checked_device(device)
        self._no_memory: tuple[type[BaseException], ...] = (torch.OutOfMemoryError, MemoryError)
        self._lock = threading.RLock()
        self._issued: deque[Event] = deque()
        self._staging: Staging | None = None
        if self.device.type == "cuda":
            require_exact_float32()
            with self._guard(0):
                self._staging = Staging(self.device)

    def load(self, acc: Array) -> Tensor:
        """Return a tensor with the values of ``acc``: a view of it on the CPU, one copy to a GPU.

        Raises
        ------
        BudgetError
            As every method here, when the device has no room left.
        """
        with self._guard(acc.nbytes):
            return tensor_view(acc) if self._staging is None else self._staging.upload(acc)

    def store(self, handle: Tensor, acc: Array) -> None:
        """Write ``handle`` into ``acc`` and wait until it is there; nothing to do on the CPU."""
        with self._guard(acc.nbytes):
            if self._staging is not None:
                self._staging.download(handle, acc)
                self._issued.clear()
            elif handle.data_ptr() != acc.ctypes.data:
                tensor_view(acc).copy_(handle)

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
        self._run(lambda c, x: _symmetric_update(c, x, -1), acc, a)

    def syrk_t(self, acc: Tensor, a: Array) -> None:
        """Add a symmetric product: ``acc += a' a``, lower triangle; n^2 (k + 1024) flops."""
        self._run(lambda c, x: _symmetric_update(c, x.mT, 1), acc, a)

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
        self._run(lambda c, low: c.copy_(_solve(low.mT, c, upper=True, left=False)), acc, lower)

    def trsm_ll(self, acc: Tensor, lower: Array) -> None:
        """Solve from the left with a triangle, negated: ``acc := -lower^-1 acc``; m^2 n flops."""
        self._run(lambda c, low: c.copy_(_solve(low, c, upper=False, left=True).neg_()), acc, lower)

    def trtri(self, acc: Tensor) -> None:
        """Invert the lower triangle, strict upper triangle zero; n^3 flops."""
        self._run(_invert_lower, acc)

    def lauum(self, acc: Tensor) -> None:
        """Multiply the lower triangle by itself: ``acc := acc' acc``, result lower; n^2 (n + 1024) flops."""
        self._run(_lower_product, acc)

    def trmm_rn(self, acc: Tensor, lower: Array) -> None:
        """Multiply from the right with a triangle: ``acc := acc lower``; 2 m n^2 flops."""
        self._run(lambda c, low: c.copy_(c @ low.tril()), acc, lower)

    def trmm_lt(self, acc: Tensor, lower: Array) -> None:
        """Multiply from the left with a transposed triangle: ``acc := lower' acc``; 2 m^2 n flops."""
        self._run(lambda c, low: c.copy_(low.tril().mT @ c), acc, lower)

    def symmetrize(self, acc: Tensor) -> None:
        """Copy the lower triangle onto the upper."""
        self._run(lambda c: c.copy_(c.tril() + c.tril(-1).mT), acc)

    def _run(self, kernel: Callable[..., object], acc: Tensor, *operands: Array) -> None:
        with self._guard(acc.numel() * acc.element_size()):
            if self._staging is None:
                kernel(acc, *map(tensor_view, operands))
                return
            if operands:
                while len(self._issued) >= _AHEAD:
                    self._issued.popleft().synchronize()
            kernel(acc, *map(self._staging.upload, operands))
            if operands:
                self._issued.append(self._staging.mark())

    @contextlib.contextmanager
    def _guard(self, tile_bytes: int) -> Iterator[None]:
        """Hold the lock, and turn every way of running out of memory into one error."""
        with self._lock:
            try:
                yield
            except (RuntimeError, MemoryError) as error:
                if not isinstance(error, self._no_memory) and not any(s in str(error) for s in _NO_MEMORY):
                    raise
                self._issued.clear()
                raise BudgetError(
                    f"the device {self.device} has no room for a tile of {tile_bytes:,} bytes beside those "
                    f"in use{self._free_text()}; choose a smaller compute.tile_size or compute.device=cpu."
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
        raise ConfigError(f"{device!r} is no device that torch knows; use cpu, cuda or cuda:N.") from error
    if made.type not in ("cpu", "cuda"):
        raise ConfigError(f"the kernels do not run on {device!r}; use cpu, cuda or cuda:N.")
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


def _symmetric_update(c: Tensor, x: Tensor, alpha: int) -> None:
    """Add ``alpha x x'`` to c, lower triangle only, by block columns."""
    n = c.shape[0]
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        rows = x[start:stop]
        c[start:stop, start:stop].add_((rows @ rows.mT).tril_(), alpha=alpha)
        if stop < n:
            c[stop:, start:stop].addmm_(x[stop:], rows.mT, alpha=alpha)


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


def _solve(triangle: Tensor, c: Tensor, *, upper: bool, left: bool) -> Tensor:
    import torch

    return torch.linalg.solve_triangular(triangle, c, upper=upper, left=left)


def _invert_lower(c: Tensor) -> None:
    import torch

    identity = torch.eye(c.shape[0], dtype=c.dtype, device=c.device)
    c.copy_(_solve(c, identity, upper=False, left=True).tril_())


def _lower_product(c: Tensor) -> None:
    lower = c.tril()
    c.triu_(1)
    _symmetric_update(c, lower.mT, 1)
