"""Single entries of B, split into the collaborative and the semantic part: explanations and self-checks."""

from typing import TypeVar

import numpy as np
from scipy import sparse

from l3ae_dist.data.features import HeldRows, Rows
from l3ae_dist.graphs.score_terms import MatrixTerm, Part, ProductTerm, ScoreTerms, TermArrays
from l3ae_dist.linalg.arrays import Array, Floats, Integers, Matrix
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.tile_reader import TileReader
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest

Term = TypeVar("Term", MatrixTerm, ProductTerm)
# Pairs whose rows are held at once.
_PAIRS = 1 << 15
_PARTS: tuple[Part, Part] = ("collaborative", "semantic")


def weight_entries(
    model: ScoreTerms,
    arrays: TermArrays,
    grid: TileGrid,
    rows: Array,
    columns: Array,
    reader: TileReader | None = None,
    *,
    divided: bool = True,
) -> dict[Part, Floats]:
    """Compute ``B[rows[p], columns[p]]`` of every pair p, split by part.

    Parameters
    ----------
    model, arrays, grid
        The model's terms, their arrays and their tiles.
    rows, columns
        (pairs,) item positions.
    reader
        Whose cache is used; none when not given.
    divided
        Whether a term that is of both parts is divided. False for callers of the sum alone, which is then
        made of whole terms as a score is.

    Returns
    -------
    dict
        (pairs,) float64 of each part. Each tile that holds an entry is read once; 2 d flops a pair.
    """
    out: dict[Part, Floats] = {part: np.zeros(len(rows)) for part in _PARTS}
    reader = reader or TileReader()
    for matrix in model.matrices:
        entries = _matrix_pairs(arrays.matrix(matrix.path), grid, rows, columns, reader, matrix.symmetric)
        if matrix.rows != 1.0:
            entries *= _vector_at(arrays, matrix.rows, rows)
        for term in _parts_of(matrix) if divided else (matrix,):
            out[term.part] += entries * _vector_at(arrays, term.scale, columns)
    for product in model.products:
        left, right = arrays.features(product.left), arrays.features(product.right)
        entries = product.weight * row_products(left, right, grid, rows, columns)
        for share in _parts_of(product) if divided else (product,):
            out[share.part] += entries * _vector_at(arrays, share.scale, columns)
    same = rows == columns
    if not divided:
        out[model.diagonal_part] += same * _vector_at(arrays, model.diagonal, columns)
        return out
    for part in _PARTS:
        out[part] += same * _vector_at(arrays, model.diagonal_of(part), columns)
    return out


def _parts_of(term: Term) -> list[Term]:
    found = (term.of_part(part) for part in _PARTS)
    return [one for one in found if one is not None]


def _matrix_pairs(
    a: ChunkArray, grid: TileGrid, rows: Array, columns: Array, reader: TileReader, symmetric: bool
) -> Array:
    """Read ``A[rows[p], columns[p]]``; the pairs of one stored tile follow each other.

    Entries that A lacks, for it is of the first items alone, are zero.
    """
    stored = np.flatnonzero((rows < a.shape[0]) & (columns < a.shape[0]))
    if len(stored) < len(rows):
        found = np.zeros(len(rows))
        found[stored] = _matrix_pairs(a, grid, rows[stored], columns[stored], reader, symmetric)
        return found
    out = np.empty(len(rows))
    i, j = rows // grid.tile, columns // grid.tile
    mirrored = (i < j) & symmetric
    row, column = np.where(mirrored, columns, rows), np.where(mirrored, rows, columns)
    groups = _groups(row // grid.tile, column // grid.tile)
    requests = [(TileRequest(a, i, j, stage="serve"),) for i, j, _ in groups]
    for (_, _, pairs), (tile,) in zip(groups, reader.stream(requests, ReadCount()), strict=True):
        out[pairs] = tile[row[pairs] % grid.tile, column[pairs] % grid.tile]
    return out


def row_products(
    left: Rows | HeldRows, right: Rows | HeldRows, grid: TileGrid, rows: Array, columns: Array
) -> Floats:
    """Compute the scalar product ``L[rows[p]] . R[columns[p]]`` of every pair p.

    Parameters
    ----------
    left, right
        (n, d) and (m, d), dense or sparse.
    grid
        Rows that are read together.
    rows, columns
        (pairs,) positions.

    Returns
    -------
    array
        (pairs,) float64.
    """
    out = np.empty(len(rows))
    for i, j, pairs in _groups(rows // grid.tile, columns // grid.tile):
        rows_i = left.item_rows(i * grid.tile, min((i + 1) * grid.tile, left.shape[0]))
        rows_j = right.item_rows(j * grid.tile, min((j + 1) * grid.tile, right.shape[0]))
        for start in range(0, len(pairs), _PAIRS):
            some = pairs[start : start + _PAIRS]
            out[some] = _dots(rows_i[rows[some] % grid.tile], rows_j[columns[some] % grid.tile])
    return out


def _dots(a: Matrix, b: Matrix) -> Floats:
    if sparse.issparse(a) or sparse.issparse(b):
        product = a.multiply(b) if sparse.issparse(a) else b.multiply(a)
        return np.asarray(product.sum(axis=1)).ravel()
    return np.asarray(np.einsum("pd,pd->p", a.astype(np.float64), b.astype(np.float64)))


def _groups(i: Array, j: Array) -> list[tuple[int, int, Integers]]:
    """The pairs of every tile that has some."""
    side = int(max(i.max(initial=0), j.max(initial=0))) + 1
    key = i * side + j
    order = np.argsort(key, kind="stable")
    found, first = np.unique(key[order], return_index=True)
    parts = np.split(order, first[1:])
    return [(int(k) // side, int(k) % side, pairs) for k, pairs in zip(found, parts, strict=False)]


def _vector_at(arrays: TermArrays, path: str | float, positions: Array) -> Floats:
    if not isinstance(path, str):
        return np.full(len(positions), float(path))
    if not len(positions):
        return np.empty(0)
    first, last = int(positions.min()), int(positions.max())
    entries: Floats = arrays.vector(path, slice(first, last + 1))[positions - first]
    return entries
