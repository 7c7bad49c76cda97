"""The item catalog: ids in their own order, titles, and the text that is embedded."""

import re
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.intake.ids import IdValues, as_kind, decide_form, read_ids
from l3ae_dist.data.intake.open_table import columns_there, open_table, require_columns
from l3ae_dist.data.intake.parts import Part, form_of
from l3ae_dist.data.intake.parts import Table as Parts
from l3ae_dist.data.intake.plain_values import shown_origin
from l3ae_dist.data.intake.refused_rows import naming_row
from l3ae_dist.data.intake.texts import join_texts, to_texts
from l3ae_dist.data.items_table import items_table
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.messages import listed, shown

if TYPE_CHECKING:
    import pyarrow as pa

NO_ITEMS = "no items table was given"
"""Reason why the items that a log names have no text."""
_SHOWN = 5
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Catalog:
    """The items of a dataset, in the order of the catalog.

    Parameters
    ----------
    ids
        (n_items,) int64 or ``large_string``.
    titles, texts
        (n_items,) ``large_string``; the texts are what is embedded.
    has_text, no_text
        Whether all columns of text are there, and why not.
    rows, files, notes
        Rows and files that were read for it, and what was decided about them.
    """

    ids: "pa.Array"
    titles: "pa.Array"
    texts: "pa.Array"
    has_text: bool
    no_text: str | None
    rows: int = 0
    files: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


def read_catalog(items: object, options: IngestConfig) -> Catalog:
    """Read ids, titles and texts of the items.

    Parameters
    ----------
    items
        A table, as :func:`~l3ae_dist.data.items_table.items_table` takes it.
    options
        Names of the columns, kind of the ids, and how text files are read.

    Raises
    ------
    DataError
        For a missing id column, null ids, ids that occur twice, or what cannot be read.
    """
    source = items_table(items, options)
    table = open_table(source, "items", options.catalog_text_options(), options.catalog_names())
    require_columns(table, [options.catalog_id_column], "set catalog_id_column")
    parts = [found for part in table.parts if (found := _read_part(part, options)) is not None]
    if not parts:
        raise table.without_rows()
    ids = _ids(parts, options)
    titles, texts = (_joined([getattr(part, name) for part in parts]) for name in ("titles", "texts"))
    no_text = _no_text(table, parts, options)
    return Catalog(ids, titles, texts, no_text is None, no_text, len(ids), table.files, table.notes)


def catalog_of_ids(ids: "pa.Array") -> Catalog:
    """Return items that only a log names as a catalog; they have no text, and their ids for titles."""
    import pyarrow as pa

    texts = pa.array([""] * len(ids), pa.large_string())
    return Catalog(ids, ids.cast(pa.large_string()), texts, False, NO_ITEMS)


def with_new_items(before: Catalog, more: Catalog) -> Catalog:
    """Return a catalog with the items of another that it does not have at its end."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = same_kind(more.ids, id_values(before.ids[:1]), "the new items")
    new = pc.invert(pc.is_in(ids, value_set=before.ids))
    if not pc.any(new).as_py():
        return replace(before, rows=more.rows, files=more.files, notes=more.notes)
    return Catalog(
        pa.concat_arrays([before.ids, ids.filter(new)]),
        pa.concat_arrays([before.titles, more.titles.filter(new)]),
        pa.concat_arrays([before.texts, more.texts.filter(new)]),
        before.has_text and more.has_text,
        before.no_text or more.no_text,
        more.rows,
        more.files,
        more.notes,
    )


def content_id(catalog: Catalog) -> str:
    """Name the ids and texts of a catalog by their content and order, wherever they were read from."""
    import pyarrow as pa
    import pyarrow.compute as pc

    digest = blake2b(str(catalog.has_text).encode(), digest_size=8)
    for values in (catalog.ids, catalog.texts):
        digest.update(str(values.type).encode())
        if pa.types.is_integer(values.type):
            digest.update(np.ascontiguousarray(values.to_numpy()).data)
            continue
        digest.update(np.ascontiguousarray(pc.binary_length(values).to_numpy()).data)
        _, bounds, text = values.buffers()
        if text is not None:
            first, last = np.frombuffer(bounds, np.int64)[[values.offset, values.offset + len(values)]]
            digest.update(memoryview(text)[first:last])
    return digest.hexdigest()


def same_kind(ids: "pa.Array", known: Array, who: str) -> "pa.Array":
    """Return ids in the kind of known ones: integers as text where those are text.

    Parameters
    ----------
    ids
        int64 or ``large_string``.
    known
        Some of the known ids: int64, or objects of ``str``.
    who
        Whose the ids are, such as ``"the new items"``.

    Raises
    ------
    DataError
        For text where the known ids are integers, naming both.
    """
    import pyarrow as pa

    if known.dtype == object:
        return ids.cast(pa.large_string())
    if pa.types.is_integer(ids.type):
        return ids
    text = next((one for one in ids.to_pylist() if not _INTEGER.fullmatch(one)), ids[0].as_py())
    raise DataError(
        f"the ids of {who} are text, such as {shown(text)}, and the workspace's item ids are integers, "
        f"such as {shown(known[0])}; write them as integers, or fit again with data.options.id_type: string."
    )


def id_array(ids: Array) -> "pa.Array":
    """Return ids, int64 or objects of ``str``, as an Arrow array."""
    import pyarrow as pa

    return pa.array(ids, pa.large_string() if ids.dtype == object else pa.int64())


def id_values(ids: "pa.Array") -> Array:
    """Return ids as int64, or as objects of ``str``."""
    return np.asarray(ids.to_numpy(zero_copy_only=False))


# ---- parts


@dataclass(frozen=True, slots=True)
class _Items:
    """Items of one part."""

    ids: IdValues
    titles: list["pa.Array"]
    texts: list["pa.Array"]
    lacks: tuple[str, ...]


def _read_part(part: Part, options: IngestConfig) -> _Items | None:
    """Read the items of a part; None where it has no row."""
    import pyarrow as pa

    there, key, title = part.columns(), options.catalog_id_column, options.title_column
    text_columns = [name for name in dict.fromkeys(options.text_columns) if name in there]
    wanted = [name for name in dict.fromkeys((key, title, *text_columns)) if name in there]
    ids, titles, texts = list[pa.Array](), list[pa.Array](), list[pa.Array]()
    for batch in part.batches(wanted) if key in there else ():
        if not batch.num_rows:
            continue
        columns = {
            name: to_texts(batch.column(name), form_of(batch.schema.field(name)), part.origin)
            for name in wanted
            if name in (title, *text_columns)
        }
        text = join_texts([columns[name] for name in text_columns], options.text_separator)
        text = text if text_columns else [""] * batch.num_rows
        texts.append(_strings(text, part.origin))
        titles.append(_strings(columns[title], part.origin) if title in columns else texts[-1])
        ids.append(batch.column(key))
        form = form_of(batch.schema.field(key))
    if not ids:
        return None
    values = pa.chunked_array(ids)

    def read(count: int) -> IdValues:
        rows = np.ones(count, np.int64)
        first = values.slice(0, count)
        return read_ids(first, form, "catalog id", part.origin, id_type=options.id_type, rows=rows)

    try:
        found = read(len(values))
    except DataError as error:
        raise naming_row(error, read, len(values)) from error
    lacks = tuple(name for name in options.text_columns if name not in there)
    return _Items(found, titles, texts, lacks)


def _strings(texts: list[str], origin: str) -> "pa.Array":
    import pyarrow as pa

    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        raise DataError(
            f"a text holds half of a surrogate pair ({origin}), which is no text; write the table again as "
            "UTF-8."
        ) from None


def _joined(parts: list[list["pa.Array"]]) -> "pa.Array":
    import pyarrow as pa

    return pa.concat_arrays([array for part in parts for array in part])


def _ids(parts: list[_Items], options: IngestConfig) -> "pa.Array":
    """Return the ids of all parts in one form; raise :class:`DataError` for those that occur twice."""
    import pyarrow as pa
    import pyarrow.compute as pc

    form = decide_form((part.ids for part in parts), options.id_type, "catalog id")
    ids = pa.concat_arrays([as_kind(part.ids, form) for part in parts])
    counts = ids.value_counts()
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        first = listed(twice[:_SHOWN].to_pylist(), _SHOWN)
        places = pc.indices_nonzero(pc.equal(ids, twice[0])).to_pylist()[:2]
        raise DataError(
            f"{len(twice)} catalog id(s) occur more than once: {first}; keep one each "
            f"({shown(twice[0].as_py())} stands in {' and in '.join(_row_names(parts, places))})."
        )
    return ids


def _row_names(parts: list[_Items], places: list[int]) -> list[str]:
    """Name rows of the whole catalog by their part and their row in it."""
    ends = np.cumsum([len(part.ids.values) for part in parts])
    names = []
    for place in places:
        part = int(np.searchsorted(ends, place, side="right"))
        row = place - int(ends[part]) + len(parts[part].ids.values) + 1
        names.append(f"row {row:,} of {shown_origin(parts[part].ids.origin)}")
    return names


def _no_text(table: Parts, parts: list[_Items], options: IngestConfig) -> str | None:
    """Say why the items have no text, for whoever needs it later; None when they have."""
    if not options.text_columns:
        return "text_columns names no column"
    missing = [name for name in options.text_columns if name not in table.columns]
    if missing:
        there = columns_there(missing, table.columns)
        return f"the items have no column {listed(missing)} (text_columns); they have {there}"
    for part in parts:
        if part.lacks:
            lacks = f"{part.ids.origin} has no column {listed(part.lacks)} (text_columns)"
            return f"{lacks}, which other parts of the items have"
    return None
