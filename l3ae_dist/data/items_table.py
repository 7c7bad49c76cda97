"""Items that are handed over as texts by id, and not as a table."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.intake.python_values import column_of_objects
from l3ae_dist.data.intake.texts import to_texts
from l3ae_dist.errors import DataError
from l3ae_dist.messages import listed, shown

if TYPE_CHECKING:
    import pyarrow as pa

_PATH = re.compile(r"[/\\*?\[]|\.\w{2,7}$")


def items_table(items: object, options: IngestConfig) -> object:
    """Return items as a table: texts by id become one, other tables are returned as they are.

    Parameters
    ----------
    items
        A table, as :func:`l3ae_dist.data.intake.open_table.open_table` takes it; a mapping of id to text, or
        a Series of texts with the ids as its index.
    options
        Names of the columns.

    Raises
    ------
    DataError
        For texts without ids.
    """
    name, text = options.catalog_id_column, text_column(options)
    if isinstance(items, Mapping) and items and all(isinstance(one, str) for one in items.values()):
        return table_of_texts(list(items), list(items.values()), options)
    if isinstance(items, Mapping) and name not in items and _are_texts(items.values()):
        column = column_of_objects(list(items.values()), text)
        return table_of_texts(list(items), to_texts(column.values, column.form), options)
    if isinstance(items, Mapping) and name not in items:
        _refuse_lists(items, name)
    if _is_series(items):
        return _table_of_series(items, name, text)
    if isinstance(items, list | tuple) and items and all(isinstance(one, str) for one in items):
        _refuse_texts(items, name, text)
    return items


def table_of_texts(ids: Sequence[object], texts: Sequence[object], options: IngestConfig) -> "pa.Table":
    """Return texts and their ids as a table.

    Parameters
    ----------
    ids
        All integers, or all text.
    texts
        One for each id.
    options
        Names of the columns.

    Raises
    ------
    DataError
        For ids of several kinds, or what is no text.
    """
    import pyarrow as pa

    kinds = set(map(_kind, ids))
    if len(kinds) > 1:
        examples = [next(one for one in ids if _kind(one) is kind) for kind in sorted(kinds, key=str)]
        raise DataError(
            f"the ids of the items are of several kinds, such as {listed(examples)}; give ids that are all "
            "integers or all text."
        )
    try:
        columns = {
            options.catalog_id_column: pa.array(ids),
            text_column(options): pa.array(texts),
        }
    except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
        raise DataError(f"the items are no ids and texts ({error}); give a text for each id.") from error
    return pa.table(columns)


def _are_texts(values: Iterable[object]) -> bool:
    """Tell whether values of a mapping are texts, numbers or lists by id: lists alone may be columns."""
    lists = [isinstance(one, list | tuple) for one in values]
    if all(lists):
        return False
    return all(
        one is None or isinstance(one, str | int | float | np.generic | list | tuple) for one in values
    )


def _refuse_lists(items: Mapping[object, object], name: str) -> None:
    """Raise for a mapping of lists of several lengths, which are no columns."""
    lists = [one for one in items.values() if isinstance(one, list | tuple)]
    if len(lists) == len(items) and len(set(map(len, lists))) > 1:
        raise DataError(
            f"the items are a mapping of lists of several lengths without the column {shown(name)}; give a "
            "text for each id, the words of a list joined with spaces, or columns of one length."
        )


def text_column(options: IngestConfig) -> str:
    """Return the name of the column of texts where there is one alone."""
    return (*options.text_columns, "text")[0]


def _kind(value: object) -> object:
    """Return what ids of a column have in common."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int
    return str if isinstance(value, str) else type(value)


def _is_series(items: object) -> bool:
    return type(items).__module__.partition(".")[0] == "pandas" and type(items).__name__ == "Series"


def _table_of_series(items: object, name: str, text: str) -> object:
    import pandas as pd

    assert isinstance(items, pd.Series)
    if items.index.nlevels > 1:
        if name in items.index.names:
            return items.rename(text).reset_index()
        raise DataError(
            f"the items are a Series whose index has {items.index.nlevels} levels, and none is named {name}; "
            "give one whose index are the ids alone."
        )
    if items.index.name is None and items.index.equals(pd.RangeIndex(len(items))):
        raise DataError(
            "the items are a Series whose index has no ids; give a table with the columns "
            f"{name} and {text}, or the Series of table.set_index({name!r})[{text!r}]."
        )
    return items.rename(text).rename_axis(name).reset_index()


def is_like_a_path(text: str) -> bool:
    """Tell whether a string may be meant as a path, a pattern or a URL: it looks like one, or is there."""
    return bool(_PATH.search(text)) or os.path.exists(text)


def _refuse_texts(items: Sequence[str], name: str, text: str) -> None:
    """Raise for a list of texts: a list of strings is one of paths."""
    if not any(map(is_like_a_path, items)):
        raise DataError(
            f"the items are a list of {len(items)} string(s), such as {shown(items[0])}, and none names a "
            f"file; texts need ids: give a table with the columns {name} and {text}, or a dict of id: text."
        )
