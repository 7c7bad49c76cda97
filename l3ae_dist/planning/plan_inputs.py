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
    raw_dim
        Columns of the embeddings before a transformation; None where there is none, or it is not known.
    tail
        Items outside the core: they have features and scores, and are in no n x n matrix.
    dtype
        Of the tiles that a run chooses for these data; None where that is not known.
    ready
        Names of the stages of which the results are in the workspace.
    remarks
        Sentences on where the size is from.
    """

    items: int
    users: int
    interactions: int
    dim: int = 0
    gram_itemsize: int | None = None
    block_interactions: Callable[[int], int] | None = None
    pair_count: Callable[[], float] | None = None
    raw_dim: int | None = None
    tail: int = 0
    dtype: str | None = None
    ready: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def catalog(self) -> int:
        """Number of all items, in the core or not."""
        return self.items + self.tail

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
    scalings
        Scalings of the rows of one inverse by the popularity of the items; each is a product of its own.
    weighted_users
        Whether the users of a Gram matrix have weights.
    """

    heads: int = 1
    k: int = 50
    scored_users: int | None = None
    semantic_tiles: bool = False
    product: bool = False
    low_rank: int = 0
    dense_features: bool = True
    scalings: int = 0
    weighted_users: bool = False


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
        Of the tiles: ``float32`` or ``float64``.
    gpu
        Whether workers compute on a GPU, which takes host memory for torch and page-locked tiles.
    tile
        Rows of a tile; chosen from the budget when None.
    arithmetic
        Dtype that tiles are computed in; their own when None.
    block
        Tiles a side of a block that a task makes side by side, at most; chosen when None.
    peer_reads
        Whether workers may read tiles from each other; where there are several when None.
    device_memory
        Bytes of a GPU that a worker may use; None where each decides for itself.
    sharers
        Workers on one GPU, as far as that is known before they are started.
    local_bytes
        Bytes of copies of tiles on a local disk of each worker.
    counted
        Whether the tiles that small stages read are counted one by one; a search for a plan that fits only
        estimates them.
    """

    memory_budget: int
    workers: int = 1
    dtype: str = "float32"
    gpu: bool = False
    tile: int | None = None
    arithmetic: str | None = None
    block: int | None = None
    peer_reads: bool | None = None
    device_memory: int | None = None
    sharers: int = 1
    local_bytes: int = 0
    counted: bool = True

    @property
    def among_peers(self) -> bool:
        """True where a worker reads tiles from others, and sends them its own."""
        return self.workers > 1 if self.peer_reads is None else self.peer_reads

    @property
    def widened(self) -> bool:
        """True where the worker's processor computes in copies of tiles that are wider than these."""
        return self.arithmetic not in (None, self.dtype) and not self.gpu

    @property
    def itemsize(self) -> int:
        """Bytes of one matrix entry."""
        return int(np.dtype(self.dtype).itemsize)
