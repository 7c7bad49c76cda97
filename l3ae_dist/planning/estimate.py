"""The time of every stage by formulas: what bounds it, arithmetic, tiles on their way, the client or a chain.

Estimates are for one look before a run; :mod:`l3ae_dist.planning.simulator` runs the task graph instead.
"""

from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from l3ae_dist.graphs.cholesky import GROUP
from l3ae_dist.graphs.cut_sums import in_flight, in_flight_shape
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.rates import ASSUMED_CPU, ASSUMED_GPU, ASSUMED_LOCAL_BYTES_S, Rates
from l3ae_dist.planning.resources import Resources
from l3ae_dist.planning.stage_plans import StagePlan, phaseless
from l3ae_dist.storage.stages import TILE_STAGES, Stage
from l3ae_dist.storage.tier_pace import share_from_peers

# Rows of a Parquet log that one thread reads, sorts, splits and stores in a second, as `make bench-intake`
# measures it; the workers meanwhile wait for the client, which unites the ids of all parts.
INGEST_ROWS_S = 3e6
UNITED_ROWS_S = 2e7
# Threads of a process that sort beside each other before the memory is what bounds them: an allowance.
INGEST_THREADS = 4
# Rows that one task of a pass holds at most, and the passes over all of them.
_GROUP_ROWS, _PASSES = 2e6, 4
# Bytes of an interaction that the passes write for those after them.
SPILLED_BYTES = 40.0
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
        What takes the longest: ``compute``, ``storage``, ``peers``, ``local``, ``copies``, ``client`` or
        ``chain``; ``ready`` where the results are in the workspace.
    parts
        Seconds by each of these, as if it were alone.
    repeats
        How many times the stage is run, for so many ridges or models; all figures are of all of them.
    bytes_peers, bytes_cached, bytes_device, bytes_local
        As in :class:`~l3ae_dist.planning.stage_plans.StagePlan`, by the rates of workspace and peers.
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
    bytes_peers: float = 0.0
    bytes_cached: float = 0.0
    bytes_device: float = 0.0
    bytes_local: float = 0.0

    def times(self, repeats: int) -> "StageForecast":
        """Return the stage run so many times, one after the other."""
        return replace(
            self,
            tasks=self.tasks * repeats,
            flops=self.flops * repeats,
            bytes_read=self.bytes_read * repeats,
            bytes_written=self.bytes_written * repeats,
            bytes_peers=self.bytes_peers * repeats,
            bytes_cached=self.bytes_cached * repeats,
            bytes_device=self.bytes_device * repeats,
            bytes_local=self.bytes_local * repeats,
            seconds=self.seconds * repeats,
            parts={name: seconds * repeats for name, seconds in self.parts.items()},
            repeats=repeats,
        )

    def ready(self) -> "StageForecast":
        """Return the stage as one whose results are there: nothing is done."""
        return StageForecast(self.name, self.engine, 0, 0.0, 0.0, 0.0, 0, 0.0, "ready", {})


def ingest_threads(rates: Rates) -> int:
    """Return how many threads of a process count in an ingest."""
    return min(rates.threads, INGEST_THREADS)


def text_rate(rates: Rates) -> float:
    """Return the texts a second of one actor; the assumed rate where none was measured."""
    assumed = ASSUMED_GPU if rates.device == "cuda" else ASSUMED_CPU
    return rates.texts_per_second or assumed.texts_per_second or 1.0


def estimate(
    plan: Plan,
    size: DataSize,
    resources: Resources,
    *,
    heads: int = 1,
    embeds: bool = False,
    workers_ingest: bool = False,
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
    workers_ingest
        Whether the workers ingest, and not the client.
    """
    model = _Model(plan, size, resources, heads)
    stages = [model.ingest(plan.workers if workers_ingest else 0)]
    if embeds:
        stages.append(model.embed())
    for stage in plan.stages:
        stages.append(model.stage(stage))
        if stage.name == Stage.INVERT:
            stages.append(model.certify())
    return tuple(stages)


def tile_seconds(stage: StagePlan, plan: Plan, rates: Rates) -> float:
    """Add up the kernels of the factor or an inverse: on the diagonal, beside it, and the rest.

    Parameters
    ----------
    stage, plan
        A tile stage of the plan.
    rates
        Of a worker.
    """
    tile, count = plan.grid.tile, plan.grid.count
    diagonal, beside = _TILE_KERNELS[phaseless(stage.name)]
    ends = count * float(tile) ** 3 / 3
    triangles = count * (count - 1) / 2 * float(tile) ** 3 * (2 if diagonal == "trtri" else 1)
    rest = max(0.0, stage.flops - ends - triangles)
    parts = ((diagonal, ends), (beside, triangles), ("gemm_nt", rest))
    return sum(rates.seconds(kernel, flops, plan.arithmetic, tile) for kernel, flops in parts)


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

    def ingest(self, workers: int) -> StageForecast:
        """Estimate the passes over the log, on some workers or, with 0 of them, in the client."""
        rows, processes = float(self.size.interactions), max(workers, 1)
        spilled = SPILLED_BYTES * rows
        written = STORED_BYTES * rows + TEXT_BYTES * self.size.catalog + spilled
        united = rows / UNITED_ROWS_S
        parts = {
            "compute": rows / (INGEST_ROWS_S * processes * ingest_threads(self.rates)) + united,
            "client": united,
            "storage": written / self.rates.write_bytes_s / processes,
        }
        tasks = _PASSES * ceil(rows / _GROUP_ROWS)
        read = STORED_BYTES * rows + spilled
        engine = "Dask" if workers else "client"
        return _forecast(Stage.INGEST, engine, tasks, 0.0, read, written, 0, parts)

    def embed(self) -> StageForecast:
        items, rate = self.size.catalog, text_rate(self.rates)
        written = 4.0 * items * self.size.dim
        parts = {
            "compute": items / (rate * self.resources.actors),
            "storage": written / self.rates.write_bytes_s,
        }
        return _forecast(Stage.EMBED, "Ray", ceil(items / 512), 0.0, TEXT_BYTES * items, written, 0, parts)

    def stage(self, stage: StagePlan) -> StageForecast:
        stage = self._by_rates(stage)
        name = phaseless(stage.name)
        match name:
            case Stage.GRAM:
                arithmetic = self._gram(stage)
            case Stage.ASSEMBLE | Stage.PRODUCT:
                arithmetic = self._dense(stage)
            case Stage.SCORE:
                arithmetic = self._score(stage)
            case Stage.RANK:
                arithmetic = stage.flops / self.rates.score_flops
            case _:
                arithmetic = tile_seconds(stage, self.plan, self.rates)
        parts = {
            "compute": arithmetic / self._busy(stage.tasks),
            "storage": self._storage(stage),
            "client": stage.tasks * self.rates.task_seconds,
        }
        if name in TILE_STAGES:
            chain = self._chain(name, written=stage.bytes_written > 0)
            parts |= self._between_memories(stage) | {"chain": chain}
        found = _forecast(
            stage.name, "Dask", stage.tasks, stage.flops, stage.bytes_read, stage.bytes_written,
            stage.peak_bytes, parts,
        )  # fmt: skip
        return replace(
            found,
            bytes_peers=stage.bytes_peers,
            bytes_cached=stage.bytes_cached,
            bytes_device=stage.bytes_device,
            bytes_local=stage.bytes_local,
        )

    def _by_rates(self, stage: StagePlan) -> StagePlan:
        """Read what other workers hold from them or from the workspace, by the policy of the workers."""
        return stage.asking(self.peer_share if self.resources.peers else 0.0)

    @property
    def peer_share(self) -> float:
        """Share of what other workers hold that is read from them."""
        workspace = 1 / self._read_rate(self.plan.workers) + self.rates.read_seconds / self._tile_bytes
        peers = 1 / self.resources.peer_bytes_s + self.rates.latency_seconds / self._tile_bytes
        return share_from_peers(peers, workspace)

    def _between_memories(self, stage: StagePlan) -> dict[str, float]:
        """Return the seconds of tiles from other workers and local disks, and to and from devices."""
        parts, workers = {}, self._busy(stage.tasks)
        if stage.bytes_local:
            parts["local"] = stage.bytes_local / (self.rates.local_bytes_s or ASSUMED_LOCAL_BYTES_S) / workers
        if stage.bytes_peers:
            requests = stage.bytes_peers / self._tile_bytes * self.rates.latency_seconds
            parts["peers"] = (stage.bytes_peers / self.resources.peer_bytes_s + requests) / workers
        if self.rates.device == "cuda":
            up = self.rates.upload_seconds(stage.bytes_read + stage.bytes_peers + stage.bytes_cached)
            parts["copies"] = (up + self.rates.download_seconds(stage.bytes_written)) / workers
        return parts

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
        return self.rates.seconds(kernel, flops, self.plan.arithmetic, self.plan.grid.tile)

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
        read = workers * self._read_rate(workers)
        network = self.resources.network_bytes_s
        write = min(rates.shared_write_bytes_s, workers * min(rates.write_bytes_s, network))
        requests = (stage.bytes_read * rates.read_seconds + stage.bytes_written * rates.write_seconds) / (
            self._tile_bytes * workers
        )
        return stage.bytes_read / read + stage.bytes_written / write + requests

    def _read_rate(self, workers: float) -> float:
        """Return the bytes a second that one of so many workers reads from the workspace."""
        rates = self.rates
        network = self.resources.network_bytes_s
        return min(rates.shared_read_bytes_s / workers, rates.read_bytes_s, network)

    def _chain(self, name: str, *, written: bool) -> float:
        """Return the seconds of the longest chain of tasks that wait for each other, and are written."""
        b, count = float(self.plan.grid.tile), self.plan.grid.count
        rates = self.rates
        gemm = self._seconds("gemm_nt", 2 * b**3)
        moved = (
            rates.read_seconds + self._tile_bytes / rates.read_bytes_s
            + written * (rates.write_seconds + self._tile_bytes / rates.write_bytes_s) + rates.latency_seconds
        )  # fmt: skip
        if name == Stage.INVERT:
            return count * gemm + moved
        if in_flight(self.plan.workers):  # a block adds one group of panels, and is solved
            side = in_flight_shape(self.plan.block, count, self.plan.workers).columns
            return count / side * (2 * side**3 * gemm + 2 * side**2 * moved)
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
