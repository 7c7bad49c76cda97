"""From the training matrix to the factored model: each artifact made once, skipped when complete.

A :class:`Solver` binds a workspace, a dataset, a plan and an executor; every method makes sure that
one artifact exists and returns where it is. Which tiles there are is the business of
:mod:`l3ae_dist.graphs`, where they run that of :mod:`l3ae_dist.runtime`.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import open_rows
from l3ae_dist.data.systems import INTERACTIONS, System, gram_name, spectrum
from l3ae_dist.errors import DamagedTileError, NumericalError
from l3ae_dist.graphs.assemble import (
    SemanticParams,
    diagonal_rows,
    product_diagonal_rows,
    product_rows,
    row_graph,
    semantic_inverse_graph,
    semantic_rows,
)
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.chunk_tasks import Compute
from l3ae_dist.graphs.context import StageContext, StageParams
from l3ae_dist.graphs.gram import GramParams, gram_graph
from l3ae_dist.graphs.inverse import InverseGraph, TriangularInverseGraph
from l3ae_dist.graphs.tasks import Graph
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.closed_form import column_scale
from l3ae_dist.linalg.spectral import certificate_tolerance, condition_number
from l3ae_dist.planning.plan import Plan
from l3ae_dist.runtime.events import Message, OnEvent, ignore
from l3ae_dist.runtime.executors import Executor
from l3ae_dist.runtime.run_graph import StageStats, run_graph
from l3ae_dist.solve.reuse import reuse_tiles
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.repair import reopen
from l3ae_dist.storage.stages import TILE_STAGES, Stage
from l3ae_dist.storage.workspace import Workspace

_PROBES = 4
# How many damaged tiles one solve repairs by itself before it gives up on the disk.
_REPAIRS = 5


@dataclass(frozen=True)
class Factor:
    """An inverse ``P`` in the workspace: its id, the folder of its arrays, and its certificate."""

    id: str
    base: str
    ridge: float
    certificate: dict[str, Any] = field(hash=False, compare=False)
    system: System = INTERACTIONS

    @property
    def path(self) -> str:
        """Where the tiles of the inverse are."""
        return f"{self.base}/P"


class Solver:
    """Makes the artifacts of the solve stages in one workspace.

    Parameters
    ----------
    workspace, dataset
        What to solve.
    embedding
        Id of the embeddings or words, None for models without text.
    plan
        Tile grid, dtype and memory.
    executor
        Where tasks run.
    keep
        Which of ``L`` and ``Linv`` to keep after the stage that needs them.
    epoch, durable
        The lock's epoch and whether writes are flushed.
    device
        Kernel back end of the workers: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    route
        Of the semantic phase: ``"woodbury"`` or ``"direct"``.
    """

    def __init__(
        self,
        workspace: Workspace,
        dataset: Dataset,
        embedding: str | None,
        plan: Plan,
        executor: Executor,
        *,
        keep: tuple[str, ...] = (),
        epoch: int = 0,
        durable: bool = False,
        device: str = "cpu",
        route: str = "woodbury",
        on_event: OnEvent = ignore,
    ) -> None:
        self.workspace = workspace
        self.dataset = dataset
        self.embedding = embedding
        self.plan = plan
        self.executor = executor
        self.keep = keep
        self.epoch = epoch
        self.durable = durable
        self.device = device
        self.on_event = on_event
        self.stats: dict[str, StageStats] = {}
        self.route = route
        self.gram_id, self.gram_dtype = self.gram_name(INTERACTIONS)

    def gram_name(self, system: System) -> tuple[str, str]:
        """Id and dtype of the tiles of a Gram matrix; see :func:`l3ae_dist.data.systems.gram_name`."""
        return gram_name(self.dataset, system, self.plan.grid.tile, self.plan.dtype)

    @property
    def gram_path(self) -> str:
        """Where the tiles of ``X' X`` are."""
        return f"grams/{self.gram_id}"

    def context(
        self, paths: dict[str, str], params: StageParams | None = None, *, dtype: str | None = None
    ) -> StageContext:
        """The context of a stage that uses ``paths``.

        Parameters
        ----------
        paths
            Array path for each name that the tasks use.
        params
            Further values of the stage.
        dtype
            Dtype of the arithmetic; that of the plan when None.
        """
        return StageContext(
            url=self.workspace.url,
            paths=paths,
            grid=self.plan.grid,
            dtype=dtype or self.plan.dtype,
            cache_bytes=self.plan.cache_bytes,
            epoch=self.epoch,
            device=self.device,
            durable=self.durable,
            params=params,
        )

    def run(self, graph: Graph, context: StageContext, targets: set[str], label: str) -> StageStats:
        """Run a graph and keep its statistics under ``label``; a damaged input reopens its stage."""
        try:
            stats = run_graph(graph, context, self.executor, targets=targets, on_event=self.on_event)
        except DamagedTileError as error:
            if (
                layout.vector_maker(error.path) is None
            ):  # what is made from the sources waits for the next run
                reopen(self.workspace, error.path, error.i, error.j)
                text = f"a tile of {error.path} is damaged and will be made again"
                self.on_event(Message(message=text))
            raise
        self.stats[label] = stats
        return stats

    def tiles(self, path: str, dtype: str) -> ChunkArray:
        """Create or reopen an n x n array of tiles."""
        n, b = self.plan.grid.n, self.plan.grid.tile
        return ChunkArray.create(self.workspace, path, shape=(n, n), chunks=(b, b), dtype=dtype)

    def rows(self, path: str, columns: int, dtype: str = "float64") -> ChunkArray:
        """Create or reopen an n x columns array cut by item tile."""
        n, b = self.plan.grid.n, self.plan.grid.tile
        return ChunkArray.create(self.workspace, path, shape=(n, columns), chunks=(b, columns), dtype=dtype)

    def gram(self, system: System = INTERACTIONS) -> str:
        """The Gram matrix of a system (``X' X``), lower tiles; returns its path."""
        identifier, dtype = self.gram_name(system)
        path = f"grams/{identifier}"
        if self.workspace.stage_done(Stage.GRAM, identifier) is None:
            array = self.tiles(path, dtype)
            reused = reuse_tiles(
                self.dataset, system, array, self.plan.dtype, epoch=self.epoch, on_event=self.on_event
            )
            paths: dict[str, str] = {"gram": path}
            source = self.dataset.id if system.interactions else None
            if system.features is not None:
                paths["features"] = layout.features(system.features)
            context = self.context(paths, GramParams(source, system.alpha), dtype=dtype)
            stats = self.run(gram_graph(self.plan.grid), context, {"gram"}, Stage.GRAM)
            params: dict[str, Any] = {"dataset": source, "alpha": system.alpha}
            params |= {"features": system.features, "tile": self.plan.grid.tile, "dtype": dtype}
            params["parent_tiles"] = reused
            self.workspace.mark_stage(Stage.GRAM, identifier, params, vars(stats))
        return path

    def base(self, ridge: float, system: System = INTERACTIONS) -> str:
        """Folder of the arrays that belong to one ridge."""
        return f"factors/{self.gram_name(system)[0]}/{ridge!r}/{self.plan.dtype}"

    def factor(self, ridge: float, system: System = INTERACTIONS) -> Factor:
        """Where an inverse is or would be; without its certificate."""
        base = self.base(ridge, system)
        return Factor(fingerprint(base), base, ridge, {}, system)

    def inverse(self, ridge: float, system: System = INTERACTIONS) -> Factor:
        """``P = (G + ridge I)^-1``, certified; L and Linv are deleted unless kept. G is ``X' X``."""
        factor = self.factor(ridge, system)
        gram = self.gram_name(system)[0]
        record = self.workspace.stage_done(Stage.CERTIFIED, factor.id)
        stages = [(Stage.GRAM, gram), *((stage, factor.id) for stage in TILE_STAGES)]
        if not all(self.workspace.stage_done(*stage) for stage in stages):
            self._solve(factor)
        if record is None:
            certificate = self._certify(factor)
            params = {"gram": gram, "ridge": ridge, "dtype": self.plan.dtype, "base": factor.base}
            record = self.workspace.mark_stage(
                Stage.CERTIFIED, factor.id, params, {"certificate": certificate}
            )
        self._drop(factor.base, "L", "Linv")
        return replace(factor, certificate=record["stats"]["certificate"])

    def _solve(self, wanted: Factor) -> None:
        """All tile stages; a tile found damaged is made again, from the earliest stage that is needed."""
        for attempt in range(_REPAIRS + 1):
            try:
                self._solve_stages(wanted)
                return
            except DamagedTileError as error:
                if attempt == _REPAIRS or layout.vector_maker(error.path) is not None:
                    raise

    def _require_inputs(self, base: str, identifier: str) -> None:
        """A stage to run whose input was deleted needs the stage before it again."""
        earliest = None
        for stage, source, maker in ((Stage.INVERT, "Linv", Stage.LINV), (Stage.LINV, "L", Stage.FACTOR)):
            undone = self.workspace.stage_done(stage, identifier) is None
            if undone and not self.workspace.has(f"{base}/{source}"):
                if self.workspace.stage_done(maker, identifier) is not None:
                    earliest = (maker, source)
                self.workspace.reopen_stage(maker, identifier)
        if earliest is not None:
            self._say_redone(*earliest)

    def _say_redone(self, stage: Stage, source: str) -> None:
        flops = next(planned.flops for planned in self.plan.stages if planned.name == stage)
        text = (
            f"the earliest stage to redo is {stage} ({flops:.1e} flops): {source} is needed again and was "
            "deleted; compute.keep = [L, Linv] keeps single tiles repairable"
        )
        self.on_event(Message(message=text))

    def _solve_stages(self, wanted: Factor) -> None:
        base, identifier, ridge = wanted.base, wanted.id, wanted.ridge
        self._require_inputs(base, identifier)
        grid = self.plan.grid
        factor = CholeskyGraph(grid, self.plan.workers, ridge)
        paths = {"gram": self.gram(wanted.system), **{name: f"{base}/{name}" for name in ("L", "Linv", "P")}}
        paths |= {name: f"{base}/partials/{name}" for name in factor.partials}
        context = self.context(paths)
        sums = tuple(f"partials/{name}" for name in factor.partials)
        stages: list[tuple[Stage, tuple[str, ...], Graph, tuple[str, ...]]] = [
            (Stage.FACTOR, ("L", *factor.partials), factor, sums),
            (Stage.LINV, ("Linv",), TriangularInverseGraph(grid), ("L",)),
            (Stage.INVERT, ("P",), InverseGraph(grid), ()),
        ]
        for stage, targets, graph, obsolete in stages:
            if self.workspace.stage_done(stage, identifier) is None:
                for name in targets:
                    self.tiles(paths[name], self.plan.dtype)
                stats = self.run(graph, context, set(targets), stage)
                self.workspace.mark_stage(stage, identifier, {"base": base, "ridge": ridge}, vars(stats))
            self._drop(base, *obsolete)

    def _drop(self, base: str, *names: str) -> None:
        for name in names:
            if name not in self.keep and self.workspace.has(f"{base}/{name}"):
                self.workspace.delete(f"{base}/{name}")

    def _certify(self, factor: Factor) -> dict[str, Any]:
        """``||(G + ridge I) P z - z|| / ||z||`` on random probes, against 10 eps kappa."""
        base, ridge = factor.base, factor.ridge
        n = self.plan.grid.n
        z = np.random.default_rng(0).standard_normal((n, _PROBES))
        probe = self.rows(f"{base}/probe", _PROBES)
        for i in range(self.plan.grid.count):
            probe.write(i, 0, z[self.plan.grid.rows(i)])
        self.workspace.delete(f"{base}/image")
        image = self.rows(f"{base}/image", _PROBES)
        paths = {"P": f"{base}/P", "operand": f"{base}/probe", "image": f"{base}/image"}
        graph = row_graph(self.plan.grid, "image", product_rows, stage=Stage.CERTIFY)
        self.run(graph, self.context(paths, dtype="float64"), {"image"}, Stage.CERTIFY)
        y = np.concatenate([image.read(i, 0) for i in range(image.grid[0])])
        residual = factor.system.times(self.dataset, y) + ridge * y - z
        relative = float((np.linalg.norm(residual, axis=0) / np.linalg.norm(z, axis=0)).max())
        for name in ("probe", "image"):
            self.workspace.delete(f"{base}/{name}")
        kappa = condition_number(spectrum(self.workspace, self.dataset, factor.system), ridge)
        tolerance = certificate_tolerance(self.plan.dtype, kappa)
        certificate = {
            "residual": relative,
            "tolerance": tolerance,
            "condition": kappa,
            "dtype": self.plan.dtype,
            "ridge": ridge,
        }
        if not relative <= tolerance:
            raise NumericalError(
                f"the inverse at ridge {ridge:g} has relative residual {relative:.2e}, over the tolerance "
                f"{tolerance:.2e}; use dtype float64 or a larger ridge."
            )
        return certificate

    def discard_inverse(self, factor: Factor, *, keep_products: bool = False) -> None:
        """Delete P, so that only chosen ridges keep n^2 bytes; also what hangs on it, unless kept."""
        for stage in (Stage.CERTIFIED, *reversed(TILE_STAGES)):
            self.workspace.reopen_stage(stage, factor.id)
        if keep_products:
            self.workspace.delete(factor.path)
            return
        self.workspace.delete(factor.base)
        self.workspace.delete(f"crosses/{factor.id}")

    def diagonal(self, factor: Factor) -> str:
        """``diag(P)`` as an n x 1 array; returns its path."""
        path = f"{factor.base}/diagonal"
        return self.row_stage(path, 1, diagonal_rows, {"P": f"{factor.base}/P"}, "float64")

    def features(self) -> tuple[str, int]:
        """Path and dimension of the item features."""
        path = layout.features(str(self.embedding))
        return path, open_rows(self.workspace, path).shape[1]

    def semantic(self, reg_f: float) -> str:
        """``M``, ``a`` and ``V`` for one ``reg_f`` (woodbury route); returns their folder."""
        base = f"semantic/{self.embedding}/{self.plan.grid.tile}/{reg_f!r}"
        if self.workspace.stage_done(Stage.SEMANTIC, fingerprint(base)) is not None:
            return base
        source, d = self.features()
        ChunkArray.create(self.workspace, f"{base}/M", shape=(d, d), chunks=(d, d), dtype="float64")
        self.rows(f"{base}/a", 1)
        self.rows(f"{base}/V", d)
        paths = {"embeddings": source, **{name: f"{base}/{name}" for name in ("M", "a", "V")}}
        context = self.context(paths, SemanticParams(reg_f))
        inverse = semantic_inverse_graph(self.plan.grid)
        self.run(inverse, context, {"M"}, "semantic_inverse")
        rows = row_graph(self.plan.grid, "V", semantic_rows)
        stats = self.run(rows, context, {"V"}, "semantic_rows")
        params = {"embedding": self.embedding, "reg_f": reg_f, "base": base}
        self.workspace.mark_stage(Stage.SEMANTIC, fingerprint(base), params, vars(stats))
        return base

    def cross(self, factor: Factor) -> str:
        """``Q = P F'``, n x d; returns its path."""
        source, d = self.features()
        path = f"crosses/{factor.id}/{self.embedding}/Q"
        paths = {"P": f"{factor.base}/P", "operand": source}
        return self.row_stage(path, d, product_rows, paths, self.plan.dtype)

    def product_diagonal(self, factor: Factor, reg_f: float) -> str:
        """``pc = diag(P C)``, n x 1; returns its path."""
        semantic = self.semantic(reg_f)
        paths = {
            "diagonal": self.diagonal(factor),
            "Q": self.cross(factor),
            "a": f"{semantic}/a",
            "V": f"{semantic}/V",
        }
        path = f"crosses/{factor.id}/{self.embedding}/pc/{reg_f!r}"
        return self.row_stage(path, 1, product_diagonal_rows, paths, "float64")

    def row_stage(
        self, path: str, columns: int, operation: Compute, paths: dict[str, str], dtype: str
    ) -> str:
        """Make an n x columns array by item tile with an operation of the assemble stage; its path."""
        identifier = fingerprint(path)
        if self.workspace.stage_done(Stage.ASSEMBLE, identifier) is None or not self.workspace.has(path):
            self.rows(path, columns, dtype)
            graph = row_graph(self.plan.grid, "target", operation)
            stats = self.run(graph, self.context({**paths, "target": path}), {"target"}, operation.__name__)
            self.workspace.mark_stage(Stage.ASSEMBLE, identifier, {"path": path}, vars(stats))
        return path

    def vector(self, path: str) -> Array:
        """An n x 1 array as a vector."""
        array = ChunkArray.open(self.workspace, path)
        return np.concatenate([array.read(i, 0)[:, 0] for i in range(array.grid[0])])

    def column_scale(self, factor: Factor, reg_f: float | None, reg_e: float) -> Array:
        """``c`` of one model; ``-1 / diag(P)`` without text."""
        diagonal = self.vector(self.diagonal(factor))
        if reg_f is None or reg_e == 0:
            return np.asarray(-1.0 / diagonal)
        a = self.vector(f"{self.semantic(reg_f)}/a")
        pc = self.vector(self.product_diagonal(factor, reg_f))
        return np.asarray(column_scale(diagonal, pc, a, reg_e))
