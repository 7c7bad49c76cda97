"""Items that came after the fit: known by their text alone, scored on the scale of the catalog.

An item nobody has yet gets exactly the column that a refit with it would give (``C_:,new = F' M f``, for L3AE
``B_:,new = reg_e P C_:,new = reg_e Q M f``), and as a row that of the same refit (the bordered inverse).
The features are kept in the workspace under ``added/{features}``, so a fit on other items or with another
encoder starts without them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from l3ae_dist.config.data import IngestOptions
from l3ae_dist.config.members import ADDITIVE, COLLECTIVE
from l3ae_dist.data.catalog import read_catalog
from l3ae_dist.data.columns import read_column, write_column
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import HeldRows, Rows, open_rows
from l3ae_dist.errors import ConfigError, DataError
from l3ae_dist.graphs.panels import AddedTerm
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.closed_form import new_item_row
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.rows import read_rows
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.tile_reader import ReadCount, TileReader, TileRequest
from l3ae_dist.storage.vectors import Vector, write_vector
from l3ae_dist.storage.workspace import Workspace

ADDED = "added"
_STEP = 4096


@dataclass
class AddedItems:
    """The items added to one catalog, in memory: ids, what they are called, and their features (m, d)."""

    ids: Array = field(default_factory=lambda: np.empty(0, np.int64))
    titles: Array = field(default_factory=lambda: np.empty(0, object))
    features: Any = None
    generation: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def lookup(self) -> Any:
        """Index of the ids."""
        import pandas as pd

        return pd.Index(self.ids, dtype=self.ids.dtype)


def read_added(workspace: Workspace, features: str, known: AddedItems) -> AddedItems:
    """The added items as they are now, none when nobody added any; ``known`` when nothing is new."""
    document = workspace.read_doc(f"{ADDED}/{features}")
    if document is None or document["generation"] == known.generation:
        return known
    base = f"{ADDED}/{features}/{document['generation']}"
    if document["sparse"]:
        indptr, indices = (Vector(workspace, f"{base}/{name}")[:] for name in ("indptr", "indices"))
        shape = (document["items"], document["dim"])
        rows: Any = sparse.csr_matrix((np.ones(len(indices)), indices, indptr), shape=shape)
    else:
        rows = read_rows(ChunkArray.open(workspace, f"{base}/rows"), 0, document["items"])
    ids, titles = (read_column(workspace, f"{base}/{name}") for name in ("ids", "title"))
    return AddedItems(ids, titles, rows, document["generation"])


def write_added(workspace: Workspace, features: str, ids: Array, titles: Array, rows: Any) -> AddedItems:
    """Put items beside those added before; equal ids replace. Under the lock, with one final rename."""
    with WorkspaceLock(workspace, "add_items"):
        before = read_added(workspace, features, AddedItems())
        kept = np.flatnonzero(~np.isin(before.ids, ids)) if len(before) else np.empty(0, np.int64)
        if len(kept):
            stack = sparse.vstack if sparse.issparse(rows) else np.vstack
            ids = np.concatenate([before.ids[kept], ids])
            titles = np.concatenate([before.titles[kept], titles])
            rows = stack([before.features[kept], rows])
        generation = before.generation + 1
        base = f"{ADDED}/{features}/{generation}"
        workspace.delete(base)
        write_column(workspace, f"{base}/ids", ids)
        write_column(workspace, f"{base}/title", titles)
        if sparse.issparse(rows):
            rows = rows.tocsr()
            write_vector(workspace, f"{base}/indptr", rows.indptr)
            write_vector(workspace, f"{base}/indices", rows.indices)
        else:
            chunks = (min(_STEP, len(rows)), rows.shape[1])
            shape = (len(rows), rows.shape[1])
            array = ChunkArray.create(workspace, f"{base}/rows", shape=shape, chunks=chunks, dtype="f8")
            for i in range(array.grid[0]):
                array.write(i, 0, rows[array.row_range(i)])
        document = {
            "generation": generation,
            "items": len(ids),
            "dim": rows.shape[1],
            "sparse": bool(sparse.issparse(rows)),
        }
        workspace.write_doc(f"{ADDED}/{features}", document)
        # the generation before this one stays for readers that opened it just now
        workspace.delete(f"{ADDED}/{features}/{generation - 2}")
    return AddedItems(ids, titles, rows, generation)


def new_items(
    items: Any, ids: Sequence[Any] | None, vectors: Any, dataset: Dataset, before: AddedItems
) -> tuple[Array, Array, list[str] | None]:
    """Ids, titles and (unless vectors are given) texts of items to add.

    Raises
    ------
    DataError
        For ids that the catalog has, ids twice, an id that is no integer where the catalog's are, or
        items without text.
    """
    import pandas as pd

    options = IngestOptions(**dataset.workspace.require_stage(Stage.INGEST, dataset.id)["params"])
    catalog_ids = dataset.item_ids()
    if not hasattr(items, "columns"):
        values = list(items)
        if ids is None and vectors is None:
            ids = _numbered(catalog_ids, before.ids, len(values))
        elif ids is None:
            ids, values = values, [str(value) for value in values]
        if len(ids) != len(values):
            raise DataError(f"{len(values)} texts come with {len(ids)} ids; give one id for each text.")
        columns = [options.catalog_id_column, options.text_columns[0] if options.text_columns else "text"]
        items = pd.DataFrame({columns[0]: list(ids), columns[1]: values})
        options = options.model_copy(update={"text_columns": (columns[1],), "title_column": columns[1]})
    found = read_catalog(items, options)
    texts = found["text"].tolist()
    if vectors is None:
        empty = [i for i, text in enumerate(texts) if not text.strip()]
        if empty:
            raise DataError(
                f"{len(empty)} item(s) have no text in {', '.join(options.text_columns)}, first "
                f"{found['ids'][empty[:5]].tolist()}; give a text or embeddings=."
            )
    elif len(vectors) != len(texts):
        raise DataError(f"{len(vectors)} embeddings come with {len(texts)} items; give one for each.")
    named = _same_kind(found["ids"], catalog_ids)
    clash = named[dataset.find_items(named.tolist()) >= 0]
    if len(clash):
        raise DataError(
            f"{len(clash)} id(s) are in the catalog already: {clash[:5].tolist()}; choose other ids."
        )
    titles = np.array([t or x for t, x in zip(found["title"], texts, strict=True)], object)
    return named, titles, None if vectors is not None else texts


def _same_kind(ids: Array, like: Array) -> Array:
    if like.dtype == object:
        return ids.astype(str).astype(object)
    try:
        return ids.astype(np.int64)
    except ValueError:
        raise DataError(
            f"the catalog's ids are integers and {ids[0]!r} is not; give ids= as integers."
        ) from None


def _numbered(catalog: Array, added: Array, count: int) -> list[Any]:
    """Ids for texts that come without: the next integers, or ``added-0`` and so on."""
    if catalog.dtype != object:
        first = int(max(catalog.max(initial=-1), added.max(initial=-1) if len(added) else -1)) + 1
        return list(range(first, first + count))
    taken = {*catalog.tolist(), *added.tolist()}
    names = (f"added-{i}" for i in range(len(taken) + count + 1))
    return [name for name in names if name not in taken][:count]


class ColdStart:
    """Columns and rows of added items under one model.

    Parameters
    ----------
    dataset, grid
        The catalog.
    document
        Of the model.
    reader
        Tiles are read through it.

    Notes
    -----
    Woodbury: m d^2 flops. Members that know their inverse as tiles only (the direct route, the collective
    members) read it once per process, 2 n^2 m flops, and hold n x m float64.
    """

    def __init__(
        self, dataset: Dataset, grid: TileGrid, document: dict[str, Any], reader: TileReader
    ) -> None:
        self._workspace = dataset.workspace
        self._grid = grid
        self._reader = reader
        self._name = str(document["name"])
        self._params: dict[str, float] = document["params"]
        self._arrays: dict[str, str | None] = document["arrays"]
        self._held: tuple[int, Any] = (-1, None)

    @property
    def scores(self) -> bool:
        """Whether the model can score an item by its text."""
        return self._arrays.get("F") is not None and (self._name != "L3AE" or self._params["reg_e"] > 0)

    def check(self) -> None:
        """Raise :class:`ConfigError` for a model that knows nothing of text."""
        if not self.scores:
            raise ConfigError(
                f"{self._name} does not use item text, so it cannot score an item that nobody has; "
                "fit L3AE with reg_e > 0 or another member with text."
            )

    @property
    def weight(self) -> float:
        """What ``C_:,new`` counts in ``B_:,new``, L3AE apart."""
        return float(self._params["alpha"]) if self._name in ADDITIVE else 1.0

    @property
    def _features(self) -> Rows:
        return open_rows(self._workspace, str(self._arrays["F"]))

    def terms(self, added: AddedItems) -> tuple[AddedTerm, ...]:
        """``B_:,new`` as ``weight L R'``."""
        if not len(added):
            return ()
        if self._held[0] != added.generation:
            self._held = (added.generation, self._make_terms(added.features))
        found: tuple[AddedTerm, ...] = self._held[1]
        return found

    def _make_terms(self, features: Any) -> tuple[AddedTerm, ...]:
        if self._name == "TextSimilarity":
            return (AddedTerm(self._features, features, 1.0),)
        if self._arrays.get("M"):
            right = features @ self._middle
            if self._name == "L3AE":
                left = open_rows(self._workspace, str(self._arrays["Q"]))
                return (AddedTerm(left, right, float(self._params["reg_e"])),)
            return (AddedTerm(self._features, right, self.weight),)
        columns, _ = self._solve(features)
        if self._name == "L3AE":
            columns = float(self._params["reg_e"]) * self._times_inverse("P", columns)
        return (AddedTerm(HeldRows(columns), sparse.identity(columns.shape[1], format="csr"), self.weight),)

    @cached_property
    def _middle(self) -> Array:
        return ChunkArray.open(self._workspace, str(self._arrays["M"])).read(0, 0)

    def _solve(self, features: Any) -> tuple[Array, Array]:
        """``u = S F' f`` and ``schur`` of every row of ``features``, with the tiles of the inverse S."""
        squared = float(self._params["alpha"]) ** 2 if self._name in COLLECTIVE else 1.0
        ridge = self._params["reg_x" if self._name in COLLECTIVE else "reg_f"]
        products = squared * self._feature_products(features)
        columns = self._times_inverse("P" if self._name in COLLECTIVE else "P1", products)
        return columns, squared * _dots(features, features) + ridge - np.einsum("nm,nm->m", products, columns)

    def _feature_products(self, right: Any) -> Array:
        """``F' r`` for every row r, (n, m) float64."""
        features, out = self._features, np.empty((self._grid.n, right.shape[0]))
        for start in range(0, self._grid.n, _STEP):
            stop = min(start + _STEP, self._grid.n)
            product = features.item_rows(start, stop).astype(np.float64) @ right.T
            out[start:stop] = product.toarray() if sparse.issparse(product) else product
        return out

    def _times_inverse(self, name: str, vectors: Array) -> Array:
        """``S v`` from lower tiles, each read once."""
        array = ChunkArray.open(self._workspace, str(self._arrays[name]))
        out = np.zeros(vectors.shape)
        tiles = list(self._grid.lower())
        requests = [(TileRequest(array, *tile, stage="serve"),) for tile in tiles]
        for (i, j), (tile,) in zip(tiles, self._reader.stream(requests, ReadCount()), strict=True):
            block, rows, columns = tile.astype(np.float64), self._grid.rows(i), self._grid.rows(j)
            out[rows] += block @ vectors[columns]
            if i != j:
                out[columns] += block.T @ vectors[rows]
        return out

    def rows(self, features: Any) -> Array:
        """``B_new,:`` of a refit with each item alone, (m, n) float64: what having it would recommend."""
        if self._name == "TextSimilarity":
            return self._feature_products(features).T
        reg_f = float(self._params.get("reg_f", 0.0))
        if self._arrays.get("M"):
            right = features @ self._middle
            columns = self._feature_products(right)
            schur = reg_f * (1 + _dots(features, right))
            a = self._vector(str(self._arrays["V"]).removesuffix("/V") + "/a")
            diagonal = 1 / (reg_f * (1 - a))
        else:
            columns, schur = self._solve(features)
            inverse = self._arrays["P" if self._name in COLLECTIVE else "P1"]
            diagonal = self._vector(str(inverse).removesuffix("/P") + "/diagonal")
        found = new_item_row(columns.T, diagonal, schur[:, None])
        if self._name == "L3AE":
            return found * (self._params["reg_e"] / (self._params["reg_x"] + self._params["reg_e"]))
        return found * self.weight

    def _vector(self, path: str) -> Array:
        return open_rows(self._workspace, path).item_rows(0, self._grid.n)[:, 0].astype(np.float64)


def _dots(a: Any, b: Any) -> Array:
    """``a_m . b_m`` of every row; ``a`` may be sparse."""
    if sparse.issparse(a):
        return np.asarray(a.multiply(b).sum(axis=1)).ravel()
    return np.asarray(np.einsum("md,md->m", a, b))
