"""Inputs of a plan: the size of the data, what the models need, and the workers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Without the data, the most popular tile is taken to hold so many times an average tile's interactions.
POPULAR_TILE = 8
# Likewise, the mean square of a user's interactions over the square of the mean.
UNEVEN_USERS = 4


@dataclass(frozen=True, slots=True)
class DataSize:
    """Size of the training data; what is not known of it is assumed.

    Parameters
    ----------
    items, users, interactions
        Of the training matrix.
    dim
        Columns of the item features, 0 without.
    gram_itemsize
        Bytes of an entry of the exact Gram matrix; those of the arithmetic when None.
    block_interactions
        Gives the interactions of the most popular tile for a tile size; without it that tile is assumed to
        hold :data:`POPULAR_TILE` times the average.
    pair_count
        Gives the squared interactions of a user, summed over the users; without it :data:`UNEVEN_USERS` times
        what equally active users would have.
    """

    items: int
    users: int
    interactions: int
    dim: int = 0
    gram_itemsize: int | None = None
    block_interactions: Callable[[int], int] | None = None
    pair_count: Callable[[], float] | None = None

    def widest_block(self, tile: int) -> int:
        """Return the interactions of the most popular tile of ``tile`` items."""
        if self.block_interactions is not None:
            return self.block_interactions(tile)
        return min(self.interactions, POPULAR_TILE * self.interactions * tile // self.items)

    def pairs(self) -> float:
        """Return the squared interactions of a user, summed: the products that the Gram matrix adds up."""
        if self.pair_count is not None:
            return self.pair_count()
        return UNEVEN_USERS * float(self.interactions) ** 2 / self.users


@dataclass(frozen=True, slots=True)
class ModelNeeds:
    """The needs of a run's models beside one factorisation and inverse.

    Parameters
    ----------
    heads
        Models scored together, from the same tiles.
    k
        Items kept for each user.
    scored_users
        Users that are evaluated, all when None.
    semantic_tiles
        Whether the semantic phase is solved in tiles too (direct route).
    product
        Whether its solution C is multiplied by P in tiles.
    low_rank
        Singular vectors of a low-pass filter, 0 for none.
    dense_features
        Whether item features are dense rows; sparse ones (words) are multiplied as they are.
    """

    heads: int = 1
    k: int = 50
    scored_users: int | None = None
    semantic_tiles: bool = False
    product: bool = False
    low_rank: int = 0
    dense_features: bool = True


@dataclass(frozen=True, slots=True)
class Machine:
    """Worker processes and the arithmetic that they do.

    Parameters
    ----------
    memory_budget
        Bytes of one worker process, interpreter included.
    workers
        Worker processes.
    dtype
        Of the arithmetic: ``float32`` or ``float64``.
    gpu
        Whether workers compute on a GPU, which takes host memory for torch and page-locked tiles.
    tile
        Rows of a tile; chosen from the budget when None.
    """

    memory_budget: int
    workers: int = 1
    dtype: str = "float32"
    gpu: bool = False
    tile: int | None = None

    @property
    def itemsize(self) -> int:
        """Bytes of one matrix entry."""
        return int(np.dtype(self.dtype).itemsize)
