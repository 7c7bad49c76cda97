"""Tiles that kernels write to: read in order before a task needs them, written behind its arithmetic.

A process holds a bounded number of them. Tasks get theirs one task after the other, and compute in the same
order: whoever computes waits for no tile that another task has to give back first.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic

import numpy as np
import numpy.typing as npt

from l3ae_dist.storage.done_marks import ChunkMark
from l3ae_dist.storage.forked import in_children
from l3ae_dist.storage.tile_requests import ReadCount, TileRequest
from l3ae_dist.storage.tile_source import H, TileSource

LOAD_THREADS, WRITE_THREADS = 1, 2


@dataclass(eq=False)
class Claim(Generic[H]):
    """The accumulators of one task.

    Parameters
    ----------
    limit
        Accumulators that the process may hold, at least as many as the task asks for.
    loading
        Those that it asked for, by their numbers in the task.
    held
        How many of them have a place now.
    ended
        Whether the task is over, and gets no more.
    """

    limit: int
    loading: "dict[int, Future[H]]" = field(default_factory=dict)
    held: int = 0
    ended: bool = False


class Accumulators(Generic[H]):
    """The accumulators of one process, in one memory.

    Parameters
    ----------
    source
        Reads their first values and holds their memory.
    loads, writes
        Threads that read and that write.
    """

    def __init__(self, source: TileSource[H], loads: int = LOAD_THREADS, writes: int = WRITE_THREADS) -> None:
        self._source = source
        self._threads = (loads, writes)
        self._renew()
        in_children(self._renew)

    def _renew(self) -> None:
        loads, writes = self._threads
        self._loads = ThreadPoolExecutor(loads, thread_name_prefix="tile-load")
        self._writes = ThreadPoolExecutor(writes, thread_name_prefix="tile-write")
        self._changed = threading.Condition()
        self._held = 0
        # of the tasks whose arithmetic is not over, in the order in which they asked
        self._claims: list[Claim[H]] = []
        # the loads that have no place yet, by a number of each, in the order in which they get one
        self._waiting: dict[int, Claim[H]] = {}
        self._asked = 0

    @property
    def held(self) -> int:
        """Accumulators that are in use, or on their way."""
        return self._held

    @contextmanager
    def claim(self, limit: int) -> Iterator[Claim[H]]:
        """Let a task ask for accumulators; what it has not given back in the end is given back for it.

        The memory of those that a task leaves is not used again: interrupted, it may not know who writes.
        """
        claim: Claim[H] = Claim(limit)
        try:
            yield claim
        finally:
            self._end(claim)

    def load(
        self, claim: Claim[H], requests: Mapping[int, TileRequest], dtype: npt.DTypeLike, count: ReadCount
    ) -> None:
        """Read all tiles of a task in order, each once there is a place, after those of tasks before it.

        Parameters
        ----------
        claim
            Of the task.
        requests
            By the numbers of the accumulators, in the order in which they are needed.
        dtype, count
            As for :meth:`TileSource.take`.
        """
        with self._changed:  # no other task asks in between
            self._claims.append(claim)
            for place, request in requests.items():
                self._asked += 1
                self._waiting[self._asked] = claim
                loading = self._loads.submit(self._load, claim, self._asked, request, np.dtype(dtype), count)
                claim.loading[place] = loading

    def _load(
        self,
        claim: Claim[H],
        number: int,
        request: TileRequest,
        dtype: np.dtype[np.generic],
        count: ReadCount,
    ) -> H:
        """Read a tile once there is a place, and all that were asked for before have one."""
        with self._changed:
            self._changed.wait_for(lambda: claim.ended or self._is_next(number, claim))
            if claim.ended:
                raise CancelledError
            del self._waiting[number]
            self._add(claim, 1)
        return self._source.take(request, dtype, count)

    def _is_next(self, number: int, claim: Claim[H]) -> bool:
        return next(iter(self._waiting)) == number and self._held < claim.limit

    @contextmanager
    def turn(self, claim: Claim[H]) -> Iterator[None]:
        """Compute after the tasks that asked before: they need their turn to give back what they hold."""
        with self._changed:
            self._changed.wait_for(lambda: self._claims[0] is claim)
        try:
            yield
        finally:
            self._pass(claim)

    def write(self, write: Callable[[], ChunkMark | None]) -> "Future[ChunkMark | None]":
        """Write a finished tile, or keep it elsewhere, while the arithmetic goes on."""
        return self._writes.submit(write)

    def release(self, claim: Claim[H], held: H, kept_for: TileRequest | None = None) -> None:
        """Give an accumulator back.

        Parameters
        ----------
        claim
            Of the task that asked for it.
        held
            The accumulator.
        kept_for
            What later tasks read it as, when it is a tile that is finished and read again.
        """
        if kept_for is None:
            self._source.release(held)
        else:
            self._source.keep(kept_for, held)
        with self._changed:
            self._add(claim, -min(1, claim.held))

    def _add(self, claim: Claim[H], places: int) -> None:
        claim.held += places
        self._held += places
        self._changed.notify_all()

    def _pass(self, claim: Claim[H]) -> None:
        with self._changed:
            if claim in self._claims:
                self._claims.remove(claim)
            self._changed.notify_all()

    def _end(self, claim: Claim[H]) -> None:
        """Take a task out: no tile is read for it any more, and it holds no place."""
        claim.ended = True
        try:
            self._pass(claim)
            with self._changed:
                self._waiting = {number: one for number, one in self._waiting.items() if one is not claim}
                self._changed.notify_all()
            for loading in claim.loading.values():
                if not loading.cancel():
                    loading.exception()  # it ends first
        finally:
            claim.loading.clear()  # the frames of an error refer to the claim
            with self._changed:
                self._add(claim, -claim.held)
