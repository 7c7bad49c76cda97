"""The client's account of which worker holds which tile, from the records of finished tasks."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from l3ae_dist.graphs.blocks import AnyTask
from l3ae_dist.graphs.execute import TaskRecord
from l3ae_dist.graphs.holders import Holders, tiles_known, tiles_read_by
from l3ae_dist.graphs.tasks import TileRef

# Holders of a tile that a task is told: if none of them has it any more, it reads the workspace.
_TOLD = 3
# Holders of a tile that are remembered, so that many workers share the reads of one that all of them need.
_REMEMBERED = 16

_Place = tuple[str, int, int]


class TileHolders:
    """The workers that hold tiles, as far as the tasks that ended have told; a few bytes for each tile."""

    def __init__(self) -> None:
        self._held: dict[_Place, dict[str, None]] = {}
        self._crcs: dict[_Place, int] = {}
        self._turn = 0

    def of(self, task: AnyTask, paths: Mapping[str, str]) -> Holders:
        """Tell a task which workers hold what it reads; each time others of many holders of one tile.

        Parameters
        ----------
        task, paths
            As they are sent to a worker: the task, and the arrays' paths by the names in it.
        """
        workers: dict[str, int] = {}
        numbers: dict[TileRef, tuple[int, ...]] = {}
        crcs: dict[TileRef, int] = {}
        self._turn += 1
        for ref in tiles_read_by(task):
            # a worker that is lost may be taken out meanwhile, by another thread
            place = _place(ref, paths)
            held = tuple(self._held.get(place, {}).copy())
            if held:
                chosen = islice(_turned(held, self._turn), _TOLD)
                numbers[ref] = tuple(workers.setdefault(worker, len(workers)) for worker in chosen)
                if place in self._crcs:
                    crcs[ref] = self._crcs[place]
        return Holders(tuple(workers), numbers, crcs)

    def note(self, task: AnyTask, paths: Mapping[str, str], records: Sequence[TaskRecord]) -> None:
        """Learn from the records of a finished task what its worker holds now, and what not.

        Parameters
        ----------
        task, paths
            As they were sent to the worker.
        records
            Of the task.
        """
        if records[0].worker:
            self._crcs |= {_place(record.target, paths): record.crc for record in records}
            self.note_kept(task, paths, records[0].worker, records[0].kept)

    def note_kept(self, task: AnyTask, paths: Mapping[str, str], worker: str, kept: int) -> None:
        """Learn what a worker holds after a task.

        Parameters
        ----------
        task, paths
            As they were sent to the worker.
        worker
            Its address.
        kept
            Bits, as of :class:`~l3ae_dist.graphs.execute.TaskRecord`.
        """
        for number, ref in enumerate(tiles_known(task)):
            held = self._held.setdefault(_place(ref, paths), {})
            if not kept >> number & 1:
                held.pop(worker, None)
            elif len(held) < _REMEMBERED:
                held[worker] = None

    def forget(self, worker: str) -> None:
        """Take out a worker that is lost."""
        for held in list(self._held.values()):
            held.pop(worker, None)

    def clear(self) -> None:
        """Forget all: the workers give their tiles up for tasks of another kind."""
        self._held.clear()
        self._crcs.clear()


def _place(ref: TileRef, paths: Mapping[str, str]) -> _Place:
    return paths[ref.array], ref.i, ref.j


def _turned(workers: Sequence[str], turn: int) -> Iterable[str]:
    first = turn % len(workers)
    return (*workers[first:], *workers[:first])
