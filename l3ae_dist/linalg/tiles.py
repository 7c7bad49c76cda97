"""Integers of a tiled symmetric matrix: which tiles there are and which rows they cover."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class TileGrid:
    """An ``n x n`` matrix cut into square tiles of ``tile`` rows; the last tile may be ragged.

    >>> grid = TileGrid(10, 4)
    >>> grid.count, grid.shape(2, 0), grid.rows(2)
    (3, (2, 4), slice(8, 10, None))
    """

    n: int
    tile: int

    def __post_init__(self) -> None:
        if self.n < 1 or self.tile < 1:
            raise ValueError(f"a grid needs n >= 1 and tile >= 1, not n={self.n}, tile={self.tile}")

    @property
    def count(self) -> int:
        """Tiles per side, T = ceil(n / tile)."""
        return -(-self.n // self.tile)

    @property
    def lower_count(self) -> int:
        """Tiles of the lower triangle, T (T + 1) / 2."""
        return self.count * (self.count + 1) // 2

    def size(self, i: int) -> int:
        """Count the rows of tile row ``i``."""
        return min(self.tile, self.n - i * self.tile)

    def rows(self, i: int) -> slice:
        """Return the global rows of tile row ``i``."""
        return slice(i * self.tile, i * self.tile + self.size(i))

    def shape(self, i: int, j: int) -> tuple[int, int]:
        """Return the shape of tile (i, j)."""
        return self.size(i), self.size(j)

    def lower(self) -> Iterator[tuple[int, int]]:
        """Yield the coordinates of the lower triangle, column by column, downwards."""
        for j in range(self.count):
            for i in range(j, self.count):
                yield i, j
