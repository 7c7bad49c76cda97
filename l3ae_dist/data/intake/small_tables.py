"""Tables that fit in memory and hold ids, such as histories and lists of items, as DataFrames."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from l3ae_dist.data.intake.ids import IdForm, IdValues, as_kind, decide_form, read_ids
from l3ae_dist.data.intake.numbers import to_floats
from l3ae_dist.data.intake.open_table import open_table, require_columns
from l3ae_dist.data.intake.parts import Form, Part, Table, form_of
from l3ae_dist.data.intake.plain_values import decoded
from l3ae_dist.linalg.arrays import Array, Floats

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class SmallTable:
    """Ids and numbers of a table; whether its ids are integers or text is decided by whoever asks for them.

    Parameters
    ----------
    ids
        For each column of ids, the distinct ids of each part and the position of each row's id among them.
    numbers
        Columns of numbers.
    """

    ids: dict[str, list[tuple[IdValues, Array]]]
    numbers: dict[str, Floats]

    def frame(self, forms: dict[str, IdForm]) -> "pd.DataFrame":
        """Return the table, ids in the forms that are given for their columns.

        Raises
        ------
        DataError
            For text among ids that shall be integers.
        """
        import pandas as pd

        ids = {name: _in_form(parts, forms[name]) for name, parts in self.ids.items()}
        return pd.DataFrame({**ids, **self.numbers})


def form_of_ids(tables: Iterable[SmallTable], column: str) -> IdForm:
    """Decide the form of a column of ids that several tables share.

    Parameters
    ----------
    tables
        The tables; some may lack the column.
    column
        Name of the column.
    """
    ids = [values for table in tables for values, _ in table.ids.get(column, ())]
    return decide_form(ids, what=column)


def read_small(source: object, what: str, ids: Sequence[str], numbers: Sequence[str] = ()) -> SmallTable:
    """Read columns of a table into memory.

    Parameters
    ----------
    source
        A table that is open, or as :func:`l3ae_dist.data.intake.open_table.open_table` takes it.
    what
        What messages call it.
    ids
        Columns of ids, of which the first is required; others are read where the table has them.
    numbers
        Columns of numbers, which are read where the table has them.

    Raises
    ------
    DataError
        For a table that lacks the first column, or cannot be read; for values that are no ids or numbers.
    """
    table = source if isinstance(source, Table) else open_table(source, what)
    require_columns(table, ids[:1], "name it so")
    names = [name for name in (*ids, *numbers) if name in table.columns]
    require_columns(table, names, "name it so")
    found = SmallTable({name: [] for name in names if name in ids}, {})
    pieces: dict[str, list[Floats]] = {name: [np.zeros(0)] for name in names if name in numbers}
    for part in table.parts:
        for name, (values, form) in _read(part, names).items():
            if name in ids:
                found.ids[name].append(_distinct(values, form, name, part.origin))
            else:
                pieces[name].append(to_floats(values, form, name, name, part.origin))
    found.numbers.update({name: np.concatenate(some) for name, some in pieces.items()})
    return found


def _read(part: Part, names: Sequence[str]) -> dict[str, tuple[pa.Array, Form]]:
    """Read columns of a part: values and their form."""
    wanted = [name for name in names if name in part.columns()]
    batches = list(part.batches(wanted))
    if not batches:
        return {}
    table, schema = pa.Table.from_batches(batches), batches[0].schema
    return {name: (decoded(table.column(name), part.origin), form_of(schema.field(name))) for name in wanted}


def _distinct(values: pa.Array, form: Form, name: str, origin: str) -> tuple[IdValues, Array]:
    coded = values.dictionary_encode(null_encoding="encode")
    what = name.replace("_", " ")
    rows = np.bincount(coded.indices, minlength=len(coded.dictionary))
    return read_ids(coded.dictionary, form, what, origin, rows=rows), np.asarray(coded.indices)


def _in_form(parts: list[tuple[IdValues, Array]], form: IdForm) -> Array:
    """Return ids as int64, or as objects of ``str``."""
    kind = object if form == "text" else np.int64
    columns = [np.zeros(0, kind)]
    for values, codes in parts:
        distinct = as_kind(values, form).to_numpy(zero_copy_only=False)
        columns.append(distinct.astype(kind)[codes])
    return np.concatenate(columns)
