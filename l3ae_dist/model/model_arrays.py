"""The arrays of a fitted model, positions and names of its items, entries of B, and tables of items."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy import sparse

from l3ae_dist.config.members import param_text
from l3ae_dist.data.columns import ColumnReader
from l3ae_dist.data.core import in_catalog_order
from l3ae_dist.data.dataset import Dataset, find_ids, unknown_ids
from l3ae_dist.data.features import HeldRows
from l3ae_dist.data.tables import Frame
from l3ae_dist.errors import DataError, StageMissingError
from l3ae_dist.graphs.batch_scoring import BatchScorer, Candidates
from l3ae_dist.graphs.score_terms import Part, ScoreTerms, TermArrays
from l3ae_dist.graphs.weight_blocks import AddedTerm
from l3ae_dist.graphs.weight_entries import row_products, weight_entries
from l3ae_dist.linalg.arrays import Array, Floats, Integers
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.messages import shown
from l3ae_dist.model.added_items import AddedItems, read_added
from l3ae_dist.model.cold_start import ColdStart
from l3ae_dist.model.id_lists import id_list
from l3ae_dist.model.item_order import ItemOrder
from l3ae_dist.pipeline.named_models import read_model
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.readers import Reader
from l3ae_dist.storage.vectors import open_finished
from l3ae_dist.storage.workspace import Workspace
from l3ae_dist.units import parse_bytes


class ModelArrays:
    """The arrays of a model of a workspace and the items it knows; nothing is read before it is needed.

    Item positions are those of the catalog, then those of added items. Parameters and errors are those of
    :class:`l3ae_dist.model.fitted.FittedModel`.
    """

    def __init__(
        self,
        workspace: Workspace,
        model: str | None = None,
        *,
        memory_budget: int | str = "2GiB",
        threads: int | None = None,
    ) -> None:
        document = read_model(workspace, model)
        self.workspace = workspace = workspace.of_model(document.label)
        self.document = document
        self._reader = Reader(workspace.blobs, document.own_path)
        self.label = document.label
        self.name = document.name
        self.params = document.params
        self.certificate = document.certificate.document()
        self.dtype = document.dtype
        self.stored = Dataset(workspace, document.dataset)  # in the order of the model's arrays
        self.dataset = in_catalog_order(self.stored)
        self.order = ItemOrder(self.stored)
        self.grid = TileGrid(self.dataset.n_items, document.tile)
        self.terms = document.terms
        self.memory_budget, self.threads = parse_bytes(memory_budget), threads
        arrays = TermArrays(workspace)
        self.scorer = BatchScorer(
            arrays, self.grid, self.dtype, array_budget=self.memory_budget, threads=threads
        )
        self.cold = ColdStart(self.stored, self.grid, document, self.scorer.reader)
        self._known_added = AddedItems()
        paths = self.dataset.paths
        self._columns = tuple(ColumnReader(workspace, path) for path in (paths.item_ids, paths.titles))

    @property
    def n_items(self) -> int:
        """Number of items of the catalog, without added ones."""
        return self.grid.n

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={param_text(value)}" for name, value in self.params.items())
        return f"{self.name}({params}) on {self.grid.n:,} items in {self.workspace.url!r}"

    def array(self, name: str) -> ChunkArray | None:
        """Open the model's array ``P``, ``Q``, ``V``, ``c`` or ``M``; return None for one that it lacks."""
        path = self.document.arrays.get(name)
        return None if path is None else open_finished(self.workspace, path)

    # ---- items

    @cached_property
    def popularity(self) -> Integers:
        """Training interactions of each item of the catalog, (n_items,)."""
        return self.dataset.popularity()

    def added(self) -> AddedItems:
        """Return the added items as they are in the workspace now."""
        if self.cold.scores:
            self._known_added = read_added(self.workspace, str(self.document.embedding), self._known_added)
        return self._known_added

    def find(self, ids: Sequence[object], added: AddedItems | None = None) -> Integers:
        """Return the positions of catalog and added items; the added ones follow the catalog.

        The added ones are those that the call read before it; the last ones that any call read when None.
        """
        found, added = self.dataset.find_items(ids), self._known_added if added is None else added
        missing = np.flatnonzero(found < 0)
        if len(missing) and len(added):
            other = find_ids(added.lookup, [ids[i] for i in missing.tolist()])
            found[missing] = np.where(other >= 0, other + self.grid.n, -1)
        if (found < 0).any():
            raise unknown_ids(ids, found, "item", self.dataset.item_lookup, len(added))
        return found

    def find_in_catalog(self, ids: Sequence[object]) -> Integers:
        """Return the positions of catalog items; raise :class:`DataError` for an added one."""
        found = self.find(ids)
        late = np.flatnonzero(found >= self.grid.n)
        if len(late):
            raise DataError(
                f"item {shown(ids[int(late[0])])} is an added one; a history holds items of the catalog only."
            )
        return found

    def pairs(
        self, rows: Integers, columns: Integers, added: AddedItems, *, divided: bool = True
    ) -> dict[Part, Floats]:
        """Return single entries of B, split into their collaborative and their semantic part.

        Parameters
        ----------
        rows
            (p,) positions of catalog items, the ones that are owned.
        columns
            (p,) positions of catalog or added items, the ones that are scored.
        added
            The added items; their columns are semantic.
        divided
            Whether terms of both parts are divided; False for the sum alone.
        """
        places = self.order.places(rows), self.order.places(columns)
        return self._entries(*places, added, divided=divided)

    def _entries(
        self, rows: Integers, columns: Integers, added: AddedItems, *, divided: bool
    ) -> dict[Part, Floats]:
        """Return single entries of B by place."""
        scorer, n = self.scorer, self.grid.n
        late = columns >= n
        if not late.any():
            return weight_entries(
                self.terms, scorer.arrays, self.grid, rows, columns, scorer.reader, divided=divided
            )
        found = self._entries(rows[~late], columns[~late], added, divided=divided)
        out = {name: np.zeros(len(rows)) for name in found}
        for name, values in found.items():
            out[name][~late] = values
        for term in self.cold.terms(added):
            right = HeldRows(term.right)
            pairs = row_products(term.left, right, self.grid, rows[late], columns[late] - n)
            out["semantic"][late] += term.weight * pairs
        return out

    def top(
        self,
        terms: ScoreTerms,
        rows: sparse.csr_matrix,
        k: int,
        candidates: Candidates,
        added: Sequence[AddedTerm] = (),
        n_added: int = 0,
    ) -> tuple[Array, Array]:
        """List the best ``k`` items of each history, all by catalog position.

        Parameters
        ----------
        terms, rows, k, candidates, added, n_added
            As :meth:`~l3ae_dist.graphs.batch_scoring.BatchScorer.top` takes them.
        """
        stored = self.order.stored_columns(rows), k, self.order.stored_candidates(candidates)
        places, scores = self.scorer.top(terms, *stored, added, n_added)
        return self.order.items(places), scores

    def require_parts(self) -> None:
        """Refuse to split the scores of a model whose terms an older version wrote without their parts.

        Raises
        ------
        StageMissingError
            With what to do.
        """
        if not self.terms.divides:
            raise StageMissingError(
                f"this {self.name} was fitted by a version that did not record how its scores divide into a "
                "collaborative and a semantic part; fit it again, which reuses its factorisation."
            )

    def weight_columns(self, item_ids: Sequence[object]) -> Floats:
        """Return columns of B, (n_items, len(item_ids)) float64; they may be of added items."""
        added = self.added()
        columns = self.find(id_list(item_ids, "item_ids"), added)
        out = np.empty((self.grid.n, len(columns)))
        for position, j in enumerate(columns):
            entries = self.pairs(np.arange(self.grid.n), np.full(self.grid.n, j), added, divided=False)
            out[:, position] = entries["collaborative"] + entries["semantic"]
        return out

    # ---- tables

    def named(self, items: Array, added: AddedItems) -> tuple[Array, Array]:
        """Return ids and titles of item positions."""
        late = items >= self.grid.n
        found = []
        for column, names in zip(self._columns, (added.ids, added.titles), strict=True):
            values = column.take(self.order.places(np.where(late, 0, items)))
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
