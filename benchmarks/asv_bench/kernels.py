"""The tile kernels on one tile, with all BLAS threads."""

import numpy as np

from l3ae_dist.linalg.kernels import CpuKernels

OPERANDS = {
    "gemm_nt": 2, "gemm_nn": 2, "gemm_tn": 2, "syrk_n": 1, "syrk_t": 1, "trsm_rt": 1, "trsm_ll": 1,
    "trmm_rn": 1, "trmm_lt": 1, "potrf": 0, "trtri": 0, "lauum": 0,
}  # fmt: skip


class Kernel:
    """Seconds of each kernel; it works in place, so every sample has fresh tiles."""

    params = (list(OPERANDS), [256, 1024], ["float32", "float64"])
    param_names = ("kernel", "tile", "dtype")
    number, warmup_time = 1, 0.0

    def setup(self, kernel: str, tile: int, dtype: str) -> None:
        rng = np.random.default_rng(0)
        a = rng.standard_normal((tile, tile), dtype="float32").astype(dtype, copy=False)
        lower = np.tril(a / tile) + np.eye(tile, dtype=dtype)  # well conditioned
        if kernel == "potrf":
            self.accumulator = a @ a.T / tile + np.eye(tile, dtype=dtype)
        else:
            self.accumulator = lower.copy() if kernel in ("trtri", "lauum") else a.copy()
        operand = a if kernel.startswith(("gemm", "syrk")) else lower
        self.operands = (operand,) * OPERANDS[kernel]
        self.call = getattr(CpuKernels(), kernel)

    def time_kernel(self, kernel: str, tile: int, dtype: str) -> None:
        self.call(self.accumulator, *self.operands)

    def peakmem_kernel(self, kernel: str, tile: int, dtype: str) -> None:
        self.call(self.accumulator, *self.operands)
