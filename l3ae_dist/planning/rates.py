"""Rates of one worker of a cluster and of what its workers share: measured by a calibration, or assumed."""

import json
import math
from pathlib import Path
from typing import TypedDict

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from l3ae_dist.errors import ConfigError, DamagedDocumentError, WorkspaceError
from l3ae_dist.storage import layout

KERNELS = (
    "gemm_nt", "gemm_nn", "gemm_tn", "syrk_n", "syrk_t", "potrf", "trtri", "lauum",
    "trsm_rt", "trsm_ll", "trmm_rn", "trmm_lt",
)  # fmt: skip


ASSUMED_PEER_BYTES_S = 1e9
"""Bytes a second of tiles between workers, where it was not measured."""
ASSUMED_LOCAL_BYTES_S = 1.5e9
"""Bytes a second of copies of tiles on a local disk, where it was not measured."""
ASSUMED_COPY_BYTES_S = 2e10
"""Bytes a second between the memory of a worker and its GPU, where it was not measured."""


class Rates(BaseModel):
    """Rates of one worker and of the storage it shares; :data:`ASSUMED_CPU` serves without a calibration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    assumed: bool = False
    """True where nothing of this was measured."""
    derived: bool = False
    """True where measured rates were changed, for other threads or with assumed storage."""
    source: str = ""
    """Source of the figures, in words."""
    date: str = ""
    """Time of the measurement."""
    machine: dict[str, object] = {}
    """Processor, cores, memory and versions of the machine of the client."""
    workers: int = Field(default=1, ge=1)
    """Workers that were measured at the same time."""
    threads: int = Field(default=1, ge=1)
    """BLAS threads of each."""
    device: str = "cpu"
    """Device that ran the kernels: cpu or cuda."""
    gflops: dict[str, dict[str, dict[int, float]]]
    """GFLOP/s of a worker by dtype, kernel and rows of a tile, all workers computing."""
    overlap: dict[int, float] = {1024: 1.0}
    """Share of these rates that is left in a run, whose operands are not at hand, by rows of a tile."""
    copy_bytes_s: float = Field(default=4e9, gt=0)
    """Bytes a second that a worker copies within its memory."""
    read_seconds: float = Field(default=0.001, ge=0)
    """Seconds of a read that do not depend on its size."""
    read_bytes_s: float = Field(gt=0)
    """Bytes a second that one worker reads tiles at."""
    shared_read_bytes_s: float = Field(gt=0)
    """Bytes a second that all workers together read tiles at, at most."""
    write_seconds: float = Field(default=0.004, ge=0)
    """Seconds of a write and its done-mark that do not depend on its size."""
    write_bytes_s: float = Field(gt=0)
    """Bytes a second that one worker writes tiles at."""
    shared_write_bytes_s: float = Field(gt=0)
    """Bytes a second that all workers together write tiles at, at most."""
    task_seconds: float = Field(default=0.003, ge=0)
    """Seconds of the client and the scheduler for each task: they serve one at a time."""
    latency_seconds: float = Field(default=0.005, ge=0)
    """Seconds on the way from the client to a worker and back."""
    pair_rate: float = Field(default=1e8, gt=0)
    """Products of two interactions of one user that a worker adds to a Gram tile in a second."""
    score_flops: float = Field(default=1e9, gt=0)
    """Flops a second of a worker that multiplies sparse histories with a tile."""
    rank_rate: float = Field(default=3e7, gt=0)
    """Scores a second of which a worker keeps the best of each user."""
    texts_per_second: float | None = Field(default=None, gt=0)
    """Texts a second of one embedding actor; None when it was not measured."""
    encoder: str = ""
    """The encoder that they were measured with."""
    upload_bytes_s: float | None = Field(default=None, gt=0)
    """Bytes a second from a worker's memory to its GPU, through page-locked memory; None on a CPU."""
    download_bytes_s: float | None = Field(default=None, gt=0)
    """Bytes a second from there to the worker's memory; None on a CPU, or where it was not measured."""
    local_bytes_s: float | None = Field(default=None, gt=0)
    """Bytes a second that a worker reads copies of tiles on its local disk at; None where not measured."""
    peer_bytes_s: float | None = Field(default=None, gt=0)
    """Bytes a second of tiles that a worker receives from others, and verifies, while it sends as many; None
    where it was not measured, as with one worker."""

    @field_validator("gflops")
    @classmethod
    def _kernels_are_there(
        cls, value: dict[str, dict[str, dict[int, float]]]
    ) -> dict[str, dict[str, dict[int, float]]]:
        if not value or not all(kernels.get("gemm_nt") for kernels in value.values()):
            raise ValueError("no dtype, or one without gemm_nt")
        sizes = [sizes for kernels in value.values() for sizes in kernels.values()]
        if not all(rate > 0 for found in sizes for rate in found.values()):
            raise ValueError("a rate is not positive")
        return value

    @field_validator("overlap")
    @classmethod
    def _overlap_is_positive(cls, value: dict[int, float]) -> dict[int, float]:
        if not value or min(value.values()) <= 0:
            raise ValueError("empty, or a share is not positive")
        return value

    def upload_seconds(self, nbytes: float) -> float:
        """Return the seconds of a copy from the worker's memory to its GPU, 0 on a CPU."""
        return nbytes / (self.upload_bytes_s or self._assumed_copy)

    def download_seconds(self, nbytes: float) -> float:
        """Return the seconds of a copy from there to the worker's memory, 0 on a CPU."""
        return nbytes / (self.download_bytes_s or self._assumed_copy)

    @property
    def _assumed_copy(self) -> float:
        return ASSUMED_COPY_BYTES_S if self.device == "cuda" else math.inf

    @property
    def kind(self) -> str:
        """``measured``, ``derived`` from measured ones, or ``assumed``."""
        return "assumed" if self.assumed else "derived" if self.derived else "measured"

    def rate(self, kernel: str, dtype: str, tile: float) -> float:
        """Return the flops a second of a kernel, interpolated in the logarithm of the rows of a tile.

        Beyond the measured sizes it is that of the nearest. A kernel that was not measured has gemm's.
        :meth:`check` tells whether there are rates of the dtype.

        Parameters
        ----------
        kernel
            Name of the kernel, such as ``gemm_nt``.
        dtype
            ``float32`` or ``float64``.
        tile
            Rows of a tile.
        """
        kernels = self.gflops[dtype]
        return 1e9 * _between(kernels.get(kernel) or kernels["gemm_nt"], tile)

    def beside(self, tile: float) -> float:
        """Return the share of a rate that is left beside reading and writing tiles of so many rows."""
        return _between(self.overlap, tile)

    def seconds(self, kernel: str, flops: float, dtype: str, tile: float) -> float:
        """Return the seconds of a kernel on a worker that reads and writes other tiles meanwhile.

        Parameters
        ----------
        kernel
            Name of the kernel.
        flops
            Floating-point operations.
        dtype, tile
            Of the arithmetic, and rows of a tile.
        """
        return flops / (self.rate(kernel, dtype, tile) * self.beside(tile))

    def measured_tiles(self, dtype: str) -> tuple[int, int]:
        """Return the smallest and the largest tile whose rates were measured."""
        sizes = [size for sizes in self.gflops[dtype].values() for size in sizes]
        return min(sizes), max(sizes)

    def check(self, dtype: str, device: str) -> None:
        """Refuse rates of another precision or device.

        Raises
        ------
        ConfigError
            With what they were measured on.
        """
        if dtype not in self.gflops or device != self.device:
            raise ConfigError(
                f"the plan is for {dtype} on {device}, but the rates are of {', '.join(self.gflops)} on "
                f"{self.device}; measure them with `l3ae-dist calibrate --dtype {dtype} --device {device}`, "
                "or choose others with --rates."
            )

    def scaled(self, threads: int) -> "Rates":
        """Return the rates of workers with another number of BLAS threads: in proportion, and derived."""
        if threads == self.threads or self.device != "cpu":
            return self
        factor = threads / self.threads
        gflops = {
            dtype: {
                kernel: {size: rate * factor for size, rate in sizes.items()}
                for kernel, sizes in kernels.items()
            }
            for dtype, kernels in self.gflops.items()
        }
        text = f"{self.source}; kernel rates scaled from {self.threads} to {threads} threads"
        return self.model_copy(update={"gflops": gflops, "threads": threads, "source": text, "derived": True})


def _between(points: dict[int, float], size: float) -> float:
    below = max((p for p in points if p <= size), default=min(points))
    above = min((p for p in points if p >= size), default=max(points))
    if below == above or size <= below or size >= above:
        return points[below if size <= below else above]
    share = math.log(size / below) / math.log(above / below)
    return points[below] + share * (points[above] - points[below])


def _assumed(gemm32: float, gemm64: float) -> dict[str, dict[str, dict[int, float]]]:
    """Rates of all kernels from that of gemm at large tiles: triangular kernels reach two thirds of it."""
    others = {name: (1.0 if name.startswith(("gemm", "syrk")) else 2 / 3) for name in KERNELS}
    sizes = {512: 0.8, 2048: 1.0}
    return {
        dtype: {
            name: {size: gemm * share * part for size, part in sizes.items()}
            for name, share in others.items()
        }
        for dtype, gemm in (("float32", gemm32), ("float64", gemm64))
    }


class StorageRates(TypedDict):
    """The rates of tiles to and from storage; the fields of :class:`Rates` with these names."""

    read_seconds: float
    read_bytes_s: float
    shared_read_bytes_s: float
    write_seconds: float
    write_bytes_s: float
    shared_write_bytes_s: float


# Of storage on other machines, such as a bucket.
REMOTE_STORAGE: StorageRates = {
    "read_seconds": 0.02,
    "read_bytes_s": 2e9,
    "shared_read_bytes_s": 1e11,
    "write_seconds": 0.03,
    "write_bytes_s": 1e9,
    "shared_write_bytes_s": 5e10,
}
_BESIDE = {1024: 0.9}

ASSUMED_CPU = Rates(
    assumed=True,
    source="assumed: one core of a server of 2023 (60 GFLOP/s in float32), storage at 2 GB/s a worker "
    "and 100 GB/s in all",
    gflops=_assumed(60.0, 30.0),
    overlap=_BESIDE,
    **REMOTE_STORAGE,
    texts_per_second=100.0,
    encoder="minilm",
)
"""One BLAS thread; :meth:`Rates.scaled` gives a worker's."""

ASSUMED_GPU = Rates(
    assumed=True,
    source="assumed: a data-centre GPU (45 TFLOP/s in float32 and float64), storage at 2 GB/s a worker "
    "and 100 GB/s in all, PCIe at 20 GB/s",
    device="cuda",
    gflops=_assumed(45e3, 45e3),
    overlap=_BESIDE,
    **REMOTE_STORAGE,
    texts_per_second=300.0,
    encoder="a model of 7 to 8 billion parameters",
    upload_bytes_s=ASSUMED_COPY_BYTES_S,
    download_bytes_s=ASSUMED_COPY_BYTES_S,
)
"""One GPU."""


def assumed_rates(threads: int, device: str) -> Rates:
    """Return the rates that are assumed for a worker where nothing was measured."""
    return ASSUMED_GPU if device == "cuda" else ASSUMED_CPU.scaled(threads)


def read_rates(path: str | Path) -> Rates:
    """Read the rates from a file that a calibration wrote.

    Raises
    ------
    ConfigError
        When it cannot be read or is none.
    """
    try:
        return parse_rates(json.loads(Path(path).read_text(encoding="utf-8")), str(path))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(
            f"cannot read the rates {path}: {error}; make them with `l3ae-dist calibrate --output {path}`."
        ) from error


def parse_rates(document: object, where: str) -> Rates:
    """Validate a document as rates.

    Raises
    ------
    ConfigError
        When it is none, with the first problem.
    """
    try:
        return Rates.model_validate(document)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise ConfigError(
            f"{where} holds no rates ({key}: {problem['msg']}); make them anew with `l3ae-dist calibrate`."
        ) from error


def stored_rates(url: str) -> Rates | None:
    """Read the calibration of a workspace, None without one."""
    from l3ae_dist.storage.workspace import Workspace

    try:
        document = Workspace.open(url).read_doc(layout.CALIBRATION)
    except DamagedDocumentError:
        raise
    except WorkspaceError:
        return None
    return None if document is None else parse_rates(document, f"the calibration of {url}")
