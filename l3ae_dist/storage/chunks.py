"""Arrays of one or two dimensions whose chunks are written once, checksummed and marked done.

A chunk on disk is exactly what Zarr's ``bytes`` + ``crc32c`` codecs write: little-endian rows of the
full chunk shape (zero beyond the array's edge) followed by a four-byte CRC32C. Every Zarr reader opens
the array. The done-mark of chunk (i, j) is an object whose *name* holds the checksum, so one listing
gives all of them, and a chunk's trailing four bytes lead to its mark without any listing.
"""

import contextlib
import json
import struct
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import google_crc32c
import numpy as np
import numpy.typing as npt

from l3ae_dist.errors import DamagedTileError, StageMissingError, WorkspaceError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.direct_io import aligned_buffer
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.records import JsonObject
from l3ae_dist.storage.root import WorkspaceRoot

if TYPE_CHECKING:
    import dask.array as da

# Bytes of the CRC32C after a chunk's rows.
TRAILER = 4


@dataclass(frozen=True)
class ChunkMark:
    """A done-mark: which chunk and the CRC32C of its bytes."""

    i: int
    j: int
    crc: int


@dataclass(frozen=True, slots=True)
class DamagedChunk:
    """Chunk (i, j) of an array, and in a sentence what is wrong with it; -1, -1 is the whole array."""

    array: str
    i: int
    j: int
    problem: str


class ChunkArray:
    """A 2-D Zarr array addressed by chunk, with one done-mark per chunk.

    Parameters
    ----------
    workspace, path
        Where the array lives. Use :meth:`create` or :meth:`open`.
    shape, chunks, dtype
        As stored; edge chunks may be ragged.
    flat
        Whether Zarr sees it as one-dimensional; here it is a single column.
    """

    def __init__(
        self,
        workspace: WorkspaceRoot,
        path: str,
        shape: tuple[int, int],
        chunks: tuple[int, int],
        dtype: npt.DTypeLike,
        *,
        flat: bool = False,
    ) -> None:
        self.workspace = workspace
        self.path = path
        self.shape = shape
        self.chunks = chunks
        self.dtype = np.dtype(dtype)
        self.flat = flat
        self.grid = (-(-shape[0] // chunks[0]), -(-shape[1] // chunks[1]))
        self.chunk_nbytes = chunks[0] * chunks[1] * self.dtype.itemsize

    @classmethod
    def create(
        cls,
        workspace: WorkspaceRoot,
        path: str,
        *,
        shape: tuple[int, int],
        chunks: tuple[int, int],
        dtype: npt.DTypeLike,
    ) -> "ChunkArray":
        """Create the array, or reopen one of the same shape, chunks and dtype with its finished chunks.

        Parameters
        ----------
        workspace, path
            Where it lies.
        shape, chunks
            Rows and columns of the array, and of a chunk.
        dtype
            Of its entries.
        """
        wanted = cls(workspace, path, shape, chunks, dtype)
        if workspace.has(path):
            existing = cls.open(workspace, path)
            if (existing.shape, existing.chunks, existing.dtype) == (shape, chunks, wanted.dtype):
                return existing
        workspace.delete(path)
        workspace.create_array(path, shape=shape, chunks=chunks, dtype=dtype)
        return wanted

    @classmethod
    def open(cls, workspace: WorkspaceRoot, path: str) -> "ChunkArray":
        """Open an existing array; raises :class:`StageMissingError` when there is none."""
        data = workspace.blobs.get(layout.header(path))
        meta = json.loads(data) if data is not None else {}
        if meta.get("node_type") != "array":
            raise StageMissingError(f"{workspace.url} holds no array {path!r}; run the stage that makes it.")
        shape, chunks = meta["shape"], meta["chunk_grid"]["configuration"]["chunk_shape"]
        flat = len(shape) == 1
        if flat:
            shape, chunks = [*shape, 1], [*chunks, 1]
        (rows, columns), (chunk_rows, chunk_columns) = shape, chunks
        sizes = (rows, columns), (chunk_rows, chunk_columns)
        return cls(workspace, path, *sizes, meta["data_type"], flat=flat)

    def valid_shape(self, i: int, j: int) -> tuple[int, int]:
        """Return the rows and columns of chunk (i, j) that lie inside the array."""
        rows = min(self.chunks[0], self.shape[0] - i * self.chunks[0])
        columns = min(self.chunks[1], self.shape[1] - j * self.chunks[1])
        return rows, columns

    def row_range(self, i: int) -> slice:
        """Return the rows that chunk row ``i`` covers."""
        start = i * self.chunks[0]
        return slice(start, start + self.valid_shape(i, 0)[0])

    def buffer(self) -> npt.NDArray[np.uint8]:
        """Return memory that :meth:`read` can use again and again; it may be longer than the chunk."""
        return aligned_buffer(self.chunk_nbytes + TRAILER)

    def read(self, i: int, j: int, buffer: npt.NDArray[np.uint8] | None = None) -> Array:
        """Read chunk (i, j) and verify its checksum.

        Parameters
        ----------
        i, j
            Chunk coordinates.
        buffer
            Optional result of :meth:`buffer`; the returned array is a view of it.

        Returns
        -------
        Array of the chunk's valid shape (a view with the row stride of the full chunk).

        Raises
        ------
        DamagedTileError
            When the chunk is missing, has another length, or fails its CRC32C.
        """
        raw = self.buffer() if buffer is None else buffer
        length = self.workspace.blobs.get_into(self._key(i, j), raw.data)
        expected = self.chunk_nbytes + TRAILER
        if length != expected:
            what = "is missing" if length < 0 else f"has {length} bytes instead of {expected}"
            raise self._damaged(i, j, what)
        payload = raw[: self.chunk_nbytes]
        stored = struct.unpack("<I", raw[self.chunk_nbytes : expected].tobytes())[0]
        if google_crc32c.value(payload) != stored:
            raise self._damaged(i, j, "fails its CRC32C checksum")
        rows, columns = self.valid_shape(i, j)
        tile: Array = payload.view(self.dtype).reshape(self.chunks)
        return tile[:rows, :columns]

    def write(
        self, i: int, j: int, block: Array, *, epoch: int = 0, extra: JsonObject | None = None
    ) -> ChunkMark:
        """Write chunk (i, j) atomically, then its done-mark.

        Parameters
        ----------
        block
            Array of the chunk's valid shape; converted to the array's dtype.
        epoch
            The lock's epoch, kept in the done-mark.
        extra
            Recorded inside the done-mark.
        """
        payload = self._full_chunk(i, j, block)
        crc = int(google_crc32c.value(payload))
        self.workspace.blobs.put(self._key(i, j), [payload.data, struct.pack("<I", crc)])
        return self._mark(ChunkMark(i, j, crc), epoch, extra or {})

    def adopt(
        self, source: "ChunkArray", i: int, j: int, buffer: npt.NDArray[np.uint8], *, epoch: int = 0
    ) -> bool:
        """Take over the finished chunk (i, j) of an array with equal chunks and dtype.

        The chunk is read and verified, then gets a second key (a hard link, or the store's own copy) and
        a done-mark here.

        Parameters
        ----------
        source
            Where the chunk is.
        buffer
            Result of :meth:`buffer`.
        epoch
            The lock's epoch, kept in the done-mark.

        Returns
        -------
        Whether it was there and sound; damage is noted for ``source``.
        """
        mark = source.find_mark(i, j)
        if mark is None or (source.chunks, source.dtype) != (self.chunks, self.dtype):
            return False
        try:
            source.read(i, j, buffer)
        except DamagedTileError:
            return False
        self.workspace.blobs.copy(source._key(i, j), self._key(i, j))
        self._mark(mark, epoch, {"from": source.path})
        return True

    def _mark(self, mark: ChunkMark, epoch: int, extra: JsonObject) -> ChunkMark:
        record = {"bytes": self.chunk_nbytes + TRAILER, "written": time.time(), "epoch": epoch, **extra}
        self.workspace.blobs.put(self._mark_key(mark), [json.dumps(record).encode()])
        return mark

    def marks(self) -> dict[tuple[int, int], list[ChunkMark]]:
        """List every done-mark by chunk, from one listing of the store."""
        found: dict[tuple[int, int], list[ChunkMark]] = {}
        for key in self.workspace.blobs.list(layout.done_marks(self.path)):
            i, j, crc = key.rsplit("/", 1)[1].split(".")
            mark = ChunkMark(int(i), int(j), int(crc, 16))
            found.setdefault((mark.i, mark.j), []).append(mark)
        return found

    def find_mark(self, i: int, j: int) -> ChunkMark | None:
        """Return the done-mark that agrees with the chunk in the store (two small reads), or None."""
        crc = self._stored_crc(i, j)
        if crc is None:
            return None
        mark = ChunkMark(i, j, crc)
        return mark if self.workspace.blobs.size(self._mark_key(mark)) is not None else None

    def is_done(self, i: int, j: int, marks: list[ChunkMark]) -> bool:
        """Tell whether the chunk's size and trailing CRC32C agree with one of its done-marks (a small read).

        Parameters
        ----------
        i, j
            Chunk coordinates.
        marks
            The chunk's own, of :meth:`marks`.
        """
        return bool(marks) and self._stored_crc(i, j) in {mark.crc for mark in marks}

    def done(self) -> set[tuple[int, int]]:
        """Return the chunks that are done: a mark exists and agrees with the size and trailing checksum."""
        marks = self.marks()
        with ThreadPoolExecutor(self.workspace.blobs.concurrency) as pool:
            sound = pool.map(lambda chunk: self.is_done(chunk[0], chunk[1], marks[chunk]), marks)
            return {chunk for chunk, is_sound in zip(marks, sound, strict=True) if is_sound}

    def _stored_crc(self, i: int, j: int) -> int | None:
        """The trailing CRC32C of a chunk of the right size, else None."""
        stored = self.workspace.blobs.tail(self._key(i, j), TRAILER)
        if stored is None or stored[0] != self.chunk_nbytes + TRAILER:
            return None
        return int(struct.unpack("<I", stored[1])[0])

    def discard(self, i: int, j: int) -> None:
        """Remove the done-marks of a damaged chunk, then the chunk, so that it is made again."""
        for mark in self.marks().get((i, j), []):
            self.workspace.blobs.delete(self._mark_key(mark))
        self.workspace.blobs.delete(self._key(i, j))
        self.workspace.blobs.delete(layout.damage_note(self.path, i, j))

    def delete(self, i: int, j: int) -> None:
        """Remove a finished chunk that is no longer needed: its done-mark, then the chunk (no listing)."""
        mark = self.find_mark(i, j)
        if mark is not None:
            self.workspace.blobs.delete(self._mark_key(mark))
        self.workspace.blobs.delete(self._key(i, j))

    def damage(self) -> list[DamagedChunk]:
        """Read every marked chunk in full and return those that are damaged."""
        checked = ((i, j, self._damage(i, j, marks)) for (i, j), marks in sorted(self.marks().items()))
        return [DamagedChunk(self.path, i, j, str(error)) for i, j, error in checked if error is not None]

    def _damage(self, i: int, j: int, marks: list[ChunkMark]) -> DamagedTileError | None:
        try:
            self.read(i, j)
        except DamagedTileError as error:
            return error
        return None if self.is_done(i, j, marks) else self._damaged(i, j, "differs from its done-mark")

    def as_dask(self, *, symmetric: bool | None = None) -> "da.Array":
        """Return the array as a lazy Dask array with the same chunks.

        Parameters
        ----------
        symmetric
            Whether only the lower triangle is stored and the upper is its mirror; a Gram matrix and an
            inverse are, and that is the default for them. Above a triangular factor there are zeros.
        """
        import dask.array as da

        upper = _upper(self.path, symmetric)
        rows, columns = (
            tuple(min(size, total - start) for start in range(0, total, size))
            for size, total in zip(self.chunks, self.shape, strict=True)
        )
        name = f"chunks-{fingerprint([self.workspace.url, self.path, upper])}"
        graph = {
            (name, i, j): (_read_chunk, self.workspace.url, self.path, i, j, upper)
            for i in range(self.grid[0])
            for j in range(self.grid[1])
        }
        return da.Array(graph, name, (rows, columns), dtype=self.dtype)

    def _full_chunk(self, i: int, j: int, block: Array) -> Array:
        if block.shape != self.valid_shape(i, j):
            raise ValueError(f"chunk ({i}, {j}) has shape {self.valid_shape(i, j)}, not {block.shape}")
        if block.shape == self.chunks:
            return np.ascontiguousarray(block, dtype=self.dtype)
        full: Array = np.zeros(self.chunks, self.dtype)
        full[: block.shape[0], : block.shape[1]] = block
        return full

    def _mark_key(self, mark: ChunkMark) -> str:
        return layout.done_mark(self.path, mark.i, mark.j, mark.crc)

    def _key(self, i: int, j: int) -> str:
        return layout.chunk(self.path, i, j, flat=self.flat)

    def _damaged(self, i: int, j: int, what: str) -> DamagedTileError:
        note_damage(self.workspace, self.path, i, j, what)
        return DamagedTileError(
            f"chunk ({i}, {j}) of {self.path} in {self.workspace.url} {what}; {layout.remedy(self.path)}.",
            path=self.path,
            i=i,
            j=j,
        )


def note_damage(workspace: WorkspaceRoot, path: str, i: int, j: int, what: str) -> None:
    """Note for the next run that a chunk is damaged.

    Parameters
    ----------
    workspace, path
        Where the array is.
    i, j
        Chunk coordinates; -1, -1 for the whole array.
    what
        What is wrong with it, as the end of a sentence.
    """
    with contextlib.suppress(WorkspaceError):  # a reader may have no right to write
        workspace.blobs.put(layout.damage_note(path, i, j), [what.encode()])


def _upper(path: str, symmetric: bool | None) -> str:
    """Decide what stands above the diagonal; ``symmetric`` overrides what the path says."""
    known = layout.above_diagonal(path)
    if symmetric is None or symmetric == (known == "mirror"):
        return known
    return "mirror" if symmetric else "stored"


def _read_chunk(url: str, path: str, i: int, j: int, upper: str) -> Array:
    array = ChunkArray.open(WorkspaceRoot.open(url), path)
    if j > i and upper == "mirror":
        return array.read(j, i).T
    if j > i and upper == "zero":
        return np.zeros(array.valid_shape(i, j), array.dtype)
    return array.read(i, j)


def done_counts(workspace: WorkspaceRoot) -> dict[str, int]:
    """Count the finished chunks of every array, by path in order; from one listing of the done-marks."""
    marks = workspace.blobs.list(layout.DONE_MARKS)
    return dict(sorted(Counter(map(layout.array_of_mark, marks)).items()))
