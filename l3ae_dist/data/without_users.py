"""A stored dataset once more without some of its users: items, texts and splits stay as they are."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.data.appended_logs import logs_of
from l3ae_dist.data.columns import write_column
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.data.forgotten import Forgotten
from l3ae_dist.data.stored_entries import split_named, store_entries
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array, Integers
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.vectors import Vector

_USERS = 1 << 16
# Interactions of the columns that are read at once.
_ENTRIES = 1 << 22


def without_users(dataset: Dataset, forgotten: Forgotten) -> Dataset:
    """Store a dataset without the users who are forgotten; at once when it is there.

    Parameters
    ----------
    dataset
        As it is, in the order of its catalog; it is not changed.
    forgotten
        Who is left out.

    Returns
    -------
    The other one; the same where it holds none of them.

    Raises
    ------
    DataError
        When no training interaction would be left.

    Notes
    -----
    Three passes over the interactions; ids, titles and texts are held in memory. Notes on how files were read
    are left out, since they quote ids.
    """
    gone, workspace = forgotten.users_of(dataset), dataset.workspace
    if not gone.any():
        return dataset
    identifier = fingerprint(["without", dataset.id, forgotten.name])
    if workspace.stage_done(Stage.INGEST, identifier) is None:
        popularity = dataset.popularity() - _items_of(dataset, gone)
        if not popularity.any():
            raise DataError(
                f"no training interaction is left without the {int(gone.sum()):,} forgotten user(s); delete "
                "the workspace instead."
            )
        for path in layout.DatasetPaths(identifier).folders:
            workspace.delete(path)
        nnz = _store(dataset, identifier, gone, popularity)
        stats = _stats(dataset, gone, popularity, nnz, forgotten.name)
        workspace.mark_stage(Stage.INGEST, identifier, dataset.options, stats.record())
    return Dataset(workspace, identifier)


def _stats(
    dataset: Dataset, gone: npt.NDArray[np.bool_], popularity: Integers, nnz: dict[str, int], without: str
) -> DatasetStats:
    return replace(
        dataset.stats,
        nnz=nnz,
        n_users=int((~gone).sum()),
        max_popularity=int(popularity.max()),
        items_without_interactions=int((popularity == 0).sum()),
        forgotten=dataset.stats.forgotten + int(gone.sum()),
        notes=(),
        catalog=dataset.catalog,
        parent=None,
        log=None,
        appended=None,
        logs=logs_of(dataset),
        without=without,
    )


def _items_of(dataset: Dataset, users: npt.NDArray[np.bool_]) -> Integers:
    """Count the training interactions of some users with each item, (n_items,)."""
    counts = np.zeros(dataset.n_items, np.int64)
    for rows, some in _blocks(dataset, "train", users):
        counts += np.bincount(rows[some].indices, minlength=dataset.n_items)
    return counts


def _store(
    dataset: Dataset, identifier: str, gone: npt.NDArray[np.bool_], popularity: Integers
) -> dict[str, int]:
    """Write ids, texts and interactions; return the interactions of each split."""
    workspace, paths = dataset.workspace, layout.DatasetPaths(identifier)
    write_column(workspace, paths.user_ids, dataset.user_ids()[~gone])
    write_column(workspace, paths.item_ids, dataset.item_ids())
    write_column(workspace, paths.titles, np.array(dataset.titles(), object))
    write_column(workspace, paths.texts, np.array(dataset.texts(), object))
    counts = {}
    for name in dataset.stats.nnz:
        split = split_named(name)
        lengths = np.diff(Vector(workspace, dataset.paths.by_user(split).indptr)[:])[~gone]
        bounds = _bounds(lengths)
        kept = (rows[some] for rows, some in _blocks(dataset, split, ~gone))
        store_entries(dataset, paths.by_user(split), bounds, kept)
        counts[name] = int(bounds[-1])
    store_entries(dataset, paths.train_by_item, _bounds(popularity), _columns(dataset, ~gone))
    return counts


def _bounds(lengths: Array) -> Integers:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _blocks(
    dataset: Dataset, split: layout.Split, users: npt.NDArray[np.bool_]
) -> Iterator[tuple[sparse.csr_matrix, npt.NDArray[np.bool_]]]:
    """Yield the rows of the blocks of users that have one of some users, and which rows those are."""
    for start in range(0, dataset.n_users, _USERS):
        stop = min(start + _USERS, dataset.n_users)
        if users[start:stop].any():
            yield dataset.user_rows(split, start, stop), users[start:stop]


def _columns(dataset: Dataset, kept: npt.NDArray[np.bool_]) -> Iterator[sparse.csc_matrix]:
    """Yield the training columns of some users, numbered as they are among themselves."""
    places = np.cumsum(kept) - 1
    cuts = np.cumsum(dataset.popularity(), dtype=np.int64) // _ENTRIES
    for group in np.split(np.arange(dataset.n_items), np.flatnonzero(np.diff(cuts)) + 1):
        if len(group):
            columns = dataset.columns(int(group[0]), int(group[-1]) + 1)
            stays = kept[columns.indices]
            bounds = _bounds(stays)[columns.indptr]
            yield sparse.csc_matrix(
                (columns.data[stays], places[columns.indices[stays]], bounds),
                shape=(int(kept.sum()), len(group)),
            )
