"""Parts of tables in memory, and tables of one of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

from l3ae_dist.data.intake.parts import Table
from l3ae_dist.errors import DataError
from l3ae_dist.messages import named, shown

Read: TypeAlias = Callable[[Sequence[str]], Iterator[pa.RecordBatch]]
"""Yields columns of given names, in their order, as bounded record batches."""


@dataclass(frozen=True)
class MemoryPart:
    """A table in memory, or a part of one.

    Parameters
    ----------
    origin
        Name in messages.
    names
        Names of its columns.
    size, rows
        Bytes, or an estimate; rows, where they are known.
    read
        Yields columns.
    """

    origin: str
    names: tuple[str, ...]
    size: int
    rows: int | None
    read: Read

    def columns(self) -> tuple[str, ...]:
        """Return the names of its columns."""
        return self.names

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield some of its columns."""
        return self.read(unambiguous(columns, self.names, self.origin))


def unambiguous(columns: Sequence[str], names: Sequence[str], origin: str) -> Sequence[str]:
    """Return names of columns; raise :class:`DataError` where one of them names two columns.

    Parameters
    ----------
    columns
        The wanted names.
    names
        Names of all columns.
    origin
        Name of the table in messages.
    """
    for name in columns:
        if names.count(name) > 1:
            raise DataError(
                f"{origin} has {names.count(name)} columns {shown(name)}; it has {named(names)}; rename all "
                "but one."
            )
    return columns


def table_of_part(what: str, part: MemoryPart, notes: tuple[str, ...] = ()) -> Table:
    """Make a table of one part in memory.

    Parameters
    ----------
    what
        What messages call it.
    part
        The part.
    notes
        Sentences that tell what was decided.
    """
    return Table(what, (part,), tuple(dict.fromkeys(part.names)), shared=False, notes=notes)
