"""Done-marks: which bytes of which chunk are finished, listed once for each array and reader.

The mark of a chunk is an object whose *name* holds the chunk's coordinates, the CRC32C of its bytes and a
digest of all three with the path of the array. One listing therefore tells what every chunk of an array must
be, and a mark that was copied from another array, or renamed, is none.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import google_crc32c
import numpy as np

from l3ae_dist.storage import layout
from l3ae_dist.storage.blobs import Blobs
from l3ae_dist.storage.forked import ProcessLock
from l3ae_dist.storage.layout import MarkName
from l3ae_dist.storage.records import JsonObject

# What is known of a chunk: no mark, a mark, a mark of an older version (whose name has no digest).
_NONE, _MARKED, _OLD = 0, 1, 2


@dataclass(frozen=True)
class ChunkMark:
    """A done-mark: which chunk and the CRC32C of its bytes."""

    i: int
    j: int
    crc: int


class DoneMarks:
    """The done-marks of one array, five bytes a chunk; safe for several threads at once.

    They are listed at the first question. Marks appear while a run writes: a chunk that has none here is
    asked for by the name that its mark must have (one small request), and one that has another is looked up
    in a new listing, before it counts as damaged. So is one whose mark has an older epoch than others that
    were seen: a run that was taken over may have put it in the place of a chunk of the run that did.

    Parameters
    ----------
    blobs
        The store.
    path, grid
        The array, and its numbers of chunks.
    old_names
        Whether marks that older versions named count: in workspaces of their format alone.
    """

    def __init__(self, blobs: Blobs, path: str, grid: tuple[int, int], *, old_names: bool = False) -> None:
        self._old_names = old_names
        self._blobs = blobs
        self._path = path
        self.grid = grid
        self._lock = ProcessLock()
        self._crcs: np.ndarray[tuple[int, int], np.dtype[np.uint32]] | None = None
        self._state = np.zeros(grid, np.uint8)
        self._epoch = -1.0  # the highest that was seen

    def agrees(self, mark: ChunkMark) -> bool:
        """Tell whether a chunk with this CRC32C is the finished one; costs no request for a known chunk."""
        known = self.of_chunk(mark.i, mark.j)
        if known == mark:
            return True
        if known is None and self._is_new(mark):
            self._note(mark, _MARKED)
            return True
        return self._listed().of_chunk(mark.i, mark.j) == mark

    def _is_new(self, mark: ChunkMark) -> bool:
        """Tell whether a mark is in the store, of no older epoch than those that were seen."""
        data = self._blobs.get(self._key(mark))
        if data is None:
            return False
        epoch = _age(data)[0]
        newest, self._epoch = self._epoch, max(self._epoch, epoch)
        return epoch >= newest

    def of_chunk(self, i: int, j: int) -> ChunkMark | None:
        """Return the mark of a chunk as far as it is known without asking again, or None."""
        with self._lock:
            if self._crcs is None:
                self._list()
            assert self._crcs is not None
            return ChunkMark(i, j, int(self._crcs[i, j])) if self._state[i, j] else None

    def chunks(self) -> set[tuple[int, int]]:
        """Return the chunks that have a mark, from a new listing."""
        self._listed()
        return {(int(i), int(j)) for i, j in zip(*np.nonzero(self._state), strict=True)}

    def version(self) -> int:
        """Return a number that changes with the marks, from a new listing."""
        self._listed()
        assert self._crcs is not None
        return int(google_crc32c.value(self._crcs.tobytes() + self._state.tobytes()))

    def put(self, mark: ChunkMark, record: JsonObject) -> None:
        """Write a mark with what it tells beside its name."""
        self._blobs.put(self._key(mark), [data := json.dumps(record).encode()])
        self._epoch = max(self._epoch, _age(data)[0])
        self._note(mark, _MARKED)

    def remove(self, i: int, j: int) -> None:
        """Remove every mark of a chunk, also those that are not of this array, with a listing."""
        for key in self._blobs.list(layout.done_marks(self._path)):
            if layout.is_mark_of(key, i, j):
                self._blobs.delete(key)
        self._forget(i, j)

    def remove_known(self, mark: ChunkMark) -> None:
        """Remove one mark, without a listing."""
        old = self._crcs is not None and self._state[mark.i, mark.j] == _OLD
        self._blobs.delete(self._key(mark, old=old))
        self._forget(mark.i, mark.j)

    # ---- what is known

    def _key(self, mark: ChunkMark, *, old: bool = False) -> str:
        return layout.done_mark(self._path, mark.i, mark.j, mark.crc, old=old)

    def _note(self, mark: ChunkMark, state: int) -> None:
        with self._lock:
            if self._crcs is not None:
                self._crcs[mark.i, mark.j], self._state[mark.i, mark.j] = mark.crc, state

    def _forget(self, i: int, j: int) -> None:
        with self._lock:
            self._state[i, j] = _NONE

    def _listed(self) -> "DoneMarks":
        with self._lock:
            self._list()
        return self

    def _list(self) -> None:
        """Learn all marks anew; of several for one chunk the latest counts."""
        crcs, state = np.zeros(self.grid, np.uint32), np.zeros(self.grid, np.uint8)
        several: dict[tuple[int, int], list[MarkName]] = {}
        for name in self._names():
            place = name.i, name.j
            if state[place]:
                before = MarkName(*place, int(crcs[place]), old=state[place] == _OLD)
                several.setdefault(place, [before]).append(name)
            crcs[place], state[place] = name.crc, _OLD if name.old else _MARKED
        for place, names in several.items():
            latest = max(names, key=self._age)
            crcs[place], state[place] = latest.crc, _OLD if latest.old else _MARKED
        self._crcs, self._state = crcs, state

    def _names(self) -> Iterator[MarkName]:
        """Yield the names of the array's own marks that are of a chunk of its grid."""
        folder = layout.done_marks(self._path)
        for key in self._blobs.list(folder):
            name = layout.mark_name(key)
            if name is not None and key.rpartition("/")[0] == folder and self._counts(name):
                yield name

    def _counts(self, name: MarkName) -> bool:
        return name.i < self.grid[0] and name.j < self.grid[1] and (self._old_names or not name.old)

    def _age(self, name: MarkName) -> tuple[float, float]:
        """Return the epoch and the time of a mark, by which the latest of several is found."""
        return _age(self._blobs.get(layout.done_mark(self._path, name.i, name.j, name.crc, old=name.old)))


def _age(data: bytes | None) -> tuple[float, float]:
    """Return the epoch and the time that a mark tells; those before any other where it tells none."""
    try:
        record = json.loads(data or b"")
        return float(record["epoch"]), float(record["written"])
    except (ValueError, KeyError, TypeError):
        return -1.0, 0.0


def marked_chunks(blobs: Blobs, *, old_names: bool = True) -> dict[str, set[tuple[int, int]]]:
    """Return the chunks that have a done-mark, by the path of their array in order; from one listing.

    Marks that older versions named count only with ``old_names``.
    """
    found: dict[str, set[tuple[int, int]]] = {}
    for key in blobs.list(layout.DONE_MARKS):
        name = layout.mark_name(key)
        if name is not None and (old_names or not name.old):
            found.setdefault(layout.array_of_mark(key), set()).add((name.i, name.j))
    return dict(sorted(found.items()))


def done_counts(blobs: Blobs) -> dict[str, int]:
    """Count the finished chunks of every array, by path in order; from one listing of the done-marks."""
    return {path: len(chunks) for path, chunks in marked_chunks(blobs).items()}
