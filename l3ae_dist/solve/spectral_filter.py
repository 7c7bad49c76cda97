"""GF-CF: the normalised Gram matrix in tiles, and its first singular vectors through dask_ml.

``N = D_u^-1/2 X D^-1/2``; users and items without interactions have a zero row or column, not a division
by zero. Shen et al., "How powerful is graph convolution for recommendation?", CIKM 2021.
"""

from functools import cached_property

import numpy as np
from scipy import sparse

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.graphs.gram import GramParams, gram_graph
from l3ae_dist.graphs.score_terms import MatrixTerm, ProductTerm, ScoreTerms
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.closed_form import inverse_root
from l3ae_dist.solve.artifact_store import ArtifactStore
from l3ae_dist.solve.certificate import Certificate, relative_residual
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.layout import RootPaths, SpectralPaths
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.vectors import Vector, write_vector
from l3ae_dist.storage.workspace import Workspace

_USERS = 65536
_BLOCK_BYTES = 32 * 2**20
# Randomised SVD with power iterations: each one sharpens the spectrum (Halko, Martinsson, Tropp, 2011).
_ITERATIONS = 6
# Largest residual of the singular vectors: the filter is a choice of rank, not a solution.
_TOLERANCE = 0.05


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
        roots = self._roots  # first: damaged ones are made again also where all that follows is there
        paths = self._vectors(spec.rank, roots)
        product = ProductTerm(paths.left, paths.right, spec.alpha, "collaborative")
        return ScoreTerms(spec.name, (MatrixTerm(self._gram(roots), 1.0),), (product,), 0.0)

    def certificate(self, spec: ModelSpec) -> Certificate:
        """Return ``||N'N V - V S^2|| / ||V S^2||`` of the singular vectors, measured when they were made."""
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
        parts = [self._dataset.id, self._store.grid.tile, rank, _ITERATIONS]
        return SpectralPaths.of(fingerprint(parts))

    def _vectors(self, rank: int, roots: RootPaths) -> SpectralPaths:
        """Make ``D^-1/2 V`` and ``D^1/2 V``, n x rank by item tile; return their folder."""
        paths, store = self._paths(rank), self._store
        if store.is_done(Stage.SPECTRAL, paths.id):
            return paths
        v, values = self._truncated_svd(rank)
        root = Vector(self._workspace, roots.items)[:]
        for path, scale in ((paths.left, root), (paths.right, inverse_root(root) ** 2)):
            array = store.rows(path, v.shape[1])
            for i in range(store.grid.count):  # never n x rank beside V
                rows = store.grid.rows(i)
                array.write(i, 0, v[rows] * scale[rows, None], epoch=store.settings.epoch)
        certificate = self._certify(v, values)
        made_from = {"rank": rank, "base": paths.base}
        self._workspace.mark_stage(Stage.SPECTRAL, paths.id, made_from, dict(certificate.document()))
        return paths

    def _truncated_svd(self, rank: int) -> tuple[Array, Array]:
        """Return right singular vectors (n, at most rank) and values; those of value zero are left out."""
        import dask
        import dask.array as da
        from dask_ml.decomposition import TruncatedSVD

        dataset = self._dataset
        rows = max(1, _BLOCK_BYTES // (8 * dataset.n_items))
        make = dask.delayed(_dense_rows, pure=True)
        parts = ((start, min(start + rows, dataset.n_users)) for start in range(0, dataset.n_users, rows))
        blocks = [
            da.from_delayed(
                make(self._workspace.url, dataset.id, self._roots.base, start, stop),
                shape=(stop - start, dataset.n_items),
                dtype=np.float64,
            )
            for start, stop in parts
        ]
        most = min(rank, dataset.n_items - 1, dataset.n_users)
        if most < 1:
            return np.zeros((dataset.n_items, 1)), np.zeros(1)
        svd = TruncatedSVD(most, algorithm="randomized", n_iter=_ITERATIONS, random_state=0)
        with dask.config.set(scheduler=self._store.dask_scheduler()):
            svd.fit(da.concatenate(blocks))
        values = np.asarray(svd.singular_values_)
        keep = values > 1e-9 * values[0]
        return np.asarray(svd.components_)[keep].T, values[keep]

    def _certify(self, v: Array, values: Array) -> Certificate:
        """Compare ``N'N V``, streamed from the data, with ``V S^2``."""
        image, dataset = np.zeros_like(v), self._dataset
        for start in range(0, dataset.n_users, _USERS):
            stop = min(start + _USERS, dataset.n_users)
            rows = normalised_rows(self._workspace, dataset.id, self._roots.base, start, stop)
            image += rows.T @ (rows @ v)
        squares = values**2
        return Certificate(
            residual=relative_residual(image, v * squares, norm=float(np.linalg.norm(squares))),
            tolerance=_TOLERANCE,
            condition=float(values[0] / values[-1]) if len(values) else 1.0,
            dtype="float64",
            ridge=0.0,
        )


def _dense_rows(url: str, dataset: str, roots: str, start: int, stop: int) -> Array:
    """Read rows of N as a dense block."""
    return np.asarray(normalised_rows(Workspace.open(url), dataset, roots, start, stop).toarray())


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
