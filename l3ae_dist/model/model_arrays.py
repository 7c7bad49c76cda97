"""The arrays of a fitted model, positions and names of its items, entries of B, and tables of items."""

from collections.abc import Sequence

import numpy as np

from l3ae_dist.data.columns import ColumnReader
from l3ae_dist.data.dataset import Dataset, find_ids, unknown_ids
from l3ae_dist.data.features import HeldRows
from l3ae_dist.data.tables import Frame
from l3ae_dist.errors import DataError
from l3ae_dist.graphs.batch_scoring import BatchScorer
from l3ae_dist.graphs.score_terms import Part, TermArrays
from l3ae_dist.graphs.weight_entries import row_products, weight_entries
from l3ae_dist.linalg.arrays import Array, Floats, Integers
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.model.added_items import AddedItems, read_added
from l3ae_dist.model.cold_start import ColdStart
from l3ae_dist.model.users import id_list
from l3ae_dist.pipeline.model_document import read_model
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace
from l3ae_dist.units import parse_bytes


class ModelArrays:
    """The arrays of the model of a workspace and the items it knows; nothing is read before it is needed.

    Item positions are those of the catalog, then those of added items. Parameters and errors are those of
    :class:`l3ae_dist.model.fitted.FittedModel`.
    """

    def __init__(
        self, workspace: Workspace, *, memory_budget: int | str = "2GiB", threads: int | None = None
    ) -> None:
        document = read_model(workspace)
        self.workspace = workspace
        self.document = document
        self.name = document.name
        self.params = document.params
        self.certificate = document.certificate.document()
        self.dtype = document.dtype
        self.dataset = Dataset(workspace, document.dataset)
        self.grid = TileGrid(self.dataset.n_items, document.tile)
        self.terms = document.terms
        self.memory_budget, self.threads = parse_bytes(memory_budget), threads
        arrays = TermArrays(workspace)
        self.scorer = BatchScorer(
            arrays, self.grid, self.dtype, array_budget=self.memory_budget, threads=threads
        )
        self.cold = ColdStart(self.dataset, self.grid, document, self.scorer.reader)
        self._known_added = AddedItems()
        paths = self.dataset.paths
        self._columns = tuple(ColumnReader(workspace, path) for path in (paths.item_ids, paths.titles))

    @property
    def n_items(self) -> int:
        """Number of items of the catalog, without added ones."""
        return self.grid.n

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={value:g}" for name, value in self.params.items())
        return f"{self.name}({params}) on {self.grid.n:,} items in {self.workspace.url!r}"

    def array(self, name: str) -> ChunkArray | None:
        """Open the model's array ``P``, ``Q``, ``V``, ``c`` or ``M``; return None for one that it lacks."""
        path = self.document.arrays.get(name)
        return None if path is None else ChunkArray.open(self.workspace, path)

    # ---- items

    def added(self) -> AddedItems:
        """Return the added items as they are in the workspace now."""
        if self.cold.scores:
            self._known_added = read_added(self.workspace, str(self.document.embedding), self._known_added)
        return self._known_added

    def find(self, ids: Sequence[object]) -> Integers:
        """Return the positions of catalog and added items; the added ones follow the catalog."""
        found, added = self.dataset.find_items(ids), self._known_added
        missing = np.flatnonzero(found < 0)
        if len(missing) and len(added):
            other = find_ids(added.lookup, [ids[i] for i in missing.tolist()])
            found[missing] = np.where(other >= 0, other + self.grid.n, -1)
        if (found < 0).any():
            raise unknown_ids(ids, found, "item", self.grid.n + len(added))
        return found

    def find_in_catalog(self, ids: Sequence[object]) -> Integers:
        """Return the positions of catalog items; raise :class:`DataError` for an added one."""
        found = self.find(ids)
        late = np.flatnonzero(found >= self.grid.n)
        if len(late):
            raise DataError(
                f"item {ids[int(late[0])]!r} is an added one; a history holds items of the catalog only."
            )
        return found

    def pairs(self, rows: Integers, columns: Integers, added: AddedItems) -> dict[Part, Floats]:
        """Return single entries of B, split into their collaborative and their semantic part.

        Parameters
        ----------
        rows
            (p,) positions of catalog items, the ones that are owned.
        columns
            (p,) positions of catalog or added items, the ones that are scored.
        added
            The added items; their columns are semantic.
        """
        scorer, n = self.scorer, self.grid.n
        late = columns >= n
        if not late.any():
            return weight_entries(self.terms, scorer.arrays, self.grid, rows, columns, scorer.reader)
        found = self.pairs(rows[~late], columns[~late], added)
        out = {name: np.zeros(len(rows)) for name in found}
        for name, values in found.items():
            out[name][~late] = values
        for term in self.cold.terms(added):
            right = HeldRows(term.right)
            pairs = row_products(term.left, right, self.grid, rows[late], columns[late] - n)
            out["semantic"][late] += term.weight * pairs
        return out

    def weight_columns(self, item_ids: Sequence[object]) -> Floats:
        """Return columns of B, (n_items, len(item_ids)) float64; they may be of added items."""
        added, columns = self.added(), self.find(id_list(item_ids, "item_ids"))
        out = np.empty((self.grid.n, len(columns)))
        for position, j in enumerate(columns):
            entries = self.pairs(np.arange(self.grid.n), np.full(self.grid.n, j), added)
            out[:, position] = entries["collaborative"] + entries["semantic"]
        return out

    # ---- tables

    def named(self, items: Array, added: AddedItems) -> tuple[Array, Array]:
        """Return ids and titles of item positions."""
        late = items >= self.grid.n
        found = []
        for column, names in zip(self._columns, (added.ids, added.titles), strict=True):
            values = column.take(np.where(late, 0, items))
            if late.any():
                values[late] = names[items[late] - self.grid.n]
            found.append(values)
        return found[0], found[1]

    def table(self, key: str, owners: Array, items: Integers, scores: Array, added: AddedItems) -> Frame:
        """Return lists of items as a table, one row for each item of a list.

        Parameters
        ----------
        key
            Column that takes the owners.
        owners
            (owners,) ids of whom or what the lists belong to.
        items, scores
            (owners, k) item positions and scores; places with position -1 are left out.
        added
            The added items.
        """
        import pandas as pd

        keep = items >= 0
        rank = np.broadcast_to(np.arange(1, items.shape[1] + 1), items.shape)[keep]
        ids, titles = self.named(items[keep], added)
        return pd.DataFrame(
            {
                key: np.repeat(owners, keep.sum(axis=1)),
                "item_id": ids,
                "title": titles,
                "rank": rank,
                "score": scores[keep],
            }
        )
