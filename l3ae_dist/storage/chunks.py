"""Arrays of one or two dimensions whose chunks are written once, checksummed and marked done.

A chunk on disk is exactly what Zarr's ``bytes`` + ``crc32c`` codecs write: little-endian rows of the
full chunk shape (zero beyond the array's edge) followed by a four-byte CRC32C. Every Zarr reader opens
the array. A chunk is what its done-mark names (:mod:`l3ae_dist.storage.done_marks`), or it is damaged: a
sound chunk in another's place is none.
"""

import struct
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from l3ae_dist.errors import DamagedDocumentError, DamagedTileError, WorkspaceError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import crc32c, layout
from l3ae_dist.storage.damage_notes import note_damage
from l3ae_dist.storage.direct_io import aligned_buffer
from l3ae_dist.storage.documents import parsed, sealed_header
from l3ae_dist.storage.done_marks import ChunkMark, DoneMarks
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.headers import HEADER_IN_MARK, array_header
from l3ae_dist.storage.lazy_arrays import lazy_array, upper_half
from l3ae_dist.storage.payload import checksum, padded
from l3ae_dist.storage.records import JsonObject
from l3ae_dist.storage.root import WorkspaceRoot

if TYPE_CHECKING:
    import dask.array as da

# Bytes of the CRC32C after a chunk's rows.
TRAILER = 4


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
            try:
                existing = cls.open(workspace, path)
            except DamagedDocumentError:
                # chunks of other sizes than these do not agree with any done-mark
                workspace.write_header(path, wanted.header, replace=True)
                return wanted
            if (existing.shape, existing.chunks, existing.dtype) == (shape, chunks, wanted.dtype):
                return existing
            workspace.delete(path)
        workspace.create_array(path, shape=shape, chunks=chunks, dtype=dtype)
        return wanted

    @classmethod
    def open(cls, workspace: WorkspaceRoot, path: str) -> "ChunkArray":
        """Open an existing array; raises what :meth:`WorkspaceRoot.array_sizes` does."""
        shape, chunks, dtype = workspace.array_sizes(path)
        flat = len(shape) == 1
        if flat:
            shape, chunks = [*shape, 1], [*chunks, 1]
        return cls(workspace, path, (shape[0], shape[1]), (chunks[0], chunks[1]), dtype, flat=flat)

    @cached_property
    def header(self) -> JsonObject:
        """Zarr's description of the array."""
        dimensions = 1 if self.flat else 2
        return array_header(self.shape[:dimensions], self.chunks[:dimensions], self.dtype)

    def valid_shape(self, i: int, j: int) -> tuple[int, int]:
        """Return the rows and columns of chunk (i, j) that lie inside the array."""
        rows = min(self.chunks[0], self.shape[0] - i * self.chunks[0])
        columns = min(self.chunks[1], self.shape[1] - j * self.chunks[1])
        return rows, columns

    def cells(self) -> list[tuple[int, int]]:
        """Return every chunk that the array has when it is finished."""
        lower = layout.is_lower(self.path, self.grid)
        rows, columns = self.grid
        return [(i, j) for i in range(rows) for j in range(i + 1 if lower else columns)]

    def row_range(self, i: int) -> slice:
        """Return the rows that chunk row ``i`` covers."""
        start = i * self.chunks[0]
        return slice(start, start + self.valid_shape(i, 0)[0])

    @property
    def _marks(self) -> DoneMarks:
        """The array's done-marks, which all readers of one workspace share."""
        return self.workspace.done_marks(self.path, self.grid)

    def buffer(self) -> npt.NDArray[np.uint8]:
        """Return memory that :meth:`read` can use again and again; it may be longer than the chunk."""
        return aligned_buffer(self.chunk_nbytes + TRAILER)

    def read(self, i: int, j: int, buffer: npt.NDArray[np.uint8] | None = None) -> Array:
        """Read chunk (i, j) and verify its checksum, which must be that of its done-mark.

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
            When it is missing, has another length, fails its CRC32C, or is not what its done-mark names.
        """
        raw = self.buffer() if buffer is None else buffer
        problem = self._fetch(i, j, raw)
        if problem is not None and self.workspace.blobs.remote:  # what came over a network: once more
            problem = self._fetch(i, j, raw)
        if problem is not None:
            raise self._damaged(i, j, problem)
        rows, columns = self.valid_shape(i, j)
        tile: Array = raw[: self.chunk_nbytes].view(self.dtype).reshape(self.chunks)
        return tile[:rows, :columns]

    def _fetch(self, i: int, j: int, raw: npt.NDArray[np.uint8]) -> str | None:
        """Read chunk (i, j) into a buffer; returns what is wrong with it, as the end of a sentence."""
        length = self.workspace.blobs.get_into(self._key(i, j), raw.data)
        expected = self.chunk_nbytes + TRAILER
        if length != expected:
            return "is missing" if length < 0 else f"has {length} bytes instead of {expected}"
        stored = struct.unpack("<I", raw[self.chunk_nbytes : expected].tobytes())[0]
        if crc32c.value(raw[: self.chunk_nbytes]) != stored:
            return "fails its CRC32C checksum"
        return None if self._marks.agrees(ChunkMark(i, j, stored)) else self._misplaced(i, j, stored)

    def _misplaced(self, i: int, j: int, stored: int) -> str:
        mark = self._marks.of_chunk(i, j)
        if mark is None:
            return "has no done-mark of its own"
        wrong = f"has the CRC32C {stored:08x} where its done-mark says {mark.crc:08x}"
        return f"{wrong}: it was swapped, copied or restored from elsewhere"

    def write(
        self,
        i: int,
        j: int,
        block: Array,
        *,
        epoch: int = 0,
        extra: JsonObject | None = None,
        anew: bool = False,
    ) -> ChunkMark:
        """Write chunk (i, j) atomically, then its done-mark; a finished chunk never gets other bytes.

        Parameters
        ----------
        block
            Array of the chunk's valid shape; converted to the array's dtype.
        epoch
            The lock's epoch, kept in the done-mark.
        extra
            Recorded inside the done-mark.
        anew
            Whether the chunk is made anew: a finished one with other bytes is then taken out first.

        Raises
        ------
        WorkspaceError
            When the chunk is finished with other bytes, and not made anew.
        """
        parts = self._parts(i, j, block)
        crc = checksum(parts)
        self._make_way(ChunkMark(i, j, crc), anew=anew)
        self.workspace.blobs.put(self._key(i, j), [*(part.data for part in parts), struct.pack("<I", crc)])
        return self._mark(ChunkMark(i, j, crc), epoch, extra or {})

    def holds(self, i: int, j: int, block: Array) -> bool:
        """Tell whether the chunk is finished with the bytes of ``block`` (a small read).

        Parameters
        ----------
        i, j
            Chunk coordinates.
        block
            Array of the chunk's valid shape.
        """
        known = self._finished(i, j)
        return known is not None and known.crc == checksum(self._parts(i, j, block))

    def _make_way(self, mark: ChunkMark, *, anew: bool) -> None:
        """Take out what is in the place of a chunk that is to be written, unless it is finished."""
        known = self._marks.of_chunk(mark.i, mark.j)
        if known is None or known == mark:
            return
        if not anew and self._stored_crc(mark.i, mark.j) == known.crc:
            raise WorkspaceError(
                f"chunk ({mark.i}, {mark.j}) of {self.path} in {self.workspace.url} is finished, and a "
                "finished chunk is never overwritten with other bytes; run the same command again, with the "
                "tile size, precision and threads that wrote it."
            )
        self.discard(mark.i, mark.j)

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
        record[HEADER_IN_MARK] = parsed(sealed_header(self.path, self.header))
        self._marks.put(mark, record)
        return mark

    def stored(self) -> set[tuple[int, int]]:
        """Return the chunks that are in the store, whatever they hold, from one listing."""
        keys = self.workspace.blobs.list(layout.chunks(self.path))
        return {chunk for key in keys if (chunk := layout.chunk_of(self.path, key)) is not None}

    def marked(self) -> set[tuple[int, int]]:
        """Return the chunks that have a done-mark, from one listing of the store."""
        return self._marks.chunks()

    def find_mark(self, i: int, j: int) -> ChunkMark | None:
        """Return the done-mark that agrees with the chunk in the store (a small read), or None."""
        return self._finished(i, j)

    def _finished(self, i: int, j: int) -> ChunkMark | None:
        crc = self._stored_crc(i, j)
        if crc is None:
            return None
        mark = ChunkMark(i, j, crc)
        return mark if self._marks.agrees(mark) else None

    def done(self) -> set[tuple[int, int]]:
        """Return the chunks that are done: a mark exists and agrees with the size and trailing checksum."""
        marked = self.marked()
        with ThreadPoolExecutor(self.workspace.blobs.concurrency) as pool:
            marks = pool.map(lambda chunk: self._finished(*chunk), marked)
            return {chunk for chunk, mark in zip(marked, marks, strict=True) if mark is not None}

    def _stored_crc(self, i: int, j: int) -> int | None:
        """The trailing CRC32C of a chunk of the right size, else None."""
        stored = self.workspace.blobs.tail(self._key(i, j), TRAILER)
        if stored is None or stored[0] != self.chunk_nbytes + TRAILER:
            return None
        return int(struct.unpack("<I", stored[1])[0])

    def discard(self, i: int, j: int) -> None:
        """Remove the done-marks of a damaged chunk, then the chunk, so that it is made again."""
        self._marks.remove(i, j)
        self.workspace.blobs.delete(self._key(i, j))
        self.workspace.blobs.delete(layout.damage_note(self.path, i, j))

    def delete(self, i: int, j: int) -> None:
        """Remove a finished chunk that is no longer needed: its done-mark, then the chunk (no listing)."""
        mark = self.find_mark(i, j)
        if mark is not None:
            self._marks.remove_known(mark)
        self.workspace.blobs.delete(self._key(i, j))

    def as_dask(self, *, symmetric: bool | None = None) -> "da.Array":
        """Return the array as a lazy Dask array with the same chunks; lists its done-marks.

        Parameters
        ----------
        symmetric
            Whether only the lower triangle is stored and the upper is its mirror; a Gram matrix and an
            inverse are, and that is the default for them. Above a triangular factor there are zeros.
        """
        upper = upper_half(self.path, symmetric)
        version = self._marks.version()  # workers keep what they opened as long as it is this
        name = f"chunks-{fingerprint([self.workspace.url, self.path, upper, version])}"
        return lazy_array(
            name,
            self.shape,
            self.chunks,
            self.dtype,
            lambda i, j: (_read_chunk, self.workspace.url, self.path, version, i, j, upper),
        )

    def _parts(self, i: int, j: int, block: Array) -> list[Array]:
        if block.shape != self.valid_shape(i, j):
            raise ValueError(f"chunk ({i}, {j}) has shape {self.valid_shape(i, j)}, not {block.shape}")
        return padded(block, self.chunks, self.dtype)

    def _key(self, i: int, j: int) -> str:
        return layout.chunk(self.path, i, j, flat=self.flat)

    def _damaged(self, i: int, j: int, what: str) -> DamagedTileError:
        note_damage(self.workspace, self.path, i, j, what)
        return DamagedTileError(self.sentence(i, j, what), path=self.path, i=i, j=j)

    def sentence(self, i: int, j: int, what: str) -> str:
        """Say what is wrong with a chunk, and how it is mended.

        Parameters
        ----------
        i, j
            Chunk coordinates.
        what
            The damage, as the middle of a sentence.
        """
        return f"chunk ({i}, {j}) of {self.path} in {self.workspace.url} {what}; {layout.remedy(self.path)}."


def _read_chunk(url: str, path: str, version: int, i: int, j: int, upper: str) -> Array:
    array = _open_once(url, path, version)
    if j > i and upper == "mirror":
        return array.read(j, i).T
    if j > i and upper == "zero":
        return np.zeros(array.valid_shape(i, j), array.dtype)
    return array.read(i, j)


@lru_cache(maxsize=64)
def _open_once(url: str, path: str, version: int) -> ChunkArray:
    """Open an array once per process for the tasks of a Dask array, as long as its marks are the same."""
    return ChunkArray.open(WorkspaceRoot.open(url), path)
