"""The item catalog: ids in their own order, titles, and the text that is embedded."""

from typing import Any

import numpy as np
import numpy.typing as npt

from l3ae_dist.data.options import IngestOptions
from l3ae_dist.data.readers import partitions
from l3ae_dist.errors import DataError

Array = npt.NDArray[Any]


def read_catalog(items: Any, options: IngestOptions) -> dict[str, Any]:
    """Ids, titles and texts of the catalog in its own order."""
    ids, titles, texts = [], [], []
    has_text = True
    for part in partitions(items, None, "items"):
        names = list(part.columns)
        if options.catalog_id_column not in names:
            raise DataError(
                f"the items have no column {options.catalog_id_column!r}; they have "
                f"{', '.join(map(str, names))}; set catalog_id_column."
            )
        wanted = [column for column in options.text_columns if column in names]
        has_text = has_text and bool(wanted) and len(wanted) == len(options.text_columns)
        column = _strings(part, wanted, options.text_separator)
        texts.append(column)
        titled = options.title_column in names
        titles.append(_strings(part, [options.title_column], " ") if titled else column)
        ids.append(ids_of(part[options.catalog_id_column], "catalog id"))
    all_ids = concatenate_ids(ids)
    unique, counts = np.unique(all_ids, return_counts=True)
    if len(unique) < len(all_ids):
        shown = ", ".join(repr(value) for value in unique[counts > 1][:5].tolist())
        raise DataError(
            f"{int((counts > 1).sum())} catalog id(s) occur more than once: {shown}; keep one each."
        )
    return {
        "ids": all_ids,
        "title": np.concatenate(titles),
        "text": np.concatenate(texts),
        "has_text": has_text,
    }


def _strings(part: Any, columns: list[str], separator: str) -> Array:
    out = np.full(len(part), "", object)
    for column in columns:
        values = part[column].fillna("").astype(str).to_numpy(dtype=object)
        joined = [f"{a}{separator}{b}" for a, b in zip(out, values, strict=True)]
        out = np.array(joined, object) if out.any() else values
    return out


def ids_of(column: Any, what: str) -> Array:
    """An id column as int64 or as strings; :class:`DataError` for nulls and fractions."""
    missing = int(column.isna().sum())
    if missing:
        raise DataError(f"{missing} row(s) have no {what}; fill or remove them.")
    values = column.to_numpy()
    if values.dtype.kind in "iu":
        return np.asarray(values, np.int64)
    if values.dtype.kind == "f":
        if not (values == np.floor(values)).all():
            raise DataError(f"the {what} column holds fractional numbers; ids are integers or strings.")
        return np.asarray(values.astype(np.int64))
    return np.asarray(column.astype(str).to_numpy(dtype=object))


def concatenate_ids(parts: list[Array]) -> Array:
    """Id columns of several partitions as one: strings as soon as one part has strings."""
    if any(part.dtype == object for part in parts):
        return np.concatenate([part.astype(str).astype(object) for part in parts])
    return np.concatenate(parts)


def same_kind(values: Array, like: Array) -> Array:
    """Ids as strings where ``like`` holds strings."""
    if like.dtype == object and values.dtype != object:
        return values.astype(str).astype(object)
    return values
