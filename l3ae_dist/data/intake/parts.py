"""A table of any origin as parts that are read one after the other, each as Arrow record batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from l3ae_dist.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_FORM = b"l3ae.form"


class Form(StrEnum):
    """Form in which the values of a column stand in its record batches."""

    TYPED = "typed"
    """Arrow values of the type that the table gives them: Parquet, Arrow, DataFrames, arrays."""
    WRITTEN = "written"
    """Strings as a text file has them; an empty field is the empty string, and no value is null."""
    JSON = "json"
    """Strings that each hold one JSON value, such as ``7`` or ``"007"``; an absent field is null."""


def form_of(field: "pa.Field") -> Form:
    """Return the form of a column of a record batch; typed unless its metadata say otherwise."""
    metadata = field.metadata or {}
    return Form(metadata[_FORM].decode()) if _FORM in metadata else Form.TYPED


def in_form(field: "pa.Field", form: Form) -> "pa.Field":
    """Return a field of a schema that notes the form of its values."""
    return field.with_metadata({**(field.metadata or {}), _FORM: form.value.encode()})


class Part(Protocol):
    """A piece of a table that is read by itself: a file, some row groups of one, a partition.

    A part is pickled where it can be read on another machine (:attr:`Table.shared`).
    """

    @property
    def origin(self) -> str:
        """Name of the part in messages: the file, or ``partition 3``."""

    @property
    def size(self) -> int:
        """Bytes that it has where it stands, or an estimate."""

    @property
    def rows(self) -> int | None:
        """Number of rows where it is known without reading them."""

    def columns(self) -> tuple[str, ...]:
        """Return the names of its columns, in their order."""

    def batches(self, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """Yield some of its columns in bounded record batches, in row order.

        Parameters
        ----------
        columns
            Names that :meth:`columns` has; the batches have them in this order, their fields with the form
            of the values (:func:`form_of`).

        Raises
        ------
        DataError
            For what cannot be read, naming the file and, in text files, the line.
        """


@dataclass(frozen=True, slots=True)
class Table:
    """A table that was found and can be read, part by part.

    Parameters
    ----------
    what
        What messages call it, such as ``"interactions"``.
    parts
        Its parts in row order; none of them when the table is empty.
    columns
        Names of the columns that at least one part has, in order of appearance.
    shared
        Whether another process or machine can read the parts too: files, and not objects in memory.
    files
        Number of files; 0 for objects in memory.
    notes
        Sentences that tell what was decided about the files, for whoever shows them: encodings that are no
        UTF-8, files that were left out.
    place
        Path, pattern or URL of the files for messages; empty for objects in memory.
    """

    what: str
    parts: tuple[Part, ...]
    columns: tuple[str, ...]
    shared: bool
    files: int = 0
    notes: tuple[str, ...] = ()
    place: str = ""

    def without_rows(self) -> DataError:
        """Return the error for a table that has no rows."""
        place = f" ({self.place})" if self.place else ""
        return DataError(f"the {self.what} are empty{place}; give a table with at least one row.")
