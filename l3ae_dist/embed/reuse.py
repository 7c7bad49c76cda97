"""Rows of embeddings that are in the workspace already: where each is found, and how it is copied."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from l3ae_dist.embed.text_digests import digested, read_digests
from l3ae_dist.errors import DamagedTileError, StageMissingError
from l3ae_dist.linalg.arrays import Array, Integers
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.rows import read_rows
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

# Bytes of rows that are put together before they are written: each source chunk is read once for them.
_GROUP_BYTES = 2**28
NOWHERE = -1
"""Source of a row that no embeddings have."""


@dataclass(frozen=True, slots=True)
class KnownRows:
    """Embeddings in the workspace whose rows may be taken over.

    Parameters
    ----------
    array
        (m, d) rows.
    digests
        (m,) digests of their texts.
    there
        (m,) bool: rows that are finished and not known to be damaged.
    """

    array: ChunkArray
    digests: Array
    there: Array


def known_rows(
    workspace: Workspace, digests: Array, first: Sequence[str], damaged: set[tuple[str, int]]
) -> list[KnownRows]:
    """List the embeddings that share texts with a catalog, those with most of them first.

    Parameters
    ----------
    workspace
        Where they are.
    digests
        (n,) digests of the catalog's texts.
    first
        Ids that come before all others.
    damaged
        Array and row chunk of damage that was found but may not be noted.
    """
    found: list[tuple[int, int, KnownRows]] = []
    for identifier in [*first, *(name for name in digested(workspace) if name not in first)]:
        known = _known(workspace, identifier, digests, damaged)
        if known is not None:
            rank = first.index(identifier) if identifier in first else len(first)
            found.append((rank, -int(np.isin(known.digests, digests).sum()), known))
    ordered = [known for *_, known in sorted(found, key=lambda entry: entry[:2])]
    # one encoder gives rows of one length; a model that was changed in its folder may not
    return [known for known in ordered if known.array.shape[1] == ordered[0].array.shape[1]]


def _known(
    workspace: Workspace, identifier: str, digests: Array, damaged: set[tuple[str, int]]
) -> KnownRows | None:
    try:
        array = ChunkArray.open(workspace, layout.embeddings(identifier))
        own = read_digests(workspace, identifier)
    except (StageMissingError, DamagedTileError):
        return None
    if len(own) != array.shape[0] or not np.isin(own, digests).any():
        return None
    complete = workspace.stage_done(Stage.EMBED, identifier) is not None
    chunks = {i for i, _ in array.done()} if not complete else set(range(array.grid[0]))
    notes = map(layout.damaged_chunk, workspace.blobs.list(layout.damage_notes(array.path)))
    chunks -= {i for _, i, _ in notes} | {i for path, i in damaged if path == array.path}
    there = np.zeros(array.shape[0], bool)
    for i in chunks:
        there[array.row_range(i)] = True
    return KnownRows(array, own, there)


@dataclass(frozen=True)
class RowOrigins:
    """Origins of the embeddings of a catalog, row by row.

    Parameters
    ----------
    source
        (n,) number of the embeddings that have it; :data:`NOWHERE` for none.
    row
        (n,) its row there; in those of this catalog itself for a row that is :data:`NOWHERE` yet, which is
        its own row where the text is to be embedded, and that of the same text where it occurs before.
    chunks
        Row chunks that are not finished.
    chunk_rows
        Rows of a chunk.
    """

    source: Integers
    row: Integers
    chunks: tuple[int, ...]
    chunk_rows: int

    def rows(self, chunk: int) -> Integers:
        """Return the rows of a chunk."""
        start = chunk * self.chunk_rows
        return np.arange(start, min(start + self.chunk_rows, len(self.row)))

    def is_embedded(self, rows: Integers) -> Array:
        """Tell which rows are to be embedded themselves."""
        return np.asarray((self.source[rows] == NOWHERE) & (self.row[rows] == rows))

    @cached_property
    def direct(self) -> list[int]:
        """Chunks whose every row is embedded."""
        return [chunk for chunk in self.chunks if self.is_embedded(self.rows(chunk)).all()]

    @cached_property
    def copied(self) -> list[int]:
        """Chunks whose every row is in other embeddings."""
        return [chunk for chunk in self.chunks if (self.source[self.rows(chunk)] != NOWHERE).all()]

    @cached_property
    def mixed(self) -> list[int]:
        """All other chunks that are not finished."""
        return sorted(set(self.chunks) - {*self.direct, *self.copied})

    @cached_property
    def staged(self) -> Integers:
        """Rows that are embedded apart, since other rows of their chunks are not."""
        rows = [self.rows(chunk) for chunk in self.mixed]
        return np.concatenate([part[self.is_embedded(part)] for part in rows] or [np.empty(0, np.int64)])

    def filled(self, own: int, staging: int) -> "RowOrigins":
        """Return the origins once everything is embedded.

        Parameters
        ----------
        own, staging
            Numbers that the embeddings of this catalog, and the rows embedded apart, have as sources.
        """
        source, row = self.source.copy(), self.row.copy()
        apart = np.isin(row, self.staged) & (source == NOWHERE)
        row[apart] = np.searchsorted(self.staged, row[apart])
        source[apart] = staging
        source[source == NOWHERE] = own
        return RowOrigins(source, row, self.chunks, self.chunk_rows)


def find_origins(
    digests: Array, known: Sequence[KnownRows], chunks: Sequence[int], chunk_rows: int
) -> RowOrigins:
    """Find each text of the chunks that are not finished among known embeddings, or in a row before it.

    Parameters
    ----------
    digests
        (n,) digests of all texts.
    known
        Where to look, in this order; the same row is preferred to others.
    chunks, chunk_rows
        The chunks that are not finished, and the rows of one.
    """
    n = len(digests)
    origins = RowOrigins(np.full(n, NOWHERE), np.arange(n), tuple(chunks), chunk_rows)
    source, row = origins.source, origins.row
    wanted = np.zeros(n, bool)
    for chunk in chunks:
        wanted[origins.rows(chunk)] = True
    for k, one in enumerate(known):
        m = min(n, len(one.digests))
        same = np.flatnonzero(wanted[:m] & one.there[:m] & (one.digests[:m] == digests[:m]))
        same = same[source[same] == NOWHERE]
        source[same] = k
        left, there = np.flatnonzero(wanted & (source == NOWHERE)), np.flatnonzero(one.there)
        place = _find(one.digests[there], digests[left])
        source[left[place >= 0]] = k
        row[left[place >= 0]] = there[place[place >= 0]]
    left = np.flatnonzero(wanted & (source == NOWHERE))
    row[left] = left[_find(digests[left], digests[left])]
    return origins


def _find(among: Array, wanted: Array) -> Integers:
    """Return the first position of each wanted digest among some, -1 where it is not there."""
    if not len(among):
        return np.full(len(wanted), -1)
    unique, first = np.unique(among, return_index=True)
    place = np.searchsorted(unique, wanted).clip(max=len(unique) - 1)
    return np.where(unique[place] == wanted, first[place], -1)


def copy_rows(
    target: ChunkArray,
    chunks: Sequence[int],
    origins: RowOrigins,
    arrays: Sequence[ChunkArray],
    epoch: int,
) -> None:
    """Write row chunks whose rows are in other arrays, or in finished chunks of the target.

    Parameters
    ----------
    target
        (n, d) array.
    chunks
        Numbers of its chunks.
    origins
        Where each row is.
    arrays
        The arrays that ``origins`` numbers.
    epoch
        The lock's epoch, kept in the done-marks.

    Raises
    ------
    DamagedTileError
        For a chunk of a source that fails its checksum.
    """
    buffer = target.buffer()
    left = [i for i in chunks if not _linked(target, i, origins, arrays, buffer, epoch)]
    together = max(1, _GROUP_BYTES // target.chunk_nbytes)
    for start in range(0, len(left), together):
        group = left[start : start + together]
        parts = [origins.rows(i) for i in group]
        block = _gathered(np.concatenate(parts), origins, arrays, target)
        cuts = np.cumsum([len(part) for part in parts])[:-1]
        for i, rows in zip(group, np.split(block, cuts), strict=True):
            target.write(i, 0, rows, epoch=epoch)


def _linked(
    target: ChunkArray,
    i: int,
    origins: RowOrigins,
    arrays: Sequence[ChunkArray],
    buffer: Array,
    epoch: int,
) -> bool:
    """Take a chunk over as a whole where another array has just these rows in it."""
    rows = origins.rows(i)
    source = arrays[origins.source[rows[0]]]
    same = (origins.source[rows] == origins.source[rows[0]]).all() and (origins.row[rows] == rows).all()
    if not same or source.grid[0] <= i or source.valid_shape(i, 0) != target.valid_shape(i, 0):
        return False
    return target.adopt(source, i, 0, buffer, epoch=epoch)


def _gathered(rows: Integers, origins: RowOrigins, arrays: Sequence[ChunkArray], target: ChunkArray) -> Array:
    """Return rows from where they are, (rows, d); each chunk of a source is read once."""
    block = np.empty((len(rows), target.shape[1]), target.dtype)
    for k in np.unique(origins.source[rows]):
        places = np.flatnonzero(origins.source[rows] == k)
        at, step = origins.row[rows[places]], arrays[k].chunks[0]
        for i, inside in _by_chunk(at // step):
            block[places[inside]] = arrays[k].read(i, 0)[at[inside] - i * step]
    return block


def _by_chunk(chunk_of: Integers) -> Iterator[tuple[int, Integers]]:
    """Yield each chunk with the positions that name it."""
    order = np.argsort(chunk_of, kind="stable")
    chunks, starts = np.unique(chunk_of[order], return_index=True)
    yield from zip(chunks.tolist(), np.split(order, starts[1:]), strict=True)


def begins_with(array: ChunkArray, workspace: Workspace, parent: str) -> bool:
    """Tell whether the first rows of an array are all those of some embeddings, bit by bit.

    Parameters
    ----------
    array
        (n, d) rows.
    workspace, parent
        The embeddings.
    """
    try:
        first = ChunkArray.open(workspace, layout.embeddings(parent))
        if array.shape[0] < first.shape[0] or array.shape[1] != first.shape[1]:
            return False
        ranges = map(first.row_range, range(first.grid[0]))
        return all(
            np.array_equal(first.read(i, 0), read_rows(array, rows.start, rows.stop))
            for i, rows in enumerate(ranges)
        )
    except (StageMissingError, DamagedTileError):
        return False
