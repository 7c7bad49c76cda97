"""DataFrames of pandas, Dask and Polars as tables; ids may stand in a named index."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from l3ae_dist.data.intake.memory_parts import MemoryPart, table_of_part, unambiguous
from l3ae_dist.data.intake.parts import Table
from l3ae_dist.data.intake.python_values import Column, batches_of, column_of_objects, table_of_columns
from l3ae_dist.errors import DataError
from l3ae_dist.messages import one_line, shown

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd
    import polars as pl

# Sources of a Dask DataFrame that say where its rows are, and do not hold them.
_RECIPES = ("ReadParquetFSSpec", "ReadParquetPyarrowFS", "ReadCSV", "FromMap", "FromMapProjectable")


def table_of_pandas(frame: "pd.DataFrame | pd.Series", what: str) -> Table:
    """Make a table of a pandas DataFrame, or of a Series whose index has names."""
    if not hasattr(frame, "columns"):
        frame = frame.to_frame("value" if frame.name is None else frame.name)
    part = MemoryPart(
        f"the DataFrame of {what}",
        _names(frame),
        int(frame.memory_usage().sum()),
        len(frame),
        partial(_read_pandas, frame),
    )
    return table_of_part(what, part)


def _names(frame: "pd.DataFrame | dd.DataFrame") -> tuple[str, ...]:
    """Return the names of the columns, and before them those of the index."""
    columns = [str(name) for name in frame.columns]
    levels = getattr(frame.index, "names", None) or [frame.index.name]
    named = [str(name) for name in levels if name is not None]
    return (*(name for name in named if name not in columns), *columns)


def _read_pandas(frame: "pd.DataFrame", columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    names = [str(name) for name in frame.columns]
    places = dict(zip(reversed(names), reversed(range(len(names))), strict=True))
    return batches_of(table_of_columns({name: _column(frame, name, places) for name in columns}))


def _column(frame: "pd.DataFrame", name: str, places: Mapping[str, int]) -> Column:
    if name in places:
        return column_of_pandas(frame.iloc[:, places[name]], name)
    level = [str(one) for one in frame.index.names].index(name)
    return column_of_pandas(frame.index.get_level_values(level).to_series(), name)


def column_of_pandas(series: "pd.Series", name: str) -> Column:
    """Make a column of a Series.

    Parameters
    ----------
    series
        Of any type.
    name
        Name of the column, for messages.

    Raises
    ------
    DataError
        For a type that no table has, such as complex numbers.
    """
    kind = str(series.dtype)
    if kind == "object":
        return column_of_objects(series.to_numpy(), name)
    if kind.startswith("Sparse"):
        series = series.sparse.to_dense()
    elif kind.startswith(("period", "interval")):
        series = series.astype(str)
    try:
        return Column(pa.array(series, from_pandas=True))
    except (pa.ArrowException, TypeError, ValueError):
        if kind == "category":  # of several types
            return column_of_objects(series.astype(object).to_numpy(), name)
        raise DataError(
            f"the column {shown(name)} holds values of type {shown(kind)[1:-1]}; convert it to numbers or "
            "text."
        ) from None


# ---- Dask


class DaskFrame:
    """A Dask DataFrame whose graph is optimised once for each choice of columns."""

    def __init__(self, frame: "dd.DataFrame") -> None:
        self.frame = frame
        self._graphs: dict[tuple[str, ...], _Graph] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return DaskFrame, (self.frame,)

    def partition(self, index: int, columns: Sequence[str]) -> "pd.DataFrame":
        """Compute columns of a partition in this thread, or on the cluster that holds its rows."""
        from dask.local import get_sync
        from dask.optimization import cull

        wanted = [name for name in self.frame.columns if str(name) in columns]
        chosen = tuple(map(str, wanted))
        if chosen not in self._graphs:
            self._graphs[chosen] = _Graph.of(self.frame[wanted])
        graph = self._graphs[chosen]
        if graph.elsewhere:
            return self.frame[wanted].partitions[index].compute()
        if len(graph.keys) != self.frame.npartitions:  # the optimisation joins small partitions
            return self.frame[wanted].partitions[index].compute(scheduler="synchronous")
        needed, _ = cull(graph.tasks, [graph.keys[index]])
        return get_sync(needed, graph.keys[index])


@dataclass(frozen=True, slots=True)
class _Graph:
    """Tasks of a Dask DataFrame, the keys of its partitions, and whether a cluster holds some of its rows."""

    tasks: dict[object, object]
    keys: list[object]
    elsewhere: bool

    @classmethod
    def of(cls, frame: "dd.DataFrame") -> "_Graph":
        """Optimise a DataFrame."""
        optimised = frame.optimize()
        tasks = dict(optimised.__dask_graph__())
        return cls(tasks, list(optimised.__dask_keys__()), _has_futures(tasks))


@dataclass(frozen=True)
class DaskPart:
    """A partition of a Dask DataFrame, computed as it is read.

    Parameters
    ----------
    source
        The whole DataFrame.
    index
        Number of the partition.
    names
        Names of the columns.
    """

    source: DaskFrame
    index: int
    names: tuple[str, ...]

    @property
    def origin(self) -> str:
        """Name of the partition."""
        return f"partition {self.index}"

    @property
    def size(self) -> int:
        """Zero: nobody knows before it is computed."""
        return 0

    @property
    def rows(self) -> int | None:
        """None: nobody knows before it is computed."""
        return None

    def columns(self) -> tuple[str, ...]:
        """Return the names of its columns."""
        return self.names

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Compute some of its columns."""
        unambiguous(columns, self.names, self.origin)
        try:
            frame = self.source.partition(self.index, columns)
        except Exception as error:
            raise DataError(
                f"cannot compute {self.origin} of the Dask DataFrame ({type(error).__name__}: "
                f"{one_line(str(error), 200)}); check where it comes from."
            ) from error
        return _read_pandas(frame, columns)


def table_of_dask(frame: "dd.DataFrame", what: str) -> Table:
    """Make a table of a Dask DataFrame, one part for each partition.

    Other machines can read the parts where the DataFrame says how its rows are made, and does not hold them.
    """
    names, source = _names(frame), DaskFrame(frame)
    parts = tuple(DaskPart(source, index, names) for index in range(frame.npartitions))
    sources = {type(one).__name__ for one in frame.expr.walk() if not one.dependencies()}
    return Table(what, parts, tuple(dict.fromkeys(names)), shared=sources <= set(_RECIPES))


def _has_futures(graph: Mapping[object, object]) -> bool:
    """Tell whether rows of a DataFrame are in the memory of a cluster."""
    if "distributed" not in sys.modules:
        return False
    from distributed import Future

    return any(isinstance(task, Future) for task in graph.values())


# ---- Polars


def table_of_polars(frame: "pl.DataFrame | pl.LazyFrame", what: str) -> Table:
    """Make a table of a Polars DataFrame, or of a LazyFrame, whose columns are collected in batches."""
    if hasattr(frame, "collect_schema") and not hasattr(frame, "height"):
        names = tuple(frame.collect_schema().names())
        part = MemoryPart(f"the LazyFrame of {what}", names, 0, None, partial(_read_lazy, frame))
    else:
        size, read = int(frame.estimated_size()), partial(_read_polars, frame)
        part = MemoryPart(f"the DataFrame of {what}", tuple(frame.columns), size, frame.height, read)
    return table_of_part(what, part)


def _read_polars(frame: "pl.DataFrame", columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    return batches_of(table_of_columns({name: _column_of_polars(frame[name]) for name in columns}))


def _column_of_polars(series: "pl.Series") -> Column:
    if str(series.dtype) == "Object":  # whose Arrow values are addresses of memory
        return column_of_objects(series.to_list(), series.name)
    try:
        return Column(series.to_arrow())
    except pa.ArrowException:
        raise DataError(
            f"the column {shown(series.name)} holds values of type {series.dtype}, which Arrow lacks; "
            "cast it to Int64 or String."
        ) from None


def _read_lazy(frame: "pl.LazyFrame", columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    chosen = frame.select(list(columns))
    try:
        if not hasattr(chosen, "collect_batches"):
            yield from _read_polars(chosen.collect(engine="streaming"), columns)
            return
        for batch in chosen.collect_batches(maintain_order=True):
            yield from _read_polars(batch, columns)
    except Exception as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"cannot collect the LazyFrame ({type(error).__name__}: {one_line(str(error), 200)}); check "
            "where it comes from."
        ) from error
