"""Choice of the dtype that tiles are computed in, apart from the one that they are stored in.

GPUs of data centres multiply in float64 as fast as in float32, so that tiles may be stored in float32 and
computed in float64 for nothing; no CPU offers that, and GPUs for games are 30 to 60 times slower in it.
"""

import time
from collections.abc import Iterable
from functools import lru_cache

from l3ae_dist.linalg.staging import Device
from l3ae_dist.linalg.torch_kernels import require_exact_float32, resolve_device

MEASURED_ORDER = 2048
"""Rows of the matrices that a device is measured with."""
_SECONDS = 0.05
# Least rate of float64 over that of float32 at which auto takes it.
_WORTH_IT = 0.5


def choose_arithmetic(dtype: str, shares: Iterable[float]) -> str:
    """Choose what tiles are computed in where the setting is ``auto``.

    Parameters
    ----------
    dtype
        Of the stored tiles.
    shares
        Rate of float64 over that of float32 on the device of every worker; 0 for a CPU.

    Returns
    -------
    ``float64`` where every worker is at least half as quick in it, else ``dtype``.

    >>> choose_arithmetic("float32", [1.1, 0.5]), choose_arithmetic("float32", [1.1, 0.0])
    ('float64', 'float32')
    """
    return "float64" if min(shares, default=0.0) >= _WORTH_IT else dtype


def precision_text(dtype: str, arithmetic: str | None) -> str:
    """Say what tiles are stored and computed in.

    >>> precision_text("float32", "float64"), precision_text("float32", "float32")
    ('float32 computed in float64', 'float32')
    """
    return dtype if arithmetic in (None, "", dtype) else f"{dtype} computed in {arithmetic}"


@lru_cache(maxsize=4)
def float64_share(device: str) -> tuple[str, float]:
    """Measure the rate of ``dgemm`` over that of ``sgemm`` on a GPU, once in a process; a tenth of a second.

    Parameters
    ----------
    device
        As :func:`l3ae_dist.linalg.kernels.get_kernels` takes it. A CPU counts as 0 without a measurement:
        its vectors hold half as many numbers of float64. ``torch:cpu`` is measured, for tests.

    Returns
    -------
    Name of the device, and the share. A GPU that cannot be measured counts as 0: its first kernel says why.
    """
    try:
        device = resolve_device(device)
        return ("cpu", 0.0) if device == "cpu" else _measured(device)
    except (ImportError, AssertionError, RuntimeError):  # torch asserts that it was built for GPUs
        return device, 0.0


def _measured(device: str) -> tuple[str, float]:
    import torch

    require_exact_float32()
    where = torch.device("cpu" if device.startswith("torch") else device)
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else device
    return name, _gemm_seconds(where, "float32") / _gemm_seconds(where, "float64")


def _gemm_seconds(device: Device, dtype: str) -> float:
    """Return the seconds of a product on a device that is warm."""
    import torch

    left = torch.ones((MEASURED_ORDER, MEASURED_ORDER), dtype=getattr(torch, dtype), device=device)
    out = torch.empty_like(left)

    def products(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            torch.mm(left, left, out=out)
        if left.is_cuda:
            torch.cuda.synchronize(left.device)
        return time.perf_counter() - began

    products(1)
    count = max(1, int(_SECONDS / products(1)))
    return products(count) / count
