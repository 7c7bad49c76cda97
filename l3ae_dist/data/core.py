"""Core and tail of a catalog: items with at least k training interactions come first, the others after them.

The core is solved exactly, as a dataset of its own (:class:`CorePart`). All items together are a stored
dataset, the core first; users meet it in the order of their catalog (:class:`CatalogOrder`).
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist.data.columns import write_column
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.dataset_stats import Core
from l3ae_dist.data.stored_entries import split_named, store_entries
from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.vectors import Vector, write_vector

_USERS = 1 << 16
# Interactions of the columns that are read at once.
_ENTRIES = 1 << 22


def core_id(dataset: str, min_interactions: int) -> str:
    """Return the id of a dataset whose core comes first."""
    return fingerprint(["core", dataset, min_interactions])


def core_first(dataset: Dataset, min_interactions: int) -> Dataset:
    """Store a dataset once more with its core first; at once when it is there.

    Parameters
    ----------
    dataset
        All items and interactions, in catalog order.
    min_interactions
        Training interactions that an item of the core has at least.

    Raises
    ------
    ConfigError
        When no item has so many.

    Notes
    -----
    Three passes over the interactions; ids, titles and texts are held in memory.
    """
    workspace, identifier = dataset.workspace, core_id(dataset.id, min_interactions)
    if workspace.stage_done(Stage.INGEST, identifier) is None:
        popularity = dataset.popularity()
        inside = in_core(popularity, min_interactions)
        order = np.concatenate([np.flatnonzero(inside), np.flatnonzero(~inside)])
        for path in layout.DatasetPaths(identifier).folders:
            workspace.delete(path)
        _store(dataset, identifier, order, popularity)
        core = Core(of=dataset.id, min_interactions=min_interactions, items=int(inside.sum()))
        stats = replace(dataset.stats, core=core, catalog=None, parent=None, log=None, appended=None)
        workspace.mark_stage(Stage.INGEST, identifier, dataset.options, stats.record())
    return Dataset(workspace, identifier)


def in_core(popularity: Array, min_interactions: int) -> npt.NDArray[np.bool_]:
    """Tell which items are in the core, (n_items,), from their training interactions.

    Raises
    ------
    ConfigError
        When none is.
    """
    inside: npt.NDArray[np.bool_] = popularity >= min_interactions
    if not inside.any():
        raise ConfigError(
            f"data.core.min_interactions is {min_interactions:,}, and no item has more than "
            f"{int(popularity.max(initial=0)):,} training interactions; choose a smaller number."
        )
    return inside


def _store(dataset: Dataset, identifier: str, order: Array, popularity: Array) -> None:
    """Write ids, texts and interactions with the items in this order."""
    workspace, paths = dataset.workspace, layout.DatasetPaths(identifier)
    write_column(workspace, paths.user_ids, dataset.user_ids())
    write_column(workspace, paths.item_ids, dataset.item_ids()[order])
    write_column(workspace, paths.titles, np.array(dataset.titles(), object)[order])
    write_column(workspace, paths.texts, np.array(dataset.texts(), object)[order])
    write_vector(workspace, paths.order, order)
    place = _inverse(order)
    for split in dataset.stats.nnz:
        name = split_named(split)
        bounds = Vector(workspace, dataset.paths.by_user(name).indptr)[:]
        store_entries(dataset, paths.by_user(name), bounds, _user_blocks(dataset, name, place))
    bounds = np.concatenate([[0], np.cumsum(popularity[order], dtype=np.int64)])
    store_entries(dataset, paths.train_by_item, bounds, _item_blocks(dataset, order, popularity))


def _inverse(order: Array) -> Array:
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place


def _user_blocks(dataset: Dataset, split: layout.Split, place: Array) -> Iterator[sparse.csr_matrix]:
    for start in range(0, dataset.n_users, _USERS):
        rows = dataset.user_rows(split, start, min(start + _USERS, dataset.n_users))
        yield with_columns(rows, place[rows.indices])


def with_columns(rows: sparse.csr_matrix, columns: Array) -> sparse.csr_matrix:
    """Return rows with other columns for their stored entries, (nnz,); the given rows stay as they are."""
    # sorting moves the weights too, and the given rows keep theirs
    moved = sparse.csr_matrix((rows.data.copy(), columns, rows.indptr), shape=rows.shape)
    moved.sort_indices()
    return moved


def _item_blocks(dataset: Dataset, order: Array, popularity: Array) -> Iterator[sparse.csc_matrix]:
    """Yield the training columns in an order of two ascending runs, in bounded reads."""
    turn = int(np.argmax(np.diff(order) < 0)) + 1 if (np.diff(order) < 0).any() else len(order)
    for run in (order[:turn], order[turn:]):
        cuts = np.cumsum(popularity, dtype=np.int64) // _ENTRIES
        for group in np.split(run, np.flatnonzero(np.diff(cuts[run])) + 1):
            if len(group):
                first = int(group[0])
                yield dataset.columns(first, int(group[-1]) + 1)[:, group - first]


class CorePart(Dataset):
    """The items of the core as a dataset of their own: what is solved exactly.

    Parameters
    ----------
    whole
        A dataset whose core comes first.
    """

    def __init__(self, whole: Dataset) -> None:
        super().__init__(whole.workspace, whole.id)
        self.n_items = self.n_core

    def user_rows(self, split: layout.Split, start: int, stop: int) -> sparse.csr_matrix:
        """Read the interactions of consecutive users with items of the core.

        Parameters
        ----------
        split, start, stop
            As :meth:`Dataset.user_rows` takes them.
        """
        stored = self._compressed(self._paths_by_user(split), start, stop)
        every = sparse.csr_matrix(stored, shape=(stop - start, self.stats.n_items))
        return every[:, : self.n_items]

    def popularity(self) -> npt.NDArray[np.int64]:
        """Count the training interactions of each item of the core."""
        return super().popularity()[: self.n_items]

    def nnz(self, split: layout.Split) -> int:
        """Count the interactions of a split; those of the training split with items of the core alone."""
        return int(self.popularity().sum()) if split == "train" else super().nnz(split)


class CatalogOrder(Dataset):
    """A dataset whose core comes first, as users know it: with its items in the order of their catalog.

    Parameters
    ----------
    stored
        The dataset as it is stored.
    """

    def __init__(self, stored: Dataset) -> None:
        super().__init__(stored.workspace, stored.id)

    @cached_property
    def _places(self) -> Array:
        """Stored position of each item of the catalog."""
        return _inverse(self.order)

    def item_ids(self, start: int = 0, stop: int | None = None) -> Array:
        """Return the ids of the items ``start`` to ``stop``, in catalog order."""
        ids: Array = super().item_ids()[self._places[start:stop]]
        return ids

    def titles(self, start: int = 0, stop: int | None = None) -> list[str]:
        """Return the titles of the items ``start`` to ``stop``."""
        found = super().titles()
        return [found[place] for place in self._places[start:stop].tolist()]

    def texts(self, start: int = 0, stop: int | None = None) -> list[str]:
        """Return the texts of the items ``start`` to ``stop``."""
        found = super().texts()
        return [found[place] for place in self._places[start:stop].tolist()]

    def popularity(self) -> npt.NDArray[np.int64]:
        """Count the training interactions of each item, (n_items,)."""
        return super().popularity()[self._places]

    def columns(self, start: int, stop: int) -> sparse.csc_matrix:
        """Read columns of the training matrix, (n_users, stop - start) float32; two contiguous reads."""
        places = self._places[start:stop]
        runs = [run for run in np.split(np.sort(places), [(places < self.n_core).sum()]) if len(run)]
        read = super().columns
        parts = [read(int(run[0]), int(run[-1]) + 1) for run in runs]
        return sparse.hstack(parts, format="csc")[:, np.argsort(np.argsort(places))]

    def user_rows(self, split: layout.Split, start: int, stop: int) -> sparse.csr_matrix:
        """Read the interactions of consecutive users, (stop - start, n_items) float32.

        Parameters
        ----------
        split, start, stop
            As :meth:`Dataset.user_rows` takes them.
        """
        rows = super().user_rows(split, start, stop)
        return with_columns(rows, self.order[rows.indices])


def core_part(dataset: Dataset) -> Dataset:
    """Return what of a dataset is solved exactly: its core, or all of it where there is none."""
    return dataset if dataset.stats.core is None else CorePart(dataset)


def in_catalog_order(dataset: Dataset) -> Dataset:
    """Return a dataset with its items in the order of the catalog."""
    return dataset if dataset.stats.core is None else CatalogOrder(dataset)
