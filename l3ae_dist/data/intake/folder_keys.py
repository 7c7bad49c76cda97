"""Columns that the folders ``key=value`` of a file stand for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from l3ae_dist.data.intake.parts import Form, Part, in_form

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class KeyedPart:
    """A part with further columns that hold one value each, written as in the names of its folders.

    Parameters
    ----------
    part
        What is in the file.
    keys
        Names and values; none of the names is a column of the file.
    """

    part: Part
    keys: tuple[tuple[str, str], ...]

    @property
    def origin(self) -> str:
        """The file."""
        return self.part.origin

    @property
    def size(self) -> int:
        """Bytes of the part in the file."""
        return self.part.size

    @property
    def rows(self) -> int | None:
        """Number of rows where it is known."""
        return self.part.rows

    def columns(self) -> tuple[str, ...]:
        """Return the names of its columns, those of the folders last."""
        return (*self.part.columns(), *(name for name, _ in self.keys))

    def batches(self, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """Yield some columns in record batches."""
        import pyarrow as pa

        values = dict(self.keys)
        own = [name for name in columns if name not in values] or list(self.part.columns()[:1])
        for batch in self.part.batches(own):
            arrays, fields = [], []
            for name in columns:
                if name in values:
                    arrays.append(pa.repeat(pa.scalar(values[name]), batch.num_rows))
                    fields.append(in_form(pa.field(name, pa.string()), Form.WRITTEN))
                else:
                    arrays.append(batch.column(own.index(name)))
                    fields.append(batch.schema.field(own.index(name)))
            yield pa.record_batch(arrays, pa.schema(fields))


def with_keys(part: Part, keys: Sequence[tuple[str, str]]) -> Part:
    """Return a part with the columns of its folders; a column of the same name in the file stays.

    Parameters
    ----------
    part
        The part.
    keys
        Names and values of the folders.
    """
    names = part.columns()
    new = tuple((name, value) for name, value in keys if name not in names)
    return KeyedPart(part, new) if new and names else part
