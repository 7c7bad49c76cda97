"""The stages of the tile engine on the serial executor: seconds, memory, tasks and bytes read.

Tasks and bytes do not depend on the machine: they change only with the code.
"""

import atexit
import functools
import shutil
import tempfile
import uuid
from dataclasses import replace

import numpy as np

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.ingest import IngestConfig, ingest
from l3ae_dist.data.synthetic import zipf_log
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.chunk_tasks import ChunkGraph
from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.gram import GramParams, gram_graph
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.plan import make_plan
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.planning.trial_solve import write_system
from l3ae_dist.runtime.executors import SerialExecutor
from l3ae_dist.runtime.run_graph import StageStats, run_graph
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace

N = 1024
# Tiles a side of a block. Nothing is kept between tasks: what a cache holds depends on which of two reads
# under way ends first, and the counts must not.
BLOCK = 2
STAGES = ["factor", "linv", "invert"]


class Engine:
    """The three stages of one system of order ``N``, in a workspace of its own."""

    def __init__(self, tile: int, dtype: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="l3ae-asv-")
        workspace = Workspace.create(f"{self.folder.name}/w")
        size, machine = (
            DataSize(items=N, users=1, interactions=1),
            Machine(2**30, dtype=dtype, tile=tile, block=BLOCK),
        )
        plan = replace(make_plan(size, ModelNeeds(), machine), cache_bytes=0)
        self.context, stages = write_system(workspace, "system", plan)
        self.graphs = {graph.stage: (graph, targets) for graph, targets in stages}

    def run(self, stage: str) -> StageStats:
        graph, targets = self.graphs[stage]
        return run_graph(graph, self.context, SerialExecutor(), targets=targets)


class Solve:
    """Factor, triangular inverse and inverse; every sample has a workspace of its own."""

    params = (STAGES, [128, 256], ["float32", "float64"])
    param_names = ("stage", "tile", "dtype")
    number, warmup_time, timeout = 1, 0.0, 300

    def setup(self, stage: str, tile: int, dtype: str) -> None:
        self.engine = Engine(tile, dtype)
        for earlier in STAGES[: STAGES.index(stage)]:
            self.engine.run(earlier)

    def teardown(self, stage: str, tile: int, dtype: str) -> None:
        self.engine.folder.cleanup()

    def time_stage(self, stage: str, tile: int, dtype: str) -> None:
        self.engine.run(stage)

    def peakmem_stage(self, stage: str, tile: int, dtype: str) -> None:
        self.engine.run(stage)


@functools.cache
def solve_counts(tile: int, dtype: str) -> dict[str, StageStats]:
    """Solve once in memory of this process, and return the totals of each stage."""
    engine = Engine(tile, dtype)
    try:
        return {stage: engine.run(stage) for stage in STAGES}
    finally:
        engine.folder.cleanup()


class SolveCounts:
    """Tasks and bytes of the same stages."""

    params, param_names, timeout = Solve.params, Solve.param_names, 300

    def track_num_tasks(self, stage: str, tile: int, dtype: str) -> int:
        return solve_counts(tile, dtype)[stage].tasks

    def track_bytes_read(self, stage: str, tile: int, dtype: str) -> int:
        return solve_counts(tile, dtype)[stage].bytes_read

    track_num_tasks.unit, track_bytes_read.unit = "tasks", "bytes"


class FactorGraph:
    """Tasks of the factor stage as several workers get it: tiles and partial sums."""

    params = ([8, 32, 64], [1, 2, 16])
    param_names = ("tiles_a_side", "workers")

    def track_num_tasks(self, tiles_a_side: int, workers: int) -> int:
        return sum(1 for _ in CholeskyGraph(TileGrid(64 * tiles_a_side, 64), workers).tasks())

    track_num_tasks.unit = "tasks"


def interactions() -> Dataset:
    """Store 100,000 Zipf-distributed interactions in a workspace that is removed at exit."""
    import pandas as pd

    folder = tempfile.mkdtemp(prefix="l3ae-asv-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    workspace = Workspace.create(f"{folder}/w")
    items = pd.DataFrame({"item_id": np.arange(N)})
    return Dataset(workspace, ingest(zipf_log(5000, 20, N), items, IngestConfig(split="none"), workspace))


shared_interactions = functools.cache(interactions)


def gram_stage(dataset: Dataset, path: str, tile: int, dtype: str) -> tuple[ChunkGraph, StageContext]:
    """Return the stage that writes a new Gram matrix at ``path``."""
    graph = gram_graph(TileGrid(dataset.n_items, tile))
    ChunkArray.create(dataset.workspace, path, shape=(N, N), chunks=(tile, tile), dtype=dtype)
    context = StageContext(
        url=dataset.workspace.url, paths={"gram": path}, grid=graph.grid, dtype=dtype,
        params=GramParams(dataset.id),
    )  # fmt: skip
    return graph, context


class Gram:
    """The Gram matrix of those interactions; every sample writes an array of its own."""

    params = ([128, 256], ["float32", "float64"])
    param_names = ("tile", "dtype")
    number, warmup_time, timeout = 1, 0.0, 300

    def setup(self, tile: int, dtype: str) -> None:
        self.path = f"grams/{uuid.uuid4().hex}"
        self.stage = gram_stage(shared_interactions(), self.path, tile, dtype)

    def teardown(self, tile: int, dtype: str) -> None:
        shared_interactions().workspace.delete(self.path)

    def time_stage(self, tile: int, dtype: str) -> None:
        run_graph(*self.stage, SerialExecutor(), targets={"gram"})

    def peakmem_stage(self, tile: int, dtype: str) -> None:
        run_graph(*self.stage, SerialExecutor(), targets={"gram"})


@functools.cache
def gram_counts(tile: int) -> StageStats:
    """Run the stage with nothing read before, and return its totals."""
    return run_graph(*gram_stage(interactions(), "gram", tile, "float32"), SerialExecutor(), targets={"gram"})


class GramCounts:
    """Tasks and bytes of the same stage."""

    params, param_names, timeout = ([128, 256],), ("tile",), 300

    def track_num_tasks(self, tile: int) -> int:
        return gram_counts(tile).tasks

    def track_bytes_read(self, tile: int) -> int:
        return gram_counts(tile).bytes_read

    track_num_tasks.unit, track_bytes_read.unit = "tasks", "bytes"
