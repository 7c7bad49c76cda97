"""Inverses of a dataset made from that of another one, by the users whose histories changed.

``P' = P - (Y K) Y'`` with ``Y = P Z'``: the tiles of P stay, and Z has the rows that leave and join. Every
change is from an inverse that was solved, never from a changed one, so that errors do not add up. The
certificate looks at random probes and at changed rows, which probes alone would miss.
"""

from collections.abc import Iterator

import numpy as np
from scipy import sparse
from scipy.linalg import LinAlgError

from l3ae_dist.data.changes import ChangedRows, changed_rows
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import dense, open_rows
from l3ae_dist.data.linear_systems import INTERACTIONS, spectrum
from l3ae_dist.errors import NumericalError
from l3ae_dist.graphs.assemble import diagonal_rows
from l3ae_dist.graphs.inverse_update import (
    ChangeParams,
    changed_products,
    update_rows,
    updated_cross,
    updated_diagonal,
)
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.rank_updates import RankUpdate, rank_update
from l3ae_dist.linalg.spectral import condition_number
from l3ae_dist.solve.artifact_store import ArtifactStore, UpdateBase
from l3ae_dist.solve.certificate import Certificate, certify, probes, require
from l3ae_dist.solve.factor import Correction
from l3ae_dist.storage import layout
from l3ae_dist.storage.layout import FactorPaths, UpdatePaths
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

_PROBES = 4
# Changed rows that the certificate looks at, besides the probes.
_ROWS = 16


def stored_correction(workspace: Workspace, factor: str) -> Correction | None:
    """Return the change that stands for an inverse; None without one, or where an array of it is gone.

    Parameters
    ----------
    workspace
        Where it is.
    factor
        Id of the inverse, were it solved.
    """
    record = workspace.stage_done(Stage.UPDATE, UpdatePaths.record(factor))
    if record is None:
        return None
    paths, inverse = UpdatePaths(str(record.params["base"])), str(record.params["inverse"])
    arrays = (paths.left, paths.right, inverse)
    makers = [(Stage.UPDATE, paths.id), *(maker for path in arrays for maker in layout.makers(path))]
    if not all(workspace.stage_done(*maker) for maker in makers) or not all(map(workspace.has, arrays)):
        return None
    return Correction(paths, inverse, str(record.params["dataset"]), int(record.stats["rank"]))


class InverseUpdates:
    """Changed inverses of one dataset.

    Parameters
    ----------
    store
        Where they are made.
    dataset
        The interactions that they are of.
    """

    def __init__(self, store: ArtifactStore, dataset: Dataset) -> None:
        self._store, self._dataset = store, dataset
        self._workspace = store.workspace

    def certificate(self, correction: Correction) -> Certificate:
        """Return the certificate of a changed inverse."""
        record = self._workspace.require_stage(Stage.UPDATE, correction.paths.id)
        return Certificate.from_document(record.stats["certificate"])

    def make(self, factor: str, base: UpdateBase, ridge: float) -> Correction | None:
        """Make an inverse from another one, and certify it.

        Parameters
        ----------
        factor
            Id of the inverse, were it solved.
        base, ridge
            The other one, which has the same ridge.

        Returns
        -------
        None, and a word to the log, where too many rows changed or the certificate does not hold.

        Notes
        -----
        Cost: one pass over the tiles of P, 2 n nnz(Z) + 4 n r^2 flops, and O(nnz) for rows and certificate.
        """
        before, store = Dataset(self._workspace, base.dataset), self._store
        if before.n_items != self._dataset.n_items:
            self._solve_anew("the catalog has new items")
            return None
        changed = changed_rows(before, self._dataset, base.most_rows)
        if changed is None:
            self._solve_anew(f"more than {base.most_rows:,} rows changed")
            return None
        paths, rank = UpdatePaths.of(factor, base.inverse, base.dataset), changed.rows.shape[0]
        correction = Correction(paths, base.inverse, base.dataset, rank)
        own = FactorPaths.holding(base.inverse).diagonal
        store.make_rows(own, 1, diagonal_rows, {"P": base.inverse}, "float64")
        try:
            update = self._change(correction, changed)
            certificate = self._certified(correction, changed, ridge)
        except (NumericalError, LinAlgError) as error:
            self._solve_anew(str(error))
            return None
        store.delete(paths.rows, paths.probe)
        made_from = {"base": paths.base, "inverse": base.inverse, "dataset": base.dataset, "ridge": ridge}
        stats = {
            "rank": rank,
            "users": changed.users,
            "amplification": update.amplification,
            "certificate": certificate.document(),
        }
        for identifier in (paths.id, UpdatePaths.record(factor)):  # the second says that this is the one
            self._workspace.mark_stage(Stage.UPDATE, identifier, made_from, stats)
        store.say(
            f"the inverse is that of {base.dataset} changed by {rank:,} rows of {changed.users:,} users "
            f"(errors grow {update.amplification:.3g} times at most)"
        )
        return correction

    def diagonal(self, correction: Correction) -> str:
        """Make sure that ``diag(P')`` exists, and return its path."""
        paths, own = correction.paths, FactorPaths.holding(correction.inverse).diagonal
        inputs = {"Y": paths.right, "YK": paths.left, "diagonal": own}
        return self._store.make_rows(paths.diagonal, 1, updated_diagonal, inputs, "float64")

    def cross(self, correction: Correction, identifier: str, before: str, embedding: str) -> str:
        """Make sure that ``Q' = P' F'`` exists, and return its path; 4 n r d flops.

        Parameters
        ----------
        correction, identifier
            The change, and the id of the changed inverse.
        before
            Place of ``Q = P F'``.
        embedding
            Id of F.
        """
        path, store, paths = layout.cross(identifier, embedding), self._store, correction.paths
        features = open_rows(self._workspace, layout.features(embedding))
        d = features.shape[1]
        if not store.has_assembled(path):
            text = sum(
                y.T @ dense(features.item_rows(rows.start, rows.stop), np.dtype(np.float64))
                for rows, y in self._tiles(paths.right)
            )
            self._write_small(paths.text(embedding), np.asarray(text))
        inputs = {"Q": before, "YK": paths.left, "YF": paths.text(embedding)}
        return store.make_rows(path, d, updated_cross, inputs, store.dtype)

    # ---- the change

    def _solve_anew(self, reason: str) -> None:
        self._store.say(f"the system is solved anew: {reason}")

    def _change(self, correction: Correction, changed: ChangedRows) -> RankUpdate:
        """Make Y, K, Y K and the diagonal."""
        store, paths, rank = self._store, correction.paths, correction.rank
        width = rank + _PROBES
        entries = changed.rows.tocoo()
        self._write_small(paths.rows, np.column_stack([entries.row, entries.col, entries.data]))
        store.write_rows(paths.probe, probes(store.grid.n, _PROBES))
        inputs = {"P": correction.inverse, "rows": paths.rows, "probe": paths.probe}
        params = ChangeParams(rank, entries.nnz)
        store.make_rows(paths.right, width, changed_products, inputs, store.dtype, params)
        update = rank_update(self._products(paths, changed.rows)[:, :rank], changed.joins)
        middle = np.zeros((width, width))
        middle[:rank, :rank] = update.middle
        self._write_small(paths.middle, middle)
        inputs = {"Y": paths.right, "K": paths.middle}
        store.make_rows(paths.left, width, update_rows, inputs, store.dtype)
        self.diagonal(correction)
        return update

    def _products(self, paths: UpdatePaths, rows: sparse.csr_matrix) -> Array:
        """Compute ``Z [P Z', P W]``, (r, r + probes)."""
        columns, found = rows.tocsc(), np.zeros((rows.shape[0], rows.shape[0] + _PROBES))
        for items, y in self._tiles(paths.right):
            found += columns[:, items] @ y
        return found

    def _tiles(self, path: str) -> Iterator[tuple[slice, Array]]:
        """Read an array by item tile."""
        array = self._store.open(path)
        for i in range(self._store.grid.count):
            yield self._store.grid.rows(i), np.asarray(array.read(i, 0), np.float64)

    def _write_small(self, path: str, values: Array) -> None:
        """Write an array of one chunk, made anew."""
        self._store.delete(path)
        shape = (max(1, values.shape[0]), values.shape[1])
        held = np.zeros(shape)
        held[: len(values)] = values
        array = self._store.create(path, shape, shape, "float64")
        array.write(0, 0, held, epoch=self._store.settings.epoch, anew=True)

    # ---- its certificate

    def _certified(self, correction: Correction, changed: ChangedRows, ridge: float) -> Certificate:
        """Measure the residual of the changed system on random probes and on some changed rows."""
        store, rank = self._store, correction.rank
        rng = np.random.default_rng(0)
        chosen = np.sort(rng.choice(rank, min(rank, _ROWS), replace=False))
        products = self._products(correction.paths, changed.rows)
        wanted = np.r_[rank : rank + _PROBES, chosen]
        left, right = (self._tiles(path) for path in (correction.paths.left, correction.paths.right))
        solution = np.concatenate(
            [
                y[:, wanted] - yk[:, :rank] @ products[:, wanted]
                for (_, y), (_, yk) in zip(right, left, strict=True)
            ]
        )
        target = np.column_stack([probes(store.grid.n, _PROBES), changed.rows[chosen].toarray().T])
        kappa = condition_number(spectrum(self._workspace, self._dataset), ridge)
        certificate = certify(
            lambda vectors: INTERACTIONS.times(self._dataset, vectors),
            solution, target, condition=kappa, dtype=store.dtype, ridge=ridge, arithmetic=store.arithmetic,
        )  # fmt: skip
        return require(certificate)
