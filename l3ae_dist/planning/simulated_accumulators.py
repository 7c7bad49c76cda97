"""The tiles under way on a modelled worker: read before the arithmetic needs them, written behind it.

As in :mod:`l3ae_dist.storage.accumulators`, a worker holds a bounded number of them, tasks get theirs in the
order in which they asked, and a tile that is written makes place for one that waits.
"""

import heapq
from collections.abc import Iterable, Sequence


class SimulatedAccumulators:
    """The accumulators of one worker, on the clock of the simulation.

    Parameters
    ----------
    places
        Accumulators that the worker holds at most, unless a task alone needs more.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._given_back: list[float] = []  # times, of those that no later tile has taken the place of
        self._held = 0  # with those given back
        self._reads_from = self._writes_from = self._carried = 0.0

    def load(self, asked: float, seconds: Sequence[float]) -> list[float]:
        """Read the tiles that a task starts from, one after the other, each once there is a place.

        Parameters
        ----------
        asked
            When the task asked for them.
        seconds
            To read each, in the order in which they are needed; 0 for one that is at hand.

        Returns
        -------
        The time at which each is there.
        """
        places, there = max(self._places, len(seconds)), []
        for each in seconds:
            place = asked
            if self._held >= places:
                place = max(place, heapq.heappop(self._given_back))
            else:
                self._held += 1
            self._reads_from = max(self._reads_from, place) + each
            there.append(self._reads_from)
        return there

    def carried(self, asked: float, seconds: float) -> float:
        """Return when all that a task reads has come: its operands have the same way as what is loaded.

        Parameters
        ----------
        asked
            When the first of it was asked for.
        seconds
            That all of it takes on the way.
        """
        self._carried = max(self._carried, asked) + seconds
        return self._carried

    def write(self, finished: Iterable[tuple[float, float]]) -> float:
        """Write the tiles of a task, and give all its places back.

        Parameters
        ----------
        finished
            When each is finished, in their order, and the seconds that it takes to write; 0 for one that
            stays in memory.

        Returns
        -------
        The time at which the last one is written.
        """
        last = 0.0
        for time, seconds in finished:
            if seconds:
                time = self._writes_from = max(self._writes_from, time) + seconds
            heapq.heappush(self._given_back, time)
            last = max(last, time)
        return last
