"""Items that came after the fit: known by their text alone, scored on the scale of the catalog.

An item nobody has yet gets exactly the column that a refit with it would give (``C_:,new = F' M f``, for L3AE
``B_:,new = reg_e P C_:,new = reg_e Q M f``), and as a row that of the same refit (the bordered inverse).
"""

from functools import cached_property

import numpy as np
from scipy import sparse

from l3ae_dist.config.members import ADDITIVE, COLLECTIVE, ModelSpec
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import HeldRows, Rows, open_rows
from l3ae_dist.errors import ConfigError
from l3ae_dist.graphs.weight_blocks import AddedTerm
from l3ae_dist.linalg.arrays import Array, Floats, Matrix
from l3ae_dist.linalg.closed_form import new_item_row
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.model.added_items import AddedItems
from l3ae_dist.pipeline.model_document import ModelDocument
from l3ae_dist.storage import layout
from l3ae_dist.storage.tile_reader import TileReader
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest
from l3ae_dist.storage.vectors import open_finished

_STEP = 4096


class ColdStart:
    """Columns and rows of added items under one model.

    Parameters
    ----------
    dataset
        The catalog.
    grid
        Tiles of its items.
    document
        Record of the model.
    reader
        Reads and caches tiles.

    Notes
    -----
    Woodbury: m d^2 flops. Members that know their inverse as tiles only (the direct route, the collective
    members) read it once per process, 2 n^2 m flops, and hold n x m float64.
    """

    def __init__(self, dataset: Dataset, grid: TileGrid, document: ModelDocument, reader: TileReader) -> None:
        self._workspace = dataset.workspace
        self._core = dataset.n_core
        self._grid = grid
        self._reader = reader
        self._name = document.name
        self._spec = ModelSpec.of(document.name, document.params)
        self._arrays = document.arrays
        self._held: tuple[int, tuple[AddedTerm, ...]] = (-1, ())

    @property
    def scores(self) -> bool:
        """True for a model that can score an item by its text alone."""
        return self._arrays.get("F") is not None and (self._name != "L3AE" or self._spec.reg_e > 0)

    def check(self) -> None:
        """Raise :class:`ConfigError` for a model that knows nothing of text."""
        if not self.scores:
            raise ConfigError(
                f"{self._name} does not use item text, so it cannot score an item that nobody has; "
                "fit L3AE with reg_e > 0 or another member with text."
            )

    @property
    def weight(self) -> float:
        """Weight of ``C_:,new`` in ``B_:,new``, for members other than L3AE."""
        return self._spec.alpha if self._name in ADDITIVE else 1.0

    @property
    def _pull(self) -> float:
        """Weight of the semantic model in B, for L3AE."""
        return self._spec.objective.pull

    @property
    def _reg_f(self) -> float:
        return float(self._spec.reg_f or 0.0)

    @property
    def _features(self) -> Rows:
        return open_rows(self._workspace, str(self._arrays["F"]))

    def terms(self, added: AddedItems) -> tuple[AddedTerm, ...]:
        """Return the columns of added items as a sum of products: ``B_:,new = sum weight L R'``."""
        if not len(added):
            return ()
        if self._held[0] != added.generation:
            self._held = (added.generation, self._make_terms(added.features))
        return self._held[1]

    def _make_terms(self, features: Matrix) -> tuple[AddedTerm, ...]:
        if self._name == "TextSimilarity":
            return (AddedTerm(self._features, features, 1.0),)
        if self._arrays.get("M"):
            right = features @ self._middle
            if self._name == "L3AE":
                left = open_rows(self._workspace, str(self._arrays["Q"]))
                return (AddedTerm(left, right, self._pull),)
            return (AddedTerm(self._features, right, self.weight),)
        columns, _ = self._solve(features)
        if self._name == "L3AE":
            columns = self._pull * self._times_inverse("P", columns)
        return (AddedTerm(HeldRows(columns), sparse.identity(columns.shape[1], format="csr"), self.weight),)

    @cached_property
    def _middle(self) -> Array:
        return open_finished(self._workspace, str(self._arrays["M"])).read(0, 0)

    def _solve(self, features: Matrix) -> tuple[Array, Array]:
        """``u = S F' f`` and ``schur`` of every row of ``features``, with the tiles of the inverse S."""
        squared = self._spec.alpha**2 if self._name in COLLECTIVE else 1.0
        ridge = self._spec.reg_x if self._name in COLLECTIVE else self._reg_f
        products = squared * self._feature_products(features)
        columns = self._times_inverse("P" if self._name in COLLECTIVE else "P1", products)
        return columns, squared * _dots(features, features) + ridge - np.einsum("nm,nm->m", products, columns)

    def _feature_products(self, right: Matrix) -> Array:
        """``F' r`` for every row r, (n, m) float64."""
        features, out = self._features, np.empty((self._grid.n, right.shape[0]))
        for start in range(0, self._grid.n, _STEP):
            stop = min(start + _STEP, self._grid.n)
            product = features.item_rows(start, stop).astype(np.float64) @ right.T
            out[start:stop] = product.toarray() if sparse.issparse(product) else product
        return out

    def _times_inverse(self, name: str, vectors: Array) -> Array:
        """``S v`` from lower tiles, each read once."""
        array = open_finished(self._workspace, str(self._arrays[name]))
        out = np.zeros(vectors.shape)
        tiles = list(self._grid.lower())
        requests = [(TileRequest(array, *tile, stage="serve"),) for tile in tiles]
        for (i, j), (tile,) in zip(tiles, self._reader.stream(requests, ReadCount()), strict=True):
            block, rows, columns = tile.astype(np.float64), self._grid.rows(i), self._grid.rows(j)
            out[rows] += block @ vectors[columns]
            if i != j:
                out[columns] += block.T @ vectors[rows]
        return out

    def weight_rows(self, features: Matrix) -> Floats:
        """Return ``B_new,:`` of a refit with each item alone, (m, n) float64."""
        if self._name == "TextSimilarity":
            return self._feature_products(features).T
        reg_f = self._reg_f
        if self._arrays.get("M"):
            right = features @ self._middle
            columns = self._feature_products(right)
            schur = reg_f * (1 + _dots(features, right))
            a = self._vector(layout.SemanticPaths.holding(str(self._arrays["V"])).a)
            diagonal = 1 / (reg_f * (1 - a))
        else:
            columns, schur = self._solve(features)
            inverse = self._arrays["P" if self._name in COLLECTIVE else "P1"]
            diagonal = self._vector(layout.FactorPaths.holding(str(inverse)).diagonal)
        found = new_item_row(columns.T, diagonal, schur[:, None])
        if self._core < self._grid.n:  # those outside the core come after the new item, too
            found[:, self._core :] = columns.T[:, self._core :] * (reg_f / schur)[:, None]
        if self._name == "L3AE":
            return found * (self._spec.reg_e / (self._spec.reg_x + self._spec.reg_e))
        return found * self.weight

    def _vector(self, path: str) -> Array:
        return open_rows(self._workspace, path).item_rows(0, self._grid.n)[:, 0].astype(np.float64)


def _dots(a: Matrix, b: Matrix) -> Array:
    """``a_m . b_m`` of every row; ``a`` may be sparse."""
    if sparse.issparse(a):
        return np.asarray(a.multiply(b).sum(axis=1)).ravel()
    return np.asarray(np.einsum("md,md->m", a, b))
