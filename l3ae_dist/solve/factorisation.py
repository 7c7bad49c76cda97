"""The chain of factorisation: ``G``, its Cholesky factor L, ``L^-1`` and ``P = (G + ridge I)^-1``.

Each step is made once and skipped when it is complete. Which tiles there are, and in which order, is the
business of :mod:`l3ae_dist.graphs`; :mod:`l3ae_dist.runtime` runs them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.linear_systems import INTERACTIONS, System, gram_name, spectrum
from l3ae_dist.errors import DamagedTileError
from l3ae_dist.graphs.assemble import diagonal_rows, product_rows, row_graph
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.gram import GramParams, gram_graph
from l3ae_dist.graphs.inverse import InverseGraph, TriangularInverseGraph
from l3ae_dist.graphs.tasks import Graph
from l3ae_dist.linalg.spectral import condition_number
from l3ae_dist.solve.artifact_store import ArtifactStore
from l3ae_dist.solve.certificate import Certificate, certify, probes, require
from l3ae_dist.solve.reuse import reuse_tiles
from l3ae_dist.storage import layout
from l3ae_dist.storage.layout import FactorPaths
from l3ae_dist.storage.stages import TILE_STAGES, Stage

_PROBES = 4
# How many damaged tiles one solve repairs by itself before it gives up on the disk.
_REPAIRS = 5


@dataclass(frozen=True, slots=True)
class Factor:
    """An inverse ``P`` in the workspace: the arrays of its folder, its ridge and its matrix G."""

    paths: FactorPaths
    ridge: float
    system: System = INTERACTIONS

    @property
    def id(self) -> str:
        """Id of the completion records."""
        return self.paths.id

    @property
    def path(self) -> str:
        """Place of the tiles of the inverse."""
        return self.paths.inverse


@dataclass(frozen=True, slots=True)
class _TileStage:
    """One step of the chain: its graph, the arrays that it writes, and those that nothing needs after it."""

    stage: Stage
    graph: Graph
    targets: tuple[str, ...]
    obsolete: tuple[str, ...] = ()


class Factorisation:
    """Makes Gram matrices and certified inverses of one dataset.

    Parameters
    ----------
    store
        Where they are made.
    dataset
        Interactions X of ``G = X'X + alpha^2 F'F``.
    """

    def __init__(self, store: ArtifactStore, dataset: Dataset) -> None:
        self._store = store
        self._dataset = dataset
        self._workspace = store.workspace
        self._keep = store.settings.keep

    def gram_name(self, system: System = INTERACTIONS) -> tuple[str, str]:
        """Return id and dtype of the tiles of a Gram matrix."""
        store = self._store
        return gram_name(self._dataset, system, store.grid.tile, store.dtype)

    def gram(self, system: System = INTERACTIONS) -> str:
        """Make sure that the lower tiles of a Gram matrix exist, and return their path."""
        identifier, dtype = self.gram_name(system)
        path, store = layout.gram(identifier), self._store
        if store.is_done(Stage.GRAM, identifier):
            return path
        settings = store.settings
        reused = reuse_tiles(
            self._dataset,
            system,
            store.tiles(path, dtype),
            store.dtype,
            epoch=settings.epoch,
            on_event=settings.on_event,
        )
        paths = {"gram": path}
        if system.features is not None:
            paths["features"] = layout.features(system.features)
        source = self._dataset.id if system.interactions else None
        context = store.context(paths, GramParams(source, system.alpha), dtype=dtype)
        stats = store.run(gram_graph(store.grid), context, {"gram"}, Stage.GRAM)
        made_from = {
            "dataset": source,
            "alpha": system.alpha,
            "features": system.features,
            "tile": store.grid.tile,
            "dtype": dtype,
            "parent_tiles": reused,
        }
        store.mark(Stage.GRAM, identifier, made_from, stats)
        return path

    def factor(self, ridge: float, system: System = INTERACTIONS) -> Factor:
        """Name an inverse, whether it exists or not."""
        return Factor(FactorPaths.of(self.gram_name(system)[0], ridge, self._store.dtype), ridge, system)

    def inverse(self, ridge: float, system: System = INTERACTIONS) -> Factor:
        """Make sure that ``P = (G + ridge I)^-1`` exists and is certified; n^3 flops.

        L and Linv are deleted unless they are kept.

        Raises
        ------
        NumericalError
            When a pivot is not positive, or the residual is over its tolerance.
        """
        factor = self.factor(ridge, system)
        if not all(self._store.is_done(*artifact) for artifact in self._steps(factor)):
            self._solve(factor)
        if not self._store.is_done(Stage.CERTIFIED, factor.id):
            self._record_certified(factor)
        self._drop(factor.paths.cholesky, factor.paths.cholesky_inverse)
        return factor

    def certificate(self, factor: Factor) -> Certificate:
        """Return the certificate of a finished inverse."""
        record = self._workspace.require_stage(Stage.CERTIFIED, factor.id)
        return Certificate.from_document(record.stats["certificate"])

    def diagonal(self, factor: Factor) -> str:
        """Make sure that ``diag(P)``, n x 1, exists, and return its path."""
        path = factor.paths.diagonal
        return self._store.make_rows(path, 1, diagonal_rows, {"P": factor.path}, "float64")

    def discard(self, factor: Factor, *, keep_products: bool = False) -> None:
        """Delete P, so that only chosen ridges keep n^2 bytes; also what hangs on it, unless kept."""
        for stage in (Stage.CERTIFIED, *reversed(TILE_STAGES)):
            self._workspace.reopen_stage(stage, factor.id)
        if keep_products:
            self._workspace.delete(factor.path)
            return
        self._workspace.delete(factor.paths.base)
        self._workspace.delete(layout.Kind.CROSSES.path(factor.id))

    # ---- the tile stages

    def _steps(self, factor: Factor) -> Iterator[tuple[Stage, str]]:
        yield Stage.GRAM, self.gram_name(factor.system)[0]
        yield from ((stage, factor.id) for stage in TILE_STAGES)

    def _solve(self, factor: Factor) -> None:
        """Run all tile stages; a tile found damaged is made again, from the earliest stage that is needed."""
        for attempt in range(_REPAIRS + 1):
            try:
                self._run_stages(factor)
                return
            except DamagedTileError as error:
                if attempt == _REPAIRS or layout.vector_maker(error.path) is not None:
                    raise

    def _run_stages(self, factor: Factor) -> None:
        self._require_inputs(factor)
        store, folder = self._store, factor.paths
        cholesky = CholeskyGraph(store.grid, store.plan.workers, factor.ridge)
        paths = {"gram": self.gram(factor.system)}
        paths |= {"L": folder.cholesky, "Linv": folder.cholesky_inverse, "P": folder.inverse}
        paths |= {name: folder.partial(name) for name in cholesky.partials}
        context = store.context(paths)
        for step in (
            _TileStage(Stage.FACTOR, cholesky, ("L", *cholesky.partials), cholesky.partials),
            _TileStage(Stage.LINV, TriangularInverseGraph(store.grid), ("Linv",), ("L",)),
            _TileStage(Stage.INVERT, InverseGraph(store.grid), ("P",)),
        ):
            if not store.is_done(step.stage, factor.id):
                for name in step.targets:
                    store.tiles(paths[name], store.dtype)
                stats = store.run(step.graph, context, set(step.targets), step.stage)
                store.mark(step.stage, factor.id, {"base": folder.base, "ridge": factor.ridge}, stats)
            self._drop(*(paths[name] for name in step.obsolete))

    def _require_inputs(self, factor: Factor) -> None:
        """Reopen the stage before one that is to run and whose input was deleted."""
        earliest = None
        for stage, source, maker in ((Stage.INVERT, "Linv", Stage.LINV), (Stage.LINV, "L", Stage.FACTOR)):
            undone = not self._store.is_done(stage, factor.id)
            if undone and not self._workspace.has(factor.paths.array(source)):
                if self._store.is_done(maker, factor.id):
                    earliest = (maker, source)
                self._workspace.reopen_stage(maker, factor.id)
        if earliest is not None:
            self._say_redone(*earliest)

    def _say_redone(self, stage: Stage, source: str) -> None:
        plan = self._store.plan
        flops = next(planned.flops for planned in plan.stages if planned.name == stage)
        self._store.say(
            f"the earliest stage to redo is {stage} ({flops:.1e} flops): {source} is needed again and was "
            "deleted; compute.keep = [L, Linv] keeps single tiles repairable"
        )

    def _drop(self, *paths: str) -> None:
        """Delete arrays that nothing needs any more, unless the settings keep them."""
        for path in paths:
            if layout.name_of(path) not in self._keep and self._workspace.has(path):
                self._workspace.delete(path)

    # ---- certification

    def _record_certified(self, factor: Factor) -> None:
        """Measure ``||(G + ridge I) P z - z|| / ||z||`` on random probes, and record that it passed."""
        store, folder = self._store, factor.paths
        z = probes(store.grid.n, _PROBES)
        store.write_rows(folder.probe, z)
        self._workspace.delete(folder.image)
        store.rows(folder.image, _PROBES)
        paths = {"P": folder.inverse, "operand": folder.probe, "image": folder.image}
        graph = row_graph(store.grid, "image", product_rows, stage=Stage.CERTIFY)
        store.run(graph, store.context(paths, dtype="float64"), {"image"}, Stage.CERTIFY)
        y = store.read_rows(folder.image)
        kappa = condition_number(spectrum(self._workspace, self._dataset, factor.system), factor.ridge)
        certificate = certify(
            lambda vectors: factor.system.times(self._dataset, vectors),
            y, z, condition=kappa, dtype=store.dtype, ridge=factor.ridge,
        )  # fmt: skip
        store.delete(folder.probe, folder.image)
        gram = self.gram_name(factor.system)[0]
        made_from = {"gram": gram, "ridge": factor.ridge, "dtype": store.dtype, "base": folder.base}
        stats = {"certificate": require(certificate).document()}
        self._workspace.mark_stage(Stage.CERTIFIED, factor.id, made_from, stats)
