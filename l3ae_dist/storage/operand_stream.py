"""Operands of a task in the order in which they are used, a few of them read ahead of the arithmetic."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Generic

from l3ae_dist.storage.tile_requests import ReadCount, TileRequest
from l3ae_dist.storage.tile_source import H, TileSource

# Tiles on their way, or waiting to be used: they hide a disk that reads a tile faster than a kernel runs.
AHEAD = 2


class OperandStream(Generic[H]):
    """Tiles that are read ahead, each of them held until it is released.

    Parameters
    ----------
    source
        Reads them.
    requests
        In the order of their first use.
    count
        What is read, and the seconds that :meth:`get` waits, are added to it.
    """

    def __init__(self, source: TileSource[H], requests: Sequence[TileRequest], count: ReadCount) -> None:
        self._source = source
        self._requests = requests
        self._count = count
        self._next = 0
        self._on_their_way: dict[int, H | Future[H]] = {}
        self._in_use: dict[int, H] = {}
        self._ask()

    def get(self, number: int) -> H:
        """Return a tile, which is read-only and valid until it is released.

        Parameters
        ----------
        number
            Of its request; all before it have been asked for.
        """
        if number not in self._in_use:
            self._in_use[number] = self._arrived(self._on_their_way.pop(number))
            self._ask()
        return self._in_use[number]

    def release(self, number: int) -> None:
        """Give a tile back."""
        self._source.release(self._in_use.pop(number))

    def close(self) -> None:
        """Give everything back; ends all reading of a task that failed."""
        for held in self._in_use.values():
            self._source.release(held)
        for found in self._on_their_way.values():
            if not isinstance(found, Future):
                self._source.release(found)
            elif not found.cancel() and found.exception() is None:
                self._source.release(found.result())
        self._in_use.clear()
        self._on_their_way.clear()

    def _arrived(self, found: H | Future[H]) -> H:
        if not isinstance(found, Future):
            return found
        asked = time.perf_counter()
        held = found.result()
        self._count.waited += time.perf_counter() - asked
        return held

    def _ask(self) -> None:
        while self._next < len(self._requests) and len(self._on_their_way) < AHEAD:
            request = self._requests[self._next]
            cached = self._source.cached(request)
            found = self._source.submit(request, self._count) if cached is None else cached
            self._on_their_way[self._next] = found
            self._next += 1
