"""The chain of factorisation: ``G``, its Cholesky factor L, ``L^-1`` and ``P = (G + ridge I)^-1``.

Each step is made once and skipped when it is complete. Which tiles there are, and in which order, is the
business of :mod:`l3ae_dist.graphs`; :mod:`l3ae_dist.runtime` runs them.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from uuid import uuid4

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.linear_systems import INTERACTIONS, System, gram_name, spectrum
from l3ae_dist.errors import DamagedTileError, LostTileError
from l3ae_dist.graphs.assemble import diagonal_rows, product_rows, row_graph
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.context import StageContext, Unwritten
from l3ae_dist.graphs.gram import GramParams, gram_graph
from l3ae_dist.graphs.inverse import InverseGraph, TriangularInverseGraph
from l3ae_dist.graphs.tasks import Graph
from l3ae_dist.linalg.spectral import condition_number
from l3ae_dist.runtime.run_graph import StageStats
from l3ae_dist.solve.artifact_store import ArtifactStore
from l3ae_dist.solve.certificate import Certificate, certify, probes, require
from l3ae_dist.solve.factor import Factor
from l3ae_dist.solve.inverse_updates import InverseUpdates, stored_correction
from l3ae_dist.solve.reuse import reuse_tiles
from l3ae_dist.solve.sound_inputs import inputs_first
from l3ae_dist.storage import layout
from l3ae_dist.storage.layout import FactorPaths
from l3ae_dist.storage.stages import TILE_STAGES, Stage

_PROBES = 4
# How many damaged tiles one solve repairs by itself before it gives up on the disk.
_REPAIRS = 5


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
        Interactions X of ``G = X'WX + Lambda + alpha^2 F'F``.
    """

    def __init__(self, store: ArtifactStore, dataset: Dataset) -> None:
        self._store = store
        self._dataset = dataset
        self._workspace = store.workspace
        self._keep = store.settings.keep
        self._updates = InverseUpdates(store, dataset)

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
        params = GramParams(source, system.alpha, beta=system.beta, p=system.p, weighted=system.weighted)
        context = store.context(paths, params, dtype=dtype)
        stats = store.run(gram_graph(store.grid), context, {"gram"}, Stage.GRAM)
        made_from = {
            "dataset": source,
            "alpha": system.alpha,
            "beta": system.beta,
            "p": system.p,
            "features": system.features,
            "tile": store.grid.tile,
            "dtype": dtype,
            "parent_tiles": reused,
        }
        store.mark(Stage.GRAM, identifier, made_from, stats)
        return path

    def factor(self, ridge: float, system: System = INTERACTIONS) -> Factor:
        """Name an inverse, whether it exists or not."""
        gram, store = self.gram_name(system)[0], self._store
        factor = Factor(FactorPaths.of(gram, ridge, store.dtype, store.arithmetic), ridge, system)
        if not store.settings.updates or system != INTERACTIONS or self._is_solved(factor):
            return factor
        return replace(factor, correction=stored_correction(self._workspace, factor.id))

    def _is_solved(self, factor: Factor) -> bool:
        """Tell whether an inverse has tiles of its own, and its certificate."""
        return self._store.is_done(Stage.CERTIFIED, factor.paths.id)

    def inverse(self, ridge: float, system: System = INTERACTIONS) -> Factor:
        """Make sure that ``P = (G + ridge I)^-1`` exists and is certified; n^3 flops.

        L and Linv are deleted unless they are kept.

        Raises
        ------
        NumericalError
            When a pivot is not positive, or the residual is over its tolerance.
        """
        factor = self._updated(self.factor(ridge, system))
        if factor.correction is not None:
            return factor
        with inputs_first(self._workspace, self.folders(factor)):
            if not all(self._store.is_done(*artifact) for artifact in self._steps(factor)):
                self._solve(factor)
            if not self._store.is_done(Stage.CERTIFIED, factor.id):
                self._record_certified(factor)
        self._drop(factor.paths.cholesky, factor.paths.cholesky_inverse)
        return factor

    def _updated(self, factor: Factor) -> Factor:
        """Make an inverse that was not solved from the one that the settings name, if that is possible."""
        base = self._store.settings.update
        if base is None or factor.correction or factor.system != INTERACTIONS or self._is_solved(factor):
            return factor
        before = FactorPaths.holding(base.inverse)
        gram, store = layout.identifier_of(base.inverse), self._store
        if before != FactorPaths.of(gram, factor.ridge, store.dtype, store.arithmetic):
            return factor  # of another model that is measured beside
        if not store.is_done(Stage.CERTIFIED, before.id):
            store.say("the system is solved anew: the inverse before it is not complete here")
            return factor
        with inputs_first(self._workspace, [*self._dataset.paths.folders, before.base]):
            return replace(factor, correction=self._updates.make(factor.id, base, factor.ridge))

    def cross(self, factor: Factor, before: str, embedding: str) -> str:
        """Make sure that ``Q' = P' F'`` of a changed inverse exists, and return its path.

        Parameters
        ----------
        factor
            The changed inverse.
        before
            Place of ``Q = P F'`` of the one that it is changed from.
        embedding
            Id of F.
        """
        assert factor.correction is not None
        return self._updates.cross(factor.correction, factor.id, before, embedding)

    def folders(self, factor: Factor) -> list[str]:
        """List where everything is that an inverse is made from, and the inverse itself."""
        if factor.correction is not None:
            own, before = factor.correction.paths.base, factor.before.paths.base
            return [*self._dataset.paths.folders, before, own]
        features = factor.system.features
        made = [layout.gram(self.gram_name(factor.system)[0]), factor.paths.base]
        if features is not None:
            made.append(layout.features(features))
        return [*self._dataset.paths.folders, *made]

    def certificate(self, factor: Factor) -> Certificate:
        """Return the certificate of a finished inverse."""
        if factor.correction is not None:
            return self._updates.certificate(factor.correction)
        record = self._workspace.require_stage(Stage.CERTIFIED, factor.id)
        return Certificate.from_document(record.stats["certificate"])

    def diagonal(self, factor: Factor) -> str:
        """Make sure that ``diag(P)``, n x 1, exists, and return its path."""
        if factor.correction is not None:
            return self._updates.diagonal(factor.correction)
        path = factor.paths.diagonal
        return self._store.make_rows(path, 1, diagonal_rows, {"P": factor.path}, "float64")

    def discard(self, factor: Factor, *, keep_products: bool = False) -> None:
        """Delete P, so that only chosen ridges keep n^2 bytes; also what hangs on it, unless kept."""
        for stage in (Stage.CERTIFIED, *reversed(TILE_STAGES)):
            self._workspace.reopen_stage(stage, factor.id)
        if keep_products:
            self._workspace.drop(factor.path)
            return
        self._workspace.drop(factor.paths.base)
        self._workspace.drop(layout.Kind.CROSSES.path(factor.id))

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
            except LostTileError as error:
                if attempt == _REPAIRS:
                    raise
                self._store.write_all(str(error))
            except DamagedTileError as error:
                if attempt == _REPAIRS or layout.vector_maker(error.path) is not None:
                    raise
                self._store.write_all("a tile is damaged")

    def _run_stages(self, factor: Factor) -> None:
        self._mark_finished(factor)
        self._require_inputs(factor)
        store, folder = self._store, factor.paths
        grid, workers, block = store.grid, store.plan.workers, store.plan.block
        cholesky = CholeskyGraph(grid, workers, factor.ridge, block)
        triangular = TriangularInverseGraph(grid, workers, block)
        paths = {"gram": self.gram(factor.system)}
        paths |= {"L": folder.cholesky, "Linv": folder.cholesky_inverse, "P": folder.inverse}
        for graph in (cholesky, triangular):
            paths |= {name: folder.partial(graph.sums, name) for name in graph.partials}
        self._drop_sums(folder, {folder.sums(graph.sums) for graph in (cholesky, triangular)})
        self._run_steps(
            factor,
            store.context(paths),
            (
                _TileStage(Stage.FACTOR, cholesky, ("L", *cholesky.partials), cholesky.partials),
                _TileStage(
                    Stage.LINV,
                    triangular,
                    ("Linv", *triangular.partials),
                    ("L", *triangular.partials),
                ),
                _TileStage(Stage.INVERT, InverseGraph(grid, workers, block), ("P",)),
            ),
        )
        self._drop_sums(folder)

    def _run_steps(self, factor: Factor, context: StageContext, steps: Collection[_TileStage]) -> None:
        """Run the steps that are not complete.

        A step of which tiles stay in memory is not recorded: for everyone who reads the workspace it is not
        complete, until P is, which needs none of them any more.
        """
        store, solve = self._store, uuid4().hex
        made_from = {"base": factor.paths.base, "ridge": factor.ridge}
        in_memory: dict[str, tuple[Stage, StageStats]] = {}
        held: set[str] = set()
        superfluous: list[str] = []
        for step in steps:
            if not store.is_done(step.stage, factor.id):
                for name in step.targets:
                    store.tiles(context.paths[name], store.dtype)
                names = held | store.in_memory.intersection(step.targets)
                store.settings.kept.in_memory = names | in_memory.keys()  # those given up are made again too
                here = replace(context, unwritten=Unwritten(solve, frozenset(names)))
                stats = store.run(step.graph, here, set(step.targets), step.stage)
                if stats.unwritten:
                    in_memory[step.targets[0]] = step.stage, stats
                    held.add(step.targets[0])
                else:
                    store.mark(step.stage, factor.id, made_from, stats)
            superfluous += (context.paths[name] for name in step.obsolete)
            held.difference_update(step.obsolete)
            if step.targets[0] not in in_memory:  # a run that is killed goes on after this step
                self._drop(*superfluous)
                superfluous.clear()
        store.settings.kept.in_memory = ()
        self._drop(*(context.paths[name] for name in in_memory))  # what memory had no room for
        for stage, stats in in_memory.values():
            store.mark(stage, factor.id, made_from, stats)

    def _drop_sums(self, folder: FactorPaths, used: Collection[str] = ()) -> None:
        """Delete partial sums: those of a run that was killed and cut its sums at other panels, or all."""
        depth = folder.partials.count("/") + (2 if used else 1)
        keys = (key.split("/") for key in self._workspace.blobs.list(folder.partials))
        for path in sorted({"/".join(key[:depth]) for key in keys if len(key) > depth}.difference(used)):
            self._workspace.drop(path)

    def _mark_finished(self, factor: Factor) -> None:
        """Write lost records of steps whose tiles are all there, or are not needed after a later step.

        What a killed run had written of tiles that it kept in memory is deleted once P is complete.
        """
        finished, made_from = False, {"base": factor.paths.base, "ridge": factor.ridge}
        for stage, name in ((Stage.INVERT, "P"), (Stage.LINV, "Linv"), (Stage.FACTOR, "L")):
            done = self._store.is_done(stage, factor.id)
            path = factor.paths.array(name)
            if not done and finished and not self._is_whole(path) and self._is_needless(name, factor):
                self._drop(path)
            deleted = finished and name not in self._keep and not self._workspace.has(path)
            if not done and (deleted or self._is_whole(path)):
                self._store.mark(stage, factor.id, made_from, StageStats())
                done = True
            finished = finished or done

    def _is_needless(self, name: str, factor: Factor) -> bool:
        """Tell whether what was made from L or Linv is complete, and there."""
        done = self._store.is_done(Stage.INVERT, factor.id)
        return done or (name == "L" and self._is_whole(factor.paths.array("Linv")))

    def _is_whole(self, path: str) -> bool:
        """Tell whether every lower tile of an array of this grid is finished."""
        if not self._workspace.has(path):
            return False
        array, grid = self._store.open(path), self._store.grid
        alike = array.shape == (grid.n, grid.n) and array.chunks == (grid.tile, grid.tile)
        return alike and len(array.done()) == grid.lower_count

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
                self._workspace.drop(path)

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
            y, z, condition=kappa, dtype=store.dtype, ridge=factor.ridge, arithmetic=store.arithmetic,
        )  # fmt: skip
        store.delete(folder.probe, folder.image)
        gram = self.gram_name(factor.system)[0]
        made_from = {
            "gram": gram,
            "ridge": factor.ridge,
            "base": folder.base,
            "dtype": store.dtype,
            "arithmetic": store.arithmetic,
        }
        stats = {"certificate": require(certificate).document()}
        self._workspace.mark_stage(Stage.CERTIFIED, factor.id, made_from, stats)
