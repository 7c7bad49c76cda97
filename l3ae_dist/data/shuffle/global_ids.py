"""Between the passes: the users of all segments in one order, and the rows of the items that they name."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.data.intake.ids import IdForm, IdType, IdValues, as_kind, decide
from l3ae_dist.data.shuffle.each import InThreads
from l3ae_dist.data.shuffle.id_sets import IdRows, unite
from l3ae_dist.data.shuffle.scan import Segment
from l3ae_dist.data.shuffle.spills import Spills
from l3ae_dist.linalg.arrays import Array, Integers

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Users:
    """Users of a log in their order.

    Parameters
    ----------
    ids
        Their ids, sorted.
    counts
        (n,) rows of each in the log.
    left_out
        Rows of users who are none of them.
    """

    ids: "pa.Array"
    counts: Integers
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Items:
    """Items of a log among those of a catalog.

    Parameters
    ----------
    counts
        (n_items,) rows of each in the log.
    unknown
        Sorted ids of the log that are not in the catalog.
    unknown_rows
        Rows that name one of them.
    """

    counts: Integers
    unknown: "pa.Array"
    unknown_rows: int


def form_of_ids(ids: "pa.Array") -> IdForm:
    """Return the form of stored or merged ids."""
    import pyarrow as pa

    return "integer" if pa.types.is_integer(ids.type) else "text"


def merged_ids(
    segments: Sequence[Segment], spills: Spills, column: str, id_type: IdType, known: "pa.Array | None" = None
) -> "pa.Array":
    """Return the sorted ids of a column in all segments.

    Parameters
    ----------
    segments, spills
        Result of the first pass, and where it is.
    column
        ``"user"`` or ``"item"``.
    id_type
        The option.
    known
        Ids that are there too, in whose form the others are; None to decide the form from all segments.
    """
    import pyarrow as pa

    kinds = [_summary(segment, column).kind for segment in segments]
    form = decide(kinds, id_type, f"{column} id") if known is None else form_of_ids(known)
    empty = pa.array([], pa.int64() if form == "integer" else pa.large_string())
    like = None if known is None or not len(known) else known[0].as_py()
    ids = (values for _, values in _ids(segments, spills, column, form, like))
    return unite(ids if known is None else _after(known, ids), empty)


def place_users(segments: Sequence[Segment], spills: Spills, ids: "pa.Array", threads: int = 1) -> Users:
    """Write the row of each user of each segment, ``user_rows``, -1 for one who is left out, and count.

    Parameters
    ----------
    segments, spills
        Result of the first pass, and where it is.
    ids
        Sorted ids of all users but those who are left out.
    threads
        Threads that look up integers.
    """
    counts, left_out = np.zeros(len(ids), np.int64), 0
    for segment, _, rows in _found(segments, spills, "user", ids, threads):
        spills.put(f"{segment.key}/user_rows", rows)
        read, known = spills.get(f"{segment.key}/user_counts", np.int64), rows >= 0
        np.add.at(counts, rows[known], read[known])
        left_out += int(read[~known].sum())
    return Users(ids, counts, left_out)


def place_items(segments: Sequence[Segment], spills: Spills, ids: "pa.Array") -> Items:
    """Write the catalog row of each item of each segment, ``item_rows``, -1 for an unknown one, and count.

    Parameters
    ----------
    segments, spills
        Result of the first pass, and where it is.
    ids
        Ids of the catalog.
    """
    counts, unknown_rows = np.zeros(len(ids), np.int64), 0
    unknown: list[pa.Array] = []
    for segment, values, rows in _found(segments, spills, "item", ids):
        spills.put(f"{segment.key}/item_rows", rows)
        read, known = spills.get(f"{segment.key}/item_counts", np.int64), rows >= 0
        np.add.at(counts, rows[known], read[known])
        unknown_rows += int(read[~known].sum())
        unknown = [unite([*unknown, _filtered(values, ~known)], ids[:0])]
    return Items(counts, unknown[0] if unknown else ids[:0], unknown_rows)


def _found(
    segments: Sequence[Segment], spills: Spills, column: str, ids: "pa.Array", threads: int = 1
) -> Iterator[tuple[Segment, "pa.Array", Array]]:
    """Yield the ids of each segment and their rows.

    Arrow hashes all of ``ids`` for one search, so a search is for several segments where they are texts.
    """
    form, like = form_of_ids(ids), ids[0].as_py() if len(ids) else None
    lookup = IdRows(ids)
    if form == "integer":

        def find(segment: Segment) -> tuple[Segment, "pa.Array", Array]:
            values = _ids_of(segment, spills, column, form, like)
            return segment, values, lookup.find(values)

        yield from InThreads(threads)(find, segments)
        return
    held: list[tuple[Segment, pa.Array]] = []
    for segment, values in _ids(segments, spills, column, form, like):
        held.append((segment, values))
        if sum(len(one) for _, one in held) >= 2 * len(ids):
            yield from _found_together(held, lookup)
            held = []
    yield from _found_together(held, lookup)


def _found_together(
    held: Sequence[tuple[Segment, "pa.Array"]], lookup: IdRows
) -> Iterator[tuple[Segment, "pa.Array", Array]]:
    import pyarrow as pa

    if held:
        rows = lookup.find(pa.concat_arrays([values for _, values in held]))
        ends = np.cumsum([len(values) for _, values in held])
        for (segment, values), stop in zip(held, ends.tolist(), strict=True):
            yield segment, values, rows[stop - len(values) : stop]


def _filtered(values: "pa.Array", keep: Array) -> "pa.Array":
    import pyarrow as pa

    return values.filter(pa.array(keep))


def _after(first: "pa.Array", others: Iterator["pa.Array"]) -> Iterator["pa.Array"]:
    yield first
    yield from others


def _summary(segment: Segment, column: str) -> IdValues:
    return segment.users if column == "user" else segment.items


def _ids(
    segments: Sequence[Segment], spills: Spills, column: str, form: IdForm, like: object = None
) -> Iterator[tuple[Segment, "pa.Array"]]:
    for segment in segments:
        yield segment, _ids_of(segment, spills, column, form, like)


def _ids_of(segment: Segment, spills: Spills, column: str, form: IdForm, like: object) -> "pa.Array":
    """Read the ids of a column of a segment, in the form of all segments."""
    values = spills.get_ids(f"{segment.key}/{column}_ids")
    return as_kind(replace(_summary(segment, column), values=values), form, like)
