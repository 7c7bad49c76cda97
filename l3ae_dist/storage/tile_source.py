"""Tiles in some memory, read ahead and kept there: what block tasks need of it."""

from concurrent.futures import Future
from typing import Protocol, TypeVar

import numpy as np

from l3ae_dist.storage.tile_requests import ReadCount, TileRequest

H = TypeVar("H")


class TileSource(Protocol[H]):
    """A memory that hands out tiles; that of the process is a ``TileReader``."""

    def cached(self, request: TileRequest) -> H | None:
        """Return a tile that is kept, to be given back by :meth:`release`."""

    def submit(self, request: TileRequest, count: ReadCount) -> Future[H]:
        """Start to read a tile that nobody changes; to be given back by :meth:`release`."""

    def take(self, request: TileRequest, dtype: np.dtype[np.generic], count: ReadCount) -> H:
        """Read a tile that the caller may overwrite, to be given back by :meth:`keep` or :meth:`release`.

        Parameters
        ----------
        request
            The tile.
        dtype
            Of the copy.
        count
            What was read is added to it.
        """

    def keep(self, request: TileRequest, held: H) -> None:
        """Take a tile back and keep it, if there is room; nobody changes it again."""

    def pin(self, request: TileRequest, held: H) -> bool:
        """Hold a finished tile that is not written, if there is room; nobody changes it again.

        Parameters
        ----------
        request
            What it is read as.
        held
            The tile, which the caller still has to release.

        Returns
        -------
        False when there is no room, and the tile has to be written.
        """

    def release(self, item: H) -> None:
        """Take a tile back."""
