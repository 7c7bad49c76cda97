"""Tables of embeddings with the ids of their items, put into the order of the catalog on disk."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.catalog import id_values
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.intake.ids import as_kind, read_ids
from l3ae_dist.data.intake.numbers import to_floats
from l3ae_dist.data.intake.open_table import columns_there
from l3ae_dist.data.intake.parts import Form, Part, Table, form_of
from l3ae_dist.data.intake.plain_values import json_value
from l3ae_dist.embed.value_range import TOO_SMALL, out_of_range
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.messages import listed, shown

if TYPE_CHECKING:
    import pyarrow as pa

_KEY = "item_id"


def rows_in_catalog_order(table: Table, dataset: Dataset, scratch: Path) -> Array:
    """Scatter the rows of a table to the places of their items; rows of other items are left out.

    Parameters
    ----------
    table
        A column of ids, and one column of lists or several of numbers.
    dataset
        Has the catalog.
    scratch
        Local folder for the rows.

    Returns
    -------
    (n, d) float32, memory-mapped.

    Raises
    ------
    DataError
        For missing or duplicate items, rows of several lengths or too small for float32, or values that are
        not numbers.
    """
    import pandas as pd

    key, names = _columns(table, IngestConfig(**dataset.options))
    catalog = dataset.item_ids()
    lookup, found, rows = pd.Index(catalog), np.zeros(dataset.n_items, bool), None
    for part in table.parts:
        for ids, values in _blocks(part, key, names, catalog):
            if rows is None:
                shape = (dataset.n_items, values.shape[1])
                rows = np.memmap(scratch / "rows", np.float32, "w+", shape=shape)
            if values.shape[1] != rows.shape[1]:
                raise DataError(
                    f"some embeddings have {rows.shape[1]} dimensions and some {values.shape[1]}; "
                    "give all rows the same number."
                )
            place = lookup.get_indexer(ids)
            known = place >= 0
            again = known & (found[place] | pd.Series(place).duplicated().to_numpy())
            if again.any():
                raise DataError(
                    f"the embeddings hold item(s) twice: {listed(ids[again], 5)}; keep one row for each."
                )
            found[place[known]] = True
            small = known & out_of_range(values)[1]
            if small.any():
                raise DataError(
                    f"the embeddings of item(s) {listed(ids[small], 5)} are {TOO_SMALL}; scale all "
                    "embeddings by one factor."
                )
            with np.errstate(over="ignore"):  # too large for float32 becomes Inf, which is reported
                rows[place[known]] = values[known]
    missing = catalog[~found]
    if rows is None or len(missing):
        raise DataError(f"{len(missing)} item(s) have no embedding: {listed(missing, 5)}; add their rows.")
    return np.asarray(rows)


def columns_of_table(table: Table, options: IngestConfig) -> int | None:
    """Return the dimensions of the embeddings in a table, from its first rows; None where it has no rows.

    Parameters
    ----------
    table
        As of :func:`rows_in_catalog_order`.
    options
        Names of the columns.
    """
    key, names = _columns(table, options)
    any_ids: Array = np.empty(0, object)
    blocks = (values for part in table.parts for _, values in _blocks(part, key, names, any_ids))
    first = next(blocks, None)
    return None if first is None else int(first.shape[1])


def _columns(table: Table, options: IngestConfig) -> tuple[str, list[str]]:
    """Return the name of the column of ids, and those of the vectors."""
    if not table.columns:
        raise DataError("the embeddings are empty; give a table with a row for each item.")
    wanted = (_KEY, options.catalog_id_column, options.item_column)
    key = next((name for name in wanted if name in table.columns), table.columns[0])
    rest = [name for name in table.columns if name != key]
    if not rest:
        raise DataError(f"the embedding table has the column {shown(key)} alone; add the vectors.")
    return key, rest


def _blocks(part: Part, key: str, names: Sequence[str], catalog: Array) -> Iterator[tuple[Array, Array]]:
    """Yield ids and float64 rows of a part."""
    missing = [name for name in (key, *names) if name not in part.columns()]
    if missing and part.columns() and part.rows != 0:
        raise DataError(
            f"{part.origin} has no column {shown(missing[0])}, which other parts of the embeddings have; it "
            f"has {columns_there(missing, part.columns())}."
        )
    for batch in part.batches([key, *names]) if not missing else ():
        if not batch.num_rows:
            continue
        columns = [(name, batch.column(name), form_of(batch.schema.field(name))) for name in names]
        if len(columns) == 1 and _holds_lists(columns[0][1], columns[0][2]):
            rows = _of_lists(*columns[0], part.origin).astype(np.float64)
        else:
            numbers = [
                to_floats(values, form, name, "embedding", part.origin) for name, values, form in columns
            ]
            rows = np.stack(numbers, axis=1)
        yield _ids(batch, key, part.origin, catalog), rows


def _ids(batch: "pa.RecordBatch", key: str, origin: str, catalog: Array) -> Array:
    form = form_of(batch.schema.field(key))
    rows = np.ones(batch.num_rows, np.int64)
    text = catalog.dtype == object
    ids = read_ids(
        batch.column(key), form, "item id", origin, id_type="string" if text else "auto", rows=rows
    )
    known = catalog[0] if len(catalog) else None
    return id_values(as_kind(ids, "text" if text else "integer", like=known))


def _holds_lists(values: "pa.Array", form: Form) -> bool:
    import pyarrow as pa

    if form is Form.JSON:
        return any(one is not None and one.startswith("[") for one in values[:1].to_pylist())
    kind = values.type
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in (*tests, pa.types.is_list_view, pa.types.is_large_list_view))


def _of_lists(name: str, values: "pa.Array", form: Form, origin: str) -> Array:
    """Return lists of one length as rows, (rows, d)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if form is Form.JSON:
        values = _parsed(values, origin)
    lengths = pc.list_value_length(values)
    width, most = pc.min_max(lengths).values() if len(values) else (None, None)
    if values.null_count or width is None or width != most or not width.as_py():
        raise DataError(
            f"the embedding column {shown(name)} holds lists of no one length ({origin}); mend the table."
        )
    flat = values.flatten()
    if not (pa.types.is_floating(flat.type) or pa.types.is_integer(flat.type)):
        raise DataError(
            f"the embedding column {shown(name)} holds lists of {flat.type} and not of numbers ({origin})."
        )
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(len(values), width.as_py())


def _parsed(values: "pa.Array", origin: str) -> "pa.Array":
    """Return JSON lists as lists of numbers."""
    import pyarrow as pa

    lists = [json_value("null" if one is None else one, origin) for one in values.to_pylist()]
    try:
        return pa.array(lists, pa.list_(pa.float64()))
    except (pa.ArrowException, TypeError) as error:
        raise DataError(f"an embedding is no list of numbers ({origin}: {error}); mend the table.") from error
