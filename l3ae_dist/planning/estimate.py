"""The time of every stage by formulas: what bounds it, arithmetic, storage, the client or a chain of tiles.

Estimates are for one look before a run; :mod:`l3ae_dist.planning.simulator` runs the task graph instead.
"""

from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from l3ae_dist.graphs.cholesky import GROUP
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.rates import ASSUMED_CPU, ASSUMED_GPU, Rates
from l3ae_dist.planning.resources import Resources
from l3ae_dist.planning.stage_plans import StagePlan, phaseless
from l3ae_dist.storage.stages import TILE_STAGES, Stage

# Rows of an interaction table that the client reads, sorts and stores in a second: an allowance.
INGEST_ROWS_S = 5e5
# Interactions that a worker reads, verifies and turns by rows in a second: an allowance.
ENTRIES_S = 3e7
# Bytes of an interaction as it is stored, by column and by row.
STORED_BYTES = 24.0
# Bytes of the text of an item: an allowance.
TEXT_BYTES = 500.0
# Kernels of a stage on the diagonal, and of the tiles that wait for it.
_TILE_KERNELS: dict[str, tuple[str, str]] = {
    Stage.FACTOR: ("potrf", "trsm_rt"),
    Stage.LINV: ("trtri", "trsm_ll"),
    Stage.INVERT: ("lauum", "trmm_lt"),
}


@dataclass(frozen=True)
class StageForecast:
    """The estimate of one stage of a run.

    Parameters
    ----------
    name, engine
        Which stage, and what runs it.
    tasks, flops, bytes_read, bytes_written, peak_bytes
        As in :class:`~l3ae_dist.planning.stage_plans.StagePlan`.
    seconds
        Estimated wall time.
    bound
        What takes the longest: ``compute``, ``storage``, ``client`` or ``chain``.
    parts
        Seconds by each of these, as if it were alone.
    repeats
        How many times the stage is run, for so many ridges or models; all figures are of all of them.
    """

    name: str
    engine: str
    tasks: int
    flops: float
    bytes_read: float
    bytes_written: float
    peak_bytes: int
    seconds: float
    bound: str
    parts: dict[str, float]
    repeats: int = 1

    def times(self, repeats: int) -> "StageForecast":
        """Return the stage run so many times, one after the other."""
        return replace(
            self,
            tasks=self.tasks * repeats,
            flops=self.flops * repeats,
            bytes_read=self.bytes_read * repeats,
            bytes_written=self.bytes_written * repeats,
            seconds=self.seconds * repeats,
            parts={name: seconds * repeats for name, seconds in self.parts.items()},
            repeats=repeats,
        )


def text_rate(rates: Rates) -> float:
    """Return the texts a second of one actor; the assumed rate where none was measured."""
    assumed = ASSUMED_GPU if rates.device == "cuda" else ASSUMED_CPU
    return rates.texts_per_second or assumed.texts_per_second or 1.0


def estimate(
    plan: Plan, size: DataSize, resources: Resources, *, heads: int = 1, embeds: bool = False
) -> tuple[StageForecast, ...]:
    """Estimate the time of every stage of a run: the longest of its parts.

    Parameters
    ----------
    plan, size
        What is done, with which data.
    resources
        Rates of the cluster's workers, its embedding actors, and what the network of a worker carries.
    heads
        Models scored together.
    embeds
        Whether item text is embedded.
    """
    model = _Model(plan, size, resources, heads)
    stages = [model.ingest()]
    if embeds:
        stages.append(model.embed())
    for stage in plan.stages:
        stages.append(model.stage(stage))
        if stage.name == Stage.INVERT:
            stages.append(model.certify())
    return tuple(stages)


@dataclass(frozen=True)
class _Model:
    """A run of which every stage can be estimated."""

    plan: Plan
    size: DataSize
    resources: Resources
    heads: int

    @property
    def rates(self) -> Rates:
        return self.resources.rates

    def ingest(self) -> StageForecast:
        rows = float(self.size.interactions)
        written = STORED_BYTES * rows + TEXT_BYTES * self.size.items
        parts = {"client": rows / INGEST_ROWS_S, "storage": written / self.rates.write_bytes_s}
        return _forecast(Stage.INGEST, "client", 1, 0.0, written, written, 0, parts)

    def embed(self) -> StageForecast:
        items, rate = self.size.items, text_rate(self.rates)
        written = 4.0 * items * self.size.dim
        parts = {
            "compute": items / (rate * self.resources.actors),
            "storage": written / self.rates.write_bytes_s,
        }
        return _forecast(Stage.EMBED, "Ray", ceil(items / 512), 0.0, TEXT_BYTES * items, written, 0, parts)

    def stage(self, stage: StagePlan) -> StageForecast:
        name = phaseless(stage.name)
        match name:
            case Stage.GRAM:
                arithmetic = self._gram(stage)
            case Stage.ASSEMBLE | Stage.PRODUCT:
                arithmetic = self._dense(stage)
            case Stage.SCORE:
                arithmetic = self._score(stage)
            case _:
                arithmetic = self._tiles(stage)
        parts = {
            "compute": arithmetic / self._busy(stage.tasks),
            "storage": self._storage(stage),
            "client": stage.tasks * self.rates.task_seconds,
        }
        if name in TILE_STAGES:
            parts["chain"] = self._chain(name)
        return _forecast(
            stage.name, "Dask", stage.tasks, stage.flops, stage.bytes_read, stage.bytes_written,
            stage.peak_bytes, parts,
        )  # fmt: skip

    def certify(self) -> StageForecast:
        """Estimate P times a few vectors: every tile is read twice."""
        count, tile = self.plan.grid.count, self._tile_bytes
        flops = 4.0 * 2.0 * float(self.plan.grid.n) ** 2
        stage = StagePlan(Stage.CERTIFY, count, flops, count**2 * tile, 0.0, self.plan.stages[0].peak_bytes)
        parts = {
            "compute": 2 * stage.bytes_read / self.rates.copy_bytes_s / self._busy(count),
            "storage": self._storage(stage),
        }
        return _forecast(Stage.CERTIFY, "Dask", count, flops, stage.bytes_read, 0.0, 0, parts)

    @property
    def _itemsize(self) -> int:
        return int(np.dtype(self.plan.dtype).itemsize)

    @property
    def _tile_bytes(self) -> float:
        return float(self.plan.grid.tile**2 * self._itemsize)

    def _busy(self, tasks: int) -> float:
        """Count the workers at work on average: in the last round of tasks some have nothing to do."""
        workers = self.plan.workers
        return tasks / ceil(tasks / workers) if tasks else 1.0

    def _seconds(self, kernel: str, flops: float) -> float:
        return self.rates.seconds(kernel, flops, self.plan.dtype, self.plan.grid.tile)

    def _tiles(self, stage: StagePlan) -> float:
        """Add up the kernels of the factor and the inverse: on the diagonal, beside it, and the rest."""
        b, count = float(self.plan.grid.tile), self.plan.grid.count
        diagonal, beside = _TILE_KERNELS[phaseless(stage.name)]
        ends = count * b**3 / 3
        triangles = count * (count - 1) / 2 * b**3 * (2 if diagonal == "trtri" else 1)
        rest = max(0.0, stage.flops - ends - triangles)
        return (
            self._seconds(diagonal, ends) + self._seconds(beside, triangles) + self._seconds("gemm_nt", rest)
        )

    def _dense(self, stage: StagePlan) -> float:
        return self._seconds("gemm_nt", stage.flops)

    def _gram(self, stage: StagePlan) -> float:
        """Add up sparse products of pairs of interactions, blocks turned by rows, and dense tiles."""
        blocks = self.size.interactions * (self.plan.grid.count + 1) / 2
        dense = 2 * stage.bytes_written / self.rates.copy_bytes_s
        if stage.name != Stage.GRAM:  # of item features: n x d times d x n
            return self._seconds("gemm_nt", float(self.plan.grid.n) ** 2 * self.size.dim) + dense
        return self.size.pairs() / 2 / self.rates.pair_rate + blocks / ENTRIES_S + dense

    def _score(self, stage: StagePlan) -> float:
        scored = stage.tasks / self.plan.grid.count * self.plan.user_block
        scores = scored * self.plan.grid.n * self.heads
        return stage.flops / self.rates.score_flops + scores / self.rates.rank_rate

    def _storage(self, stage: StagePlan) -> float:
        rates, workers = self.rates, self._busy(stage.tasks)
        network = self.resources.network_bytes_s
        read = min(rates.shared_read_bytes_s, workers * min(rates.read_bytes_s, network))
        write = min(rates.shared_write_bytes_s, workers * min(rates.write_bytes_s, network))
        requests = (stage.bytes_read * rates.read_seconds + stage.bytes_written * rates.write_seconds) / (
            self._tile_bytes * workers
        )
        return stage.bytes_read / read + stage.bytes_written / write + requests

    def _chain(self, name: str) -> float:
        """Return the seconds of the longest chain of tasks that wait for each other."""
        b, count = float(self.plan.grid.tile), self.plan.grid.count
        rates = self.rates
        gemm = self._seconds("gemm_nt", 2 * b**3)
        moved = (
            rates.read_seconds + self._tile_bytes / rates.read_bytes_s
            + rates.write_seconds + self._tile_bytes / rates.write_bytes_s + rates.latency_seconds
        )  # fmt: skip
        if name == Stage.INVERT:
            return count * gemm + moved
        if name == Stage.LINV:  # tile (i, 0) sums over all tiles above it
            return count * (count - 1) / 2 * gemm + count * (self._seconds("trsm_ll", b**3) + moved)
        # with several workers a tile waits for a group of panels and the diagonal above it, else for all
        last = GROUP * gemm if self.plan.workers > 1 else count / 2 * gemm
        steps = self._seconds("potrf", b**3 / 3) + self._seconds("trsm_rt", b**3)
        return count * (last + steps + 2 * moved)


def _forecast(
    name: str, engine: str, tasks: int, flops: float, read: float, written: float, peak: int,
    parts: dict[str, float],
) -> StageForecast:  # fmt: skip
    bound = max(parts, key=lambda part: parts[part])
    return StageForecast(name, engine, tasks, flops, read, written, peak, parts[bound], bound, parts)
