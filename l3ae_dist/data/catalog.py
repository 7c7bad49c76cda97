"""The item catalog: ids in their own order, titles, and the text that is embedded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.readers import partitions
from l3ae_dist.data.tables import Frame, Table
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

_LARGEST = 2**63 - 1
_EXACT = 2**53


@dataclass(frozen=True, slots=True)
class Catalog:
    """The items of a dataset, in the order of the catalog.

    Parameters
    ----------
    ids
        (n_items,) int64, or objects of ``str``.
    titles, texts
        (n_items,) objects of ``str``; the texts are what is embedded.
    has_text, no_text
        Whether all columns of text are there, and why not.
    """

    ids: Array
    titles: Array
    texts: Array
    has_text: bool
    no_text: str | None

    def __len__(self) -> int:
        return len(self.ids)


def read_catalog(items: Table, options: IngestConfig) -> Catalog:
    """Read ids, titles and texts of the items.

    Raises
    ------
    DataError
        For a missing id column, null ids, or ids that occur twice.
    """
    ids, titles, texts = [], [], []
    missing: list[str] = []
    for part in partitions(items, None, "items", options.text_ids(options.catalog_id_column)):
        names = list(part.columns)
        if options.catalog_id_column not in names:
            raise DataError(
                f"the items have no column {options.catalog_id_column!r}; they have "
                f"{', '.join(map(str, names))}; set catalog_id_column."
            )
        wanted = [column for column in options.text_columns if column in names]
        missing += [name for name in options.text_columns if name not in (*names, *missing)]
        column = _strings(part, wanted, options.text_separator)
        texts.append(column)
        titled = options.title_column in names
        titles.append(_strings(part, [options.title_column], " ") if titled else column)
        ids.append(ids_of(part[options.catalog_id_column], "catalog id", options.id_type))
    has_text = bool(options.text_columns) and not missing
    all_ids = concatenate_ids(ids)
    unique, counts = np.unique(all_ids, return_counts=True)
    if len(unique) < len(all_ids):
        shown = ", ".join(repr(value) for value in unique[counts > 1][:5].tolist())
        raise DataError(
            f"{int((counts > 1).sum())} catalog id(s) occur more than once: {shown}; keep one each."
        )
    no_text = None if has_text else _no_text(missing, names)
    return Catalog(all_ids, np.concatenate(titles), np.concatenate(texts), has_text, no_text)


def _no_text(missing: list[str], names: Sequence[object]) -> str:
    """Say why the items have no text, for whoever needs it later."""
    if not missing:
        return "text_columns names no column"
    return (
        f"the items have no column {', '.join(map(repr, missing))} (text_columns); they have "
        f"{', '.join(map(str, names))}"
    )


def _strings(part: Frame, columns: list[str], separator: str) -> Array:
    out = np.full(len(part), "", object)
    for column in columns:
        found = part[column].astype(object)  # a categorical takes no new value
        values = found.where(found.notna(), "").astype(str).to_numpy(dtype=object)
        joined = [f"{a}{separator}{b}" for a, b in zip(out, values, strict=True)]
        out = np.array(joined, object) if out.any() else values
    return out


def ids_of(column: "pd.Series", what: str, id_type: str = "auto") -> Array:
    """Return an id column as int64, or as objects of ``str``.

    Parameters
    ----------
    column
        Integers, floating-point integers or strings.
    what
        What it is called in errors.
    id_type
        ``"string"`` for strings whatever the column holds; ``"auto"`` for what it holds.

    Raises
    ------
    DataError
        For nulls, fractions, and numbers that have lost digits.
    """
    missing = int(column.isna().sum())
    if missing:
        raise DataError(f"{missing} row(s) have no {what}; fill or remove them.")
    values = column.to_numpy()
    if values.dtype.kind not in "iuf":
        return np.asarray(column.astype(str).to_numpy(dtype=object))
    if values.dtype.kind == "f":
        values = _integers(values, what)
    if id_type == "string":
        return np.asarray(values.astype(str), object)
    if values.dtype.kind == "u" and values.max(initial=0) > _LARGEST:
        raise DataError(
            f"the {what} column holds {values.max()}, over the largest integer id {_LARGEST}; set "
            "data.options.id_type to string."
        )
    return np.asarray(values, np.int64)


def _integers(values: Array, what: str) -> Array:
    if not (values == np.floor(values)).all():
        raise DataError(f"the {what} column holds fractional numbers; ids are integers or strings.")
    largest = np.abs(values).max(initial=0)
    if largest > _EXACT:
        raise DataError(
            f"the {what} column holds {largest:.0f} as a floating-point number, which keeps integers exactly "
            "up to 2^53 only; store the ids as integers or strings."
        )
    return values.astype(np.int64)


def concatenate_ids(parts: list[Array]) -> Array:
    """Join id columns of several partitions: strings as soon as one part has strings."""
    if any(part.dtype == object for part in parts):
        return np.concatenate([part.astype(str).astype(object) for part in parts])
    return np.concatenate(parts)


def same_kind(values: Array, like: Array) -> Array:
    """Return ids as strings where ``like`` holds strings."""
    if like.dtype == object and values.dtype != object:
        return values.astype(str).astype(object)
    return values
