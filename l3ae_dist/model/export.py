"""Exporting a fitted model: the largest weights of each column of B, in files that any tool reads.

The folder holds ``header.json``, ``items.npz`` (ids and titles) and the weights as ``weights.npz``
(SciPy CSR, ``scores = X @ W``), as ``weights.parquet`` (item_id, history_item_id, weight), or both.
:mod:`l3ae_dist.serving` recommends from it with NumPy and SciPy alone.
"""

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import sparse

from l3ae_dist import __version__
from l3ae_dist.errors import BudgetError, ConfigError
from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.export import ColumnBlocks, ExportParams, block_bytes, export_graph, largest_weights
from l3ae_dist.graphs.score_terms import TermArrays
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.messages import shown
from l3ae_dist.model.export_folder import PARQUET, export_target, file_digests, replaced_folder
from l3ae_dist.model.model_arrays import ModelArrays
from l3ae_dist.pipeline.copies_elsewhere import note_copy
from l3ae_dist.planning.worker_memory import INTERPRETER_BYTES
from l3ae_dist.runtime.event_log import told_as_events
from l3ae_dist.runtime.events import Event, OnEvent, StageEnd, StageStart, TileDone
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.documents import sealed
from l3ae_dist.storage.export_header import FORMAT, FORMAT_VERSION, HEADER, ITEMS, WEIGHTS, ExportHeader
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.os_errors import storage_errors
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.tile_reader import TileReader
from l3ae_dist.storage.tile_requests import ReadCount
from l3ae_dist.units import parse_bytes

if TYPE_CHECKING:
    import distributed

Format = Literal["npz", "parquet", "both"]
MEMORY_BUDGET = "2GiB"
# Rows and values of one column tile, largest magnitude first, value 0 where there is none.
Column = tuple[Array, Array]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Choices of an export, as :meth:`l3ae_dist.model.lifecycle.ModelLifecycle.export_weights` takes them.

    Parameters
    ----------
    k
        Weights for each item; ``"all"`` or None for all of them.
    format
        Kind of the files.
    dtype
        Of the stored weights.
    memory_budget
        Bytes that this process may hold beside the interpreter.
    """

    k: int | Literal["all"] | None = 100
    format: Format = "npz"
    dtype: Literal["float32", "float64"] = "float32"
    memory_budget: int | str = MEMORY_BUDGET

    def kept(self, most: int) -> int:
        """Return how many weights of a column that has ``most`` are kept; refuse what is no count."""
        if self.k is None or self.k == "all":
            return max(1, most)
        if type(self.k) is not int or self.k < 1:
            raise ConfigError(f"k is {shown(self.k)} but must be at least 1, or all.")
        return max(1, min(self.k, most))


def write_export(
    model: ModelArrays,
    path: str | Path,
    options: ExportOptions,
    *,
    client: "distributed.Client | None",
    on_event: OnEvent,
) -> ExportHeader:
    """Write the largest weights of every column of B to a folder, which appears when it is complete.

    Parameters
    ----------
    model
        A fitted model.
    path
        Local folder; an earlier export there is replaced.
    options
        How many weights, and in which files.
    client
        Cluster that makes the column tiles; None for this process.
    on_event
        Called with ``stage_start``, ``tile`` and ``stage_end`` events.
    """
    kept = options.kept(model.n_items - (model.terms.kept == 0.0))
    if options.format not in get_args(Format):
        raise ConfigError(f"format is {shown(options.format)} but must be npz, parquet or both.")
    _check_budget(model, kept, options)
    target = export_target(path, model.workspace.url)
    columns = (
        _in_process(model, kept, on_event) if client is None else _on_cluster(model, kept, client, on_event)
    )
    with contextlib.closing(columns), storage_errors(str(target)), replaced_folder(target) as partial:
        note_copy(model.workspace, model.document, "export", str(target))  # before it is there
        return _write(model, partial, columns, options)


def kept_weights(model: ModelArrays, options: ExportOptions, on_event: OnEvent) -> sparse.csr_matrix:
    """Return the largest weights of every column of B, (n_items, n_items) in the order of the catalog.

    Parameters
    ----------
    model
        A fitted model.
    options
        How many weights, and in which dtype.
    on_event
        Called with ``stage_start``, ``tile`` and ``stage_end`` events.
    """
    kept = options.kept(model.n_items - (model.terms.kept == 0.0))
    _check_budget(model, kept, options)
    gathered = _Gathered(np.dtype(options.dtype))
    with contextlib.closing(_in_process(model, kept, on_event)) as columns:
        for rows, values in columns:
            stored = values.astype(options.dtype)
            gathered.add(rows, stored, stored != 0)
    return _in_catalog_order(model, gathered.matrix(model.grid))


def _in_catalog_order(model: ModelArrays, weights: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return weights by catalog position, of a model whose arrays may have the core first."""
    if model.stored.stats.core is None:
        return weights
    places = model.order.places(np.arange(model.grid.n))
    return weights[places][:, places].sorted_indices()


def _check_budget(model: ModelArrays, k: int, options: ExportOptions) -> None:
    """Lists of all columns, the matrix by columns and by rows, and the blocks of a tile."""
    budget = _bytes(options.memory_budget)
    n, tile = model.grid.n, min(model.grid.tile, model.grid.n)
    itemsize, stored = np.dtype(model.dtype).itemsize, np.dtype(options.dtype).itemsize
    blocks = block_bytes(tile, k, itemsize)
    per_weight = 8 + itemsize + 2 * (4 + stored)
    needed = blocks + n * k * per_weight
    if needed > budget:
        first = block_bytes(tile, 0, itemsize)
        # a block's share grows at most as fast as for the first weight
        fits = (budget - first) // (n * per_weight + block_bytes(tile, 1, itemsize) - first)
        advice = f"k of at most {fits:,} or " if fits > 0 else ""
        raise BudgetError(
            f"exporting {k:,} weights for each of {n:,} items needs {needed / 2**20:,.0f} MiB in this "
            f"process, and the memory budget is {budget / 2**20:,.0f} MiB; choose {advice}a larger "
            "memory_budget."
        )


def _bytes(value: int | str) -> int:
    try:
        return parse_bytes(value)
    except ConfigError as error:
        raise ConfigError(f"memory_budget is {shown(value)} but must be bytes, or such as 2GiB.") from error


def _in_process(model: ModelArrays, k: int, on_event: OnEvent) -> Generator[Column]:
    grid, total = model.grid, model.grid.lower_count
    on_event(StageStart(stage=Stage.EXPORT, total=total))

    def progress(done: int, total: int) -> None:
        on_event(TileDone(stage=Stage.EXPORT, done=done, total=total))

    blocks = ColumnBlocks(model.terms, TermArrays(model.workspace), grid, model.dtype)
    found = largest_weights(blocks, k, TileReader(), ReadCount(), progress=progress)
    on_event(StageEnd(stage=Stage.EXPORT))
    for j in range(grid.count):
        column = found.pop(j)
        yield column.rows, column.values


def _on_cluster(
    model: ModelArrays, k: int, client: "distributed.Client", on_event: OnEvent
) -> Generator[Column]:
    """Select on a Dask cluster: each task writes the lists of one column tile, which are read here."""
    from l3ae_dist.runtime.backends.dask_session import DaskSession
    from l3ae_dist.runtime.executors import DaskExecutor
    from l3ae_dist.runtime.run_graph import run_graph

    workspace, grid, terms = model.workspace, model.grid, model.terms
    needed = INTERPRETER_BYTES + block_bytes(grid.tile, k, np.dtype(model.dtype).itemsize)
    limit = DaskSession(client, None).memory_limit()
    if limit is not None and limit < needed:
        raise BudgetError(
            f"a worker of the cluster may use {limit / 2**20:,.0f} MiB, and exporting k = {k:,} in tiles of "
            f"{grid.tile} needs {needed / 2**20:,.0f} MiB; start the workers with a higher memory limit, or "
            "choose a smaller k."
        )
    identifier = fingerprint(["weights", terms.document(), grid.tile, k, model.dtype])
    stored = layout.WeightPaths.of(identifier)
    with WorkspaceLock(workspace, f"export-{identifier}", told_as_events(on_event)) as lock:

        def checked(event: Event) -> None:
            lock.check()
            on_event(event)

        rows, values = (
            ChunkArray.create(workspace, path, shape=(grid.n, k), chunks=(grid.tile, k), dtype=kind)
            for path, kind in ((stored.rows, "int64"), (stored.values, model.dtype))
        )
        # arrays of the terms by name, so that a damaged one is named
        paths = {"rows": rows.path, "values": values.path, **{path: path for path in terms.paths()}}
        params = ExportParams(terms, k)
        context = StageContext(workspace.url, paths, grid, model.dtype, epoch=lock.epoch, params=params)
        run_graph(export_graph(grid), context, DaskExecutor(client), targets={"rows"}, on_event=checked)
        for j in range(grid.count):
            yield rows.read(j, 0), values.read(j, 0)
        workspace.delete(stored.base)


def _write(
    model: ModelArrays,
    folder: Path,
    columns: Generator[Column],
    options: ExportOptions,
) -> ExportHeader:
    ids, dtype = model.dataset.item_ids(), np.dtype(options.dtype)
    parquet = _ParquetWriter(folder / PARQUET, model.stored.item_ids()) if options.format != "npz" else None
    gathered, entries, start = _Gathered(dtype), 0, 0
    for rows, values in columns:
        stored = values.astype(dtype)
        kept = stored != 0
        entries += int(kept.sum())
        if options.format != "parquet":
            gathered.add(rows, stored, kept)
        if parquet is not None:
            parquet.add(start, rows, stored, kept)
        start += len(rows)
    if parquet is not None:
        parquet.close()
    if options.format != "parquet":
        weights = _in_catalog_order(model, gathered.matrix(model.grid))
        sparse.save_npz(folder / WEIGHTS, weights, compressed=False)
    titles = np.array(model.dataset.titles(), object)
    np.savez(folder / ITEMS, **_packed("ids", ids), **_packed("titles", titles))
    header: ExportHeader = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "package_version": __version__,
        "model": model.name,
        "params": model.params,
        "k": "all" if options.k is None else options.k,
        "n_items": model.grid.n,
        "entries": entries,
        "dtype": dtype.name,
        "certificate": model.certificate,
        "files": file_digests(folder),
    }
    (folder / HEADER).write_bytes(sealed(HEADER, dict(header)) + b"\n")
    return header


class _Gathered:
    """The weights by columns, then as CSR."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._counts: list[Array] = []
        self._rows: list[Array] = []
        self._values: list[Array] = [np.empty(0, dtype)]

    def add(self, rows: Array, values: Array, kept: Array) -> None:
        self._counts.append(kept.sum(axis=1))
        self._rows.append(rows[kept].astype(np.int32))
        self._values.append(values[kept])

    def matrix(self, grid: TileGrid) -> sparse.csr_matrix:
        """CSR (n, n); the parts are given up."""
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(self._counts), dtype=np.int64)])
        rows, values = np.concatenate(self._rows), np.concatenate(self._values)
        self._rows, self._values = [], []
        return sparse.csc_matrix((values, rows, indptr), shape=(grid.n, grid.n)).tocsr()


class _ParquetWriter:
    """Row groups of (item_id, history_item_id, weight), one column tile each."""

    def __init__(self, path: Path, ids: Array) -> None:
        import pyarrow
        import pyarrow.parquet

        self._table = pyarrow.table
        self._ids = ids
        kind = pyarrow.int64() if ids.dtype.kind in "iu" else pyarrow.string()
        self._schema = pyarrow.schema(
            [("item_id", kind), ("history_item_id", kind), ("weight", pyarrow.float64())]
        )
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)

    def add(self, first: int, rows: Array, values: Array, kept: Array) -> None:
        """Weights of the columns from ``first`` on, largest magnitude first."""
        columns = np.repeat(np.arange(first, first + len(rows)), kept.sum(axis=1))
        data = {
            "item_id": self._ids[columns],
            "history_item_id": self._ids[rows[kept]],
            "weight": values[kept].astype(np.float64),
        }
        self._writer.write_table(self._table(data, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _packed(name: str, values: Array) -> dict[str, Any]:
    """Integers as they are, strings as UTF-8 bytes and offsets: nothing that needs unpickling."""
    if values.dtype.kind in "iu":
        return {name: values.astype(np.int64)}
    encoded = [str(value).encode() for value in values]
    offsets = np.concatenate([[0], np.cumsum([len(value) for value in encoded], dtype=np.int64)])
    return {name: np.frombuffer(b"".join(encoded), np.uint8), f"{name}_offsets": offsets}
