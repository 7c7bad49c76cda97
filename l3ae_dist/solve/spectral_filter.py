"""GF-CF: the normalised Gram matrix in tiles, and the first singular vectors of what it is made from.

``N = D_u^-1/2 X D^-1/2``; users and items without interactions have a zero row or column, not a division
by zero. Shen et al., "How powerful is graph convolution for recommendation?", CIKM 2021. How the vectors are
found: docs/decisions/0016.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from scipy import sparse

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import BudgetError, NumericalError
from l3ae_dist.graphs.gram import GramParams, gram_graph
from l3ae_dist.graphs.score_terms import MatrixTerm, ProductTerm, ScoreTerms
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.closed_form import inverse_root
from l3ae_dist.linalg.eigen import Leading, lanczos_bytes, leading_eigenvectors, singular_vectors
from l3ae_dist.planning.worker_memory import INTERPRETER_BYTES
from l3ae_dist.solve.artifact_store import ArtifactStore
from l3ae_dist.solve.certificate import Certificate
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.layout import RootPaths, SpectralPaths
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.vectors import Vector, write_vector
from l3ae_dist.storage.workspace import Workspace
from l3ae_dist.units import mebibytes

_USERS = 65536
# Of an entry of N in memory: its value, its column, and the copy that is being made of it.
_ENTRY_BYTES = 24
_METHOD = "lanczos"
# Singular values up to this share of the largest are zero, as in the formula in memory.
_LEAST = 1e-9
# Largest defect of the singular vectors: what rounding leaves of a few thousand products.
_TOLERANCE = 2048 * float(np.finfo(np.float64).eps)
# Angle by which rounding may turn the vectors before a word is said.
_TURNED = 1e-6


class SpectralFilter:
    """Makes GF-CF's matrices of one dataset.

    Parameters
    ----------
    store
        Where they are made.
    dataset
        Interactions X.
    """

    def __init__(self, store: ArtifactStore, dataset: Dataset) -> None:
        self._store = store
        self._dataset = dataset
        self._workspace = store.workspace

    def terms(self, spec: ModelSpec) -> ScoreTerms:
        """Make ``B = N'N + alpha D^-1/2 V V' D^1/2``, and return its terms."""
        self._room(spec.rank)  # before anything is made
        roots = self._roots  # first: damaged ones are made again also where all that follows is there
        paths = self._vectors(spec.rank, roots)
        product = ProductTerm(paths.left, paths.right, spec.alpha, "collaborative")
        return ScoreTerms(spec.name, (MatrixTerm(self._gram(roots), 1.0),), (product,), 0.0)

    def certificate(self, spec: ModelSpec) -> Certificate:
        """Return the certificate of the singular vectors: their defect, measured when they were made."""
        identifier = self._paths(spec.rank).id
        return Certificate.from_document(self._workspace.require_stage(Stage.SPECTRAL, identifier).stats)

    @cached_property
    def _roots(self) -> RootPaths:
        """Make ``D_u^-1/2`` and ``D^-1/2`` as vectors; return their folder. O(nnz)."""
        dataset, paths = self._dataset, RootPaths.of(self._dataset.id)
        if not self._store.is_done(Stage.ROOTS, dataset.id):
            users, items = np.zeros(dataset.n_users), np.zeros(dataset.n_items)
            for start in range(0, dataset.n_users, _USERS):
                stop = min(start + _USERS, dataset.n_users)
                rows = dataset.user_rows("train", start, stop).astype(np.float64)
                users[start:stop] = np.asarray(rows.sum(axis=1)).ravel()
                items += np.asarray(rows.sum(axis=0)).ravel()
            write_vector(self._workspace, paths.users, inverse_root(users))
            write_vector(self._workspace, paths.items, inverse_root(items))
            self._workspace.mark_stage(Stage.ROOTS, dataset.id, {}, {})
        return paths

    def _gram(self, roots: RootPaths) -> str:
        """Make ``N'N``, lower tiles; return its path."""
        store, dataset = self._store, self._dataset
        identifier = fingerprint(["normalised", dataset.id, store.grid.tile, store.dtype])
        path = layout.gram(identifier)
        if not store.is_done(Stage.GRAM, identifier):
            store.tiles(path, store.dtype)
            context = store.context({"gram": path}, GramParams(dataset.id, roots=roots.base))
            stats = store.run(gram_graph(store.grid), context, {"gram"}, Stage.GRAM)
            store.mark(Stage.GRAM, identifier, {"dataset": dataset.id}, stats)
        return path

    def _paths(self, rank: int) -> SpectralPaths:
        parts = [self._dataset.id, self._store.grid.tile, rank, _METHOD]
        return SpectralPaths.of(fingerprint(parts))

    def _vectors(self, rank: int, roots: RootPaths) -> SpectralPaths:
        """Make ``D^-1/2 V`` and ``D^1/2 V``, n x rank by item tile; return their folder."""
        paths, store = self._paths(rank), self._store
        if store.is_done(Stage.SPECTRAL, paths.id):
            return paths
        rows = NormalisedRows(self._workspace, self._dataset, roots, self._room(rank))
        found = self._singular_vectors(rank, rows)
        certificate = self._certify(found, rows, rank)
        root = Vector(self._workspace, roots.items)[:]
        for path, scale in ((paths.left, root), (paths.right, inverse_root(root) ** 2)):
            store.delete(path)  # chunks of a killed run may be of other vectors that span the same
            array = store.rows(path, found.vectors.shape[1])
            for i in range(store.grid.count):  # never n x rank beside V
                tile = store.grid.rows(i)
                array.write(i, 0, found.vectors[tile] * scale[tile, None], epoch=store.settings.epoch)
        made_from = {"rank": rank, "base": paths.base}
        self._workspace.mark_stage(Stage.SPECTRAL, paths.id, made_from, dict(certificate.document()))
        return paths

    def _most(self, rank: int) -> int:
        """The singular vectors that there can be: all of them where more are asked for."""
        return min(rank, self._dataset.n_items, self._dataset.n_users)

    def _room(self, rank: int) -> int:
        """Bytes that interactions may take beside the vectors.

        Raises
        ------
        BudgetError
            When the vectors alone do not fit.
        """
        n, rank = self._dataset.n_items, self._most(rank)
        needed, budget = INTERPRETER_BYTES + lanczos_bytes(n, rank), self._store.plan.memory_budget
        if needed > budget:
            raise BudgetError(
                f"the first {rank:,} singular vectors of {n:,} items need {mebibytes(needed)} in this "
                f"process, and the memory budget is {mebibytes(budget)}; raise compute.memory_budget or "
                "lower the rank."
            )
        return budget - needed

    def _singular_vectors(self, rank: int, rows: "NormalisedRows") -> Leading:
        """Compute the right singular vectors of N (at most ``rank``); those of value zero are left out."""
        n, most = self._dataset.n_items, self._most(rank)
        found = leading_eigenvectors(rows.gram_times, n, most)
        if not found.values[0] > 0:  # no interactions at all
            return Leading(np.zeros(1), np.zeros((n, 1)), 0.0)
        return singular_vectors(found, rows.blocks, _LEAST)

    def _certify(self, found: Leading, rows: "NormalisedRows", rank: int) -> Certificate:
        """Compare ``N'N V``, made anew from the data, with ``V S^2``; refuse what is not rounding."""
        first, last = float(found.values[0]), float(found.values[-1])
        defect = found.defect(rows.gram_times(found.vectors)) if first > 0 else 0.0
        condition = 1.0
        if found.next_value > 0:  # an error turns the vectors by so many times it
            condition = first / max(last - found.next_value, float(np.finfo(np.float64).eps) * first)
        if not defect <= _TOLERANCE:
            raise NumericalError(
                f"the first {rank} singular vectors have a defect of {defect:.2e}, over the tolerance "
                f"{_TOLERANCE:.2e}; check the data, or choose another rank."
            )
        if defect * condition > _TURNED:
            self._store.say(
                f"GF-CF's rank {rank} divides singular values that are equal to rounding "
                f"({last**0.5:.9g} and {found.next_value**0.5:.9g}): which of their vectors count is "
                "arbitrary, though always the same; a slightly different rank keeps them together"
            )
        return Certificate(defect, _TOLERANCE, condition, "float64", 0.0)


class NormalisedRows:
    """``N = D_u^-1/2 X D^-1/2`` by blocks of users, kept in memory where they fit.

    Parameters
    ----------
    workspace, dataset
        The interactions X.
    roots
        Folder of the vectors ``D_u^-1/2`` and ``D^-1/2``.
    room
        Bytes that they may take; otherwise each pass reads them anew.
    """

    def __init__(self, workspace: Workspace, dataset: Dataset, roots: RootPaths, room: int) -> None:
        self._workspace = workspace
        self._dataset = dataset
        self._roots = roots
        size = _ENTRY_BYTES * dataset.stats.nnz["train"] + 8 * dataset.n_users
        self._held: list[sparse.csr_matrix] | None = [] if size <= room else None

    def blocks(self) -> Iterator[sparse.csr_matrix]:
        """Yield N by blocks of users."""
        if self._held:
            yield from self._held
            return
        held, users = [], self._dataset.n_users
        for start in range(0, users, _USERS):
            stop = min(start + _USERS, users)
            rows = normalised_rows(self._workspace, self._dataset.id, self._roots.base, start, stop)
            if self._held is not None:
                held.append(rows)
            yield rows
        if self._held is not None:
            self._held = held

    def gram_times(self, vectors: Array) -> Array:
        """Compute ``N'N v`` of an (n, m) array; 4 nnz m flops."""
        out: Array = np.zeros_like(vectors)
        for rows in self.blocks():
            out += rows.T @ (rows @ vectors)
        return out


def normalised_rows(
    workspace: Workspace, dataset: str, roots: str, start: int, stop: int
) -> sparse.csr_matrix:
    """Read rows ``start`` to ``stop`` of ``N = D_u^-1/2 X D^-1/2``, float64.

    Parameters
    ----------
    workspace, dataset
        Id of the interactions X, and where they are.
    roots
        Folder of the vectors ``D_u^-1/2`` and ``D^-1/2``.
    start, stop
        Users.
    """
    rows = Dataset(workspace, dataset).user_rows("train", start, stop).astype(np.float64)
    users = Vector(workspace, RootPaths(roots).users)[start:stop]
    items = Vector(workspace, RootPaths(roots).items)[:]
    rows.data *= np.repeat(users, np.diff(rows.indptr)) * items[rows.indices]
    return rows
