"""Arrow tables, datasets and streams, and whatever hands over its rows as these, as tables."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from l3ae_dist.data.intake.memory_parts import MemoryPart, table_of_part
from l3ae_dist.data.intake.parts import Table
from l3ae_dist.data.intake.python_values import batches_of
from l3ae_dist.errors import DataError
from l3ae_dist.messages import one_line, shown

if TYPE_CHECKING:
    import datasets
    import pyarrow.dataset as ds


def table_of_arrow(table: pa.Table, what: str) -> Table:
    """Make a table of an Arrow table."""
    part = MemoryPart(
        f"the Arrow table of {what}",
        tuple(table.column_names),
        table.nbytes,
        table.num_rows,
        partial(_read, table),
    )
    return table_of_part(what, part)


def _read(table: pa.Table, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    return batches_of(table.select(list(columns)))


def arrow_table_of(source: object, what: str) -> pa.Table | None:
    """Return the Arrow table that an object of Arrow or with its PyCapsule interface is; None for any other.

    Streams are read to their end, once.

    Raises
    ------
    DataError
        For a stream of single values, or one that breaks.
    """
    if isinstance(source, pa.Table):
        return source
    if isinstance(source, pa.RecordBatch):
        return pa.Table.from_batches([source])
    if isinstance(source, pa.StructArray) or (
        isinstance(source, pa.ChunkedArray) and pa.types.is_struct(source.type)
    ):
        chunks = source.chunks if isinstance(source, pa.ChunkedArray) else [source]
        schema = pa.schema(list(source.type))
        return pa.Table.from_batches([pa.RecordBatch.from_struct_array(chunk) for chunk in chunks], schema)
    capsule = hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__")
    one_column = any(hasattr(source, name) for name in ("to_list", "to_pylist"))
    if not capsule or one_column or isinstance(source, type):
        return None
    try:
        return pa.table(source)
    except Exception as error:  # whatever the library that makes the stream raises
        raise DataError(
            f"the {what} ({type(source).__name__}) are no stream of rows ({one_line(str(error), 120)}); "
            "give a table with named columns."
        ) from error


def table_of_dataset(dataset: "ds.Dataset", what: str) -> Table:
    """Make a table of a dataset of pyarrow: a part for each of its files, or one where it has a filter."""
    names = tuple(dataset.schema.names)
    try:
        fragments = list(dataset.get_fragments())
    except ValueError:  # filtered or projected
        part = MemoryPart(f"the dataset of {what}", names, 0, None, partial(_scan, dataset))
        return table_of_part(what, part)
    parts = tuple(
        MemoryPart(
            str(getattr(fragment, "path", f"fragment {number}")),
            names,
            0,
            None,
            partial(_scan_fragment, fragment, dataset.schema),
        )
        for number, fragment in enumerate(fragments)
    )
    return Table(what, parts, names, shared=False)


def _scan(dataset: "ds.Dataset", columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    yield from _or_error(dataset.scanner(columns=list(columns), use_threads=False).to_batches())


def _scan_fragment(
    fragment: "ds.Fragment", schema: pa.Schema, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    scanner = fragment.scanner(schema=schema, columns=list(columns), use_threads=False)
    yield from _or_error(scanner.to_batches())


def _or_error(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"cannot read the pyarrow dataset ({one_line(str(error), 200)}); check its files."
        ) from error


def table_of_hugging_face(dataset: "datasets.Dataset", what: str) -> Table:
    """Make a table of a split of a Hugging Face dataset.

    Raises
    ------
    DataError
        For several splits, or a dataset that is streamed.
    """
    kind = type(dataset).__name__
    if isinstance(dataset, dict):
        splits = shown(", ".join(dataset))[1:-1]
        raise DataError(
            f"the {what} are a {kind} with the splits {splits}; give one of them, as in data[split]."
        )
    if not hasattr(dataset, "with_format") or not hasattr(dataset, "num_rows"):
        raise DataError(
            f"the {what} are a {kind}, which is streamed and can be read once only; load it without "
            "streaming."
        )
    part = MemoryPart(
        f"the dataset of {what}",
        tuple(dataset.column_names),
        int(dataset.data.nbytes),
        dataset.num_rows,
        partial(_read_hugging_face, dataset),
    )
    return table_of_part(what, part)


def _read_hugging_face(dataset: "datasets.Dataset", columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for table in dataset.select_columns(list(columns)).with_format("arrow").iter(batch_size=2**16):
        yield from table.select(list(columns)).to_batches()
