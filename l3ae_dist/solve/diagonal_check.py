"""The self-check of a model: the diagonal of B, which is 0 or that of the optimum in exact arithmetic."""

import numpy as np

from l3ae_dist.graphs.score_terms import ScoreTerms, TermArrays
from l3ae_dist.graphs.weight_entries import weight_entries
from l3ae_dist.linalg.tiles import TileGrid


def diagonal_error(terms: ScoreTerms, arrays: TermArrays, grid: TileGrid) -> float:
    """Measure the largest error of a ``B_jj`` relative to its largest term (at least 1), by diagonal tiles.

    Parameters
    ----------
    terms, arrays
        The model and its arrays.
    grid
        The tiles of the items.
    """
    worst, largest = 0.0, 1.0
    for i in range(grid.count):
        rows = np.arange(grid.rows(i).start, grid.rows(i).stop)
        entries = weight_entries(terms, arrays, grid, rows, rows, divided=False)
        collaborative, semantic = entries["collaborative"], entries["semantic"]
        kept = arrays.vector(terms.kept, grid.rows(i))
        worst = max(worst, float(np.abs(collaborative + semantic - kept).max()))
        largest = max(largest, float(np.abs(semantic).max()))
    return worst / largest
