"""Single entries of B, split into the collaborative and the semantic part: explanations and self-checks."""

import numpy as np
from scipy import sparse

from l3ae_dist.data.features import DenseRows, HeldRows, Rows
from l3ae_dist.graphs.score_terms import Part, ScoreTerms, TermArrays
from l3ae_dist.linalg.arrays import Array, Floats, Integers, Matrix
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.tile_reader import ReadCount, TileReader, TileRequest

# Pairs whose rows are held at once.
_PAIRS = 1 << 15


def weight_entries(
    model: ScoreTerms,
    arrays: TermArrays,
    grid: TileGrid,
    rows: Array,
    columns: Array,
    reader: TileReader | None = None,
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

    Returns
    -------
    dict
        (pairs,) float64 of each part. Each tile that holds an entry is read once; 2 d flops a pair.
    """
    out: dict[Part, Floats] = {"collaborative": np.zeros(len(rows)), "semantic": np.zeros(len(rows))}
    reader = reader or TileReader()
    for matrix in model.matrices:
        entries = _matrix_pairs(arrays.matrix(matrix.path), grid, rows, columns, reader, matrix.symmetric)
        out[matrix.part] += entries * _vector_at(arrays, matrix.scale, columns)
    for product in model.products:
        left, right = arrays.features(product.left), arrays.features(product.right)
        out[product.part] += product.weight * row_products(left, right, grid, rows, columns)
    out[model.diagonal_part] += (rows == columns) * _vector_at(arrays, model.diagonal, columns)
    return out


def _matrix_pairs(
    a: ChunkArray, grid: TileGrid, rows: Array, columns: Array, reader: TileReader, symmetric: bool
) -> Array:
    """Read ``A[rows[p], columns[p]]``; the pairs of one stored tile follow each other."""
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
    found = arrays.features(path)
    assert isinstance(found, DenseRows)
    if not len(positions):
        return np.empty(0)
    first, last = int(positions.min()), int(positions.max())
    return np.asarray(found.item_rows(first, last + 1)[positions - first, 0], np.float64)
