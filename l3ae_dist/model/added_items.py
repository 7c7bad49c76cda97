"""Items that came after the fit, as the workspace keeps them: ids, titles and features.

They lie under ``added/{features}``, so a fit on other items or with another encoder starts without them.
"""

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from l3ae_dist.data.columns import read_column, write_column
from l3ae_dist.linalg.arrays import Array, Matrix
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.rows import read_rows
from l3ae_dist.storage.vectors import Vector, write_vector
from l3ae_dist.storage.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 4096


@dataclass(frozen=True, slots=True)
class AddedRecord:
    """The record of the items added to one catalog, ``added/{features}``.

    Parameters
    ----------
    generation
        Number of the change that wrote them, and of the folder that they lie in.
    items, dim
        Shape of their features.
    sparse
        Whether the features are multi-hot words.
    """

    generation: int
    items: int
    dim: int
    sparse: bool

    @classmethod
    def read(cls, workspace: Workspace, features: str) -> "AddedRecord | None":
        """Read the record; None when nobody added any item."""
        record = workspace.read_doc(layout.added_items(features))
        return None if record is None else cls(**record)

    def paths(self, features: str) -> layout.AddedPaths:
        """Return where the items lie."""
        return layout.AddedPaths.of(features, self.generation)


@dataclass
class AddedItems:
    """The items added to one catalog, in memory.

    Parameters
    ----------
    ids
        (m,) int64, or objects of ``str``.
    titles
        (m,) objects of ``str``.
    features
        (m, d) float64, dense or sparse; None without items.
    generation
        Number of the change that wrote them; 0 when nobody added any.
    """

    ids: Array = field(default_factory=lambda: np.empty(0, np.int64))
    titles: Array = field(default_factory=lambda: np.empty(0, object))
    features: Matrix = None
    generation: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def lookup(self) -> "pd.Index":
        """Pandas index of the ids."""
        import pandas as pd

        return pd.Index(self.ids, dtype=self.ids.dtype)


def read_added(workspace: Workspace, features: str, known: AddedItems) -> AddedItems:
    """Read the items added to the catalog.

    Parameters
    ----------
    workspace
        That of the model.
    features
        Id of the catalog's features.
    known
        What an earlier call returned; it is returned again when nothing is new, or nobody added any.
    """
    record = AddedRecord.read(workspace, features)
    if record is None or record.generation == known.generation:
        return known
    paths = record.paths(features)
    ids, titles = (read_column(workspace, path) for path in (paths.ids, paths.titles))
    return AddedItems(ids, titles, _read_features(workspace, paths, record), record.generation)


def _read_features(workspace: Workspace, paths: layout.AddedPaths, record: AddedRecord) -> Matrix:
    if not record.sparse:
        return read_rows(ChunkArray.open(workspace, paths.rows), 0, record.items)
    indptr, indices = (Vector(workspace, path)[:] for path in (paths.indptr, paths.indices))
    return sparse.csr_matrix((np.ones(len(indices)), indices, indptr), shape=(record.items, record.dim))


def write_added(workspace: Workspace, features: str, items: AddedItems) -> None:
    """Put items beside those added before, under the lock; equal ids replace.

    The record that names them is written last.

    Parameters
    ----------
    workspace
        That of the model.
    features
        Id of the catalog's features.
    items
        The new items; their generation does not count.
    """
    with WorkspaceLock(workspace, "add_items"):
        every = _joined(read_added(workspace, features, AddedItems()), items)
        dim, is_sparse = every.features.shape[1], bool(sparse.issparse(every.features))
        record = AddedRecord(every.generation, len(every), dim, is_sparse)
        paths = record.paths(features)
        workspace.delete(paths.base)
        write_column(workspace, paths.ids, every.ids)
        write_column(workspace, paths.titles, every.titles)
        _write_features(workspace, paths, every.features)
        workspace.write_doc(layout.added_items(features), asdict(record))
        # the generation before this one stays for readers that opened it just now
        workspace.delete(layout.AddedPaths.of(features, every.generation - 2).base)


def _joined(before: AddedItems, items: AddedItems) -> AddedItems:
    """The items of before that none of the new ones replaces, then the new ones."""
    generation = before.generation + 1
    kept = np.flatnonzero(~np.isin(before.ids, items.ids)) if len(before) else np.empty(0, np.int64)
    if not len(kept):
        return AddedItems(items.ids, items.titles, items.features, generation)
    stack = sparse.vstack if sparse.issparse(items.features) else np.vstack
    return AddedItems(
        np.concatenate([before.ids[kept], items.ids]),
        np.concatenate([before.titles[kept], items.titles]),
        stack([before.features[kept], items.features]),
        generation,
    )


def _write_features(workspace: Workspace, paths: layout.AddedPaths, features: Matrix) -> None:
    if sparse.issparse(features):
        rows = features.tocsr()
        write_vector(workspace, paths.indptr, rows.indptr)
        write_vector(workspace, paths.indices, rows.indices)
        return
    chunks = (min(_ROWS, len(features)), features.shape[1])
    array = ChunkArray.create(workspace, paths.rows, shape=features.shape, chunks=chunks, dtype="f8")
    for i in range(array.grid[0]):
        array.write(i, 0, features[array.row_range(i)])
