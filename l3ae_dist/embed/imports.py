"""Embeddings that exist already: arrays, .npy, Zarr, pickled arrays and tables, checked row by row."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

import fsspec
import numpy as np

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.catalog import NO_ITEMS
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.intake.files import first_line, shortened
from l3ae_dist.data.intake.identity import content_hash, identity
from l3ae_dist.data.intake.open_table import open_table, paths_of
from l3ae_dist.data.intake.stamps import stamp_of
from l3ae_dist.data.pickles import load_restricted
from l3ae_dist.embed.embedding_table import columns_of_table, rows_in_catalog_order
from l3ae_dist.embed.value_range import TOO_SMALL, ValueRange, out_of_range
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.array_files import read_header
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.messages import listed, shown
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.credentials import refuse_secrets
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage

_ROWS = 1024
_WHAT = "embeddings"


class RowTable(Protocol):
    """Rows that can be sliced, on disk or in memory: an array of NumPy or of Zarr."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of rows and of columns."""

    @property
    def ndim(self) -> int:
        """Number of dimensions."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the values."""

    def __getitem__(self, rows: slice) -> object: ...


def import_id(source: object, catalog: str) -> str:
    """Return the id of embeddings that are imported for a catalog.

    It names the content of an array or a table in memory, and the path, size and time of files. Costs one
    pass over what is in memory; files are not read.
    """
    array = _array_of(source)
    if array is not None:
        _check_kind(array)
        named: object = [array.shape, str(array.dtype), _checksum(array)]
    elif paths_of(source) is None:
        named = content_hash(open_table(source, _WHAT))
    elif _is_zarr(name := _single_path(source)):
        named = _describe_tree(name)
    else:
        named = identity(source, _WHAT)
    return fingerprint(["imported", catalog, named])


def import_embeddings(source: object, dataset: Dataset, identifier: str) -> None:
    """Copy embeddings into the workspace of a dataset, in catalog order, one row chunk at a time.

    Nothing is read when they are there already.

    Parameters
    ----------
    source
        (n, d) array, ``.npy`` file, Zarr array or pickled array in catalog order; or a table, in files or in
        memory, with an ``item_id`` column (the first column when there is none of that name) and either one
        column of lists or columns of numbers, in any order. Files may be paths or URLs.
    dataset
        Dataset whose items they embed.
    identifier
        Id of the embeddings, by :func:`import_id`, under which their rows are stored as n x d float32.

    Raises
    ------
    DataError
        For a wrong length, missing or duplicate items, rows with NaN or Inf or too small for float32, or
        values that are not numbers. Nothing is left in the workspace then.

    Notes
    -----
    A table is put into catalog order on local disk: 4 n d bytes of temporary space.
    """
    workspace = dataset.workspace
    if workspace.stage_held(Stage.EMBED, identifier) is not None:
        return
    with workspace.scratch_dir() as scratch:
        table = _open(source, dataset, scratch)
        _check_kind(table)
        n, d = table.shape
        if n != dataset.n_items:
            raise DataError(
                f"the embeddings have {n} rows and the catalog has {dataset.n_items} items; "
                "give one row for each item, in catalog order."
            )
        path = layout.embeddings(identifier)
        try:
            array = ChunkArray.create(workspace, path, shape=(n, d), chunks=(min(_ROWS, n), d), dtype="f4")
            values = _copy(table, array)
        except DataError:
            workspace.delete(path)
            raise
    workspace.mark_stage(
        Stage.EMBED, identifier, {"imported": True}, {"rows": n, "dim": d, **values.record()}
    )


def dimensions_of(source: object, options: IngestConfig) -> int | None:
    """Return the columns of embeddings that exist already, from the first rows of their file or its header.

    Parameters
    ----------
    source
        As :func:`import_embeddings` takes it.
    options
        Names of the columns of a table.

    Returns
    -------
    None for a pickled array, which nothing but reading it tells of.

    Raises
    ------
    DataError
        As :func:`import_embeddings`, as far as a header tells.
    """
    array = _array_of(source)
    name = _single_path(source) if array is None else ""
    if _is_zarr(name):
        array = _open_zarr(name)
    elif name.endswith(".pkl"):
        return None
    elif name.endswith(".npy"):
        return _npy_columns(name)
    if array is None:
        return columns_of_table(open_table(source, _WHAT), options)
    _check_kind(array)
    return int(array.shape[1])


def _npy_columns(name: str) -> int:
    try:
        with fsspec.open(name, "rb") as file:
            shape, dtype = read_header(file)
    except (ValueError, EOFError) as error:
        raise DataError(f"{name} is not a plain .npy array of numbers; save it with numpy.save.") from error
    except OSError as error:
        raise DataError(f"no embeddings can be read at {name} ({error}); check the path.") from error
    _check_shape(shape, dtype)
    return shape[1]


def _copy(table: RowTable, array: ChunkArray) -> ValueRange:
    """Copy all rows that float32 holds; raises :class:`DataError` where there are others."""
    bad: list[int] = []
    small: list[int] = []
    finished, values = array.done(), ValueRange()
    for chunk in range(array.grid[0]):
        rows = array.row_range(chunk)
        block = np.asarray(table[rows])
        for places, found in zip((bad, small), out_of_range(block), strict=True):
            places += (rows.start + np.flatnonzero(found)).tolist()
        values.add(block)
        if not bad and not small and (chunk, 0) not in finished:
            array.write(chunk, 0, block.astype(np.float32))
    if bad:
        raise DataError(
            f"embedding rows {listed(bad, 5)} hold NaN or infinite values ({len(bad)} of {array.shape[0]}; "
            "float32 ends at 3.4e38); mend or drop those items."
        )
    if small:
        raise DataError(
            f"embedding rows {listed(small, 5)} are {TOO_SMALL} ({len(small)} of {array.shape[0]}); scale "
            "all embeddings by one factor."
        )
    return values


def _check_kind(table: RowTable) -> None:
    _check_shape(table.shape, table.dtype)


def _check_shape(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
    if len(shape) != 2 or dtype.kind not in "fiub" or not shape[1]:
        raise DataError(
            f"the embeddings are an array of {shown(str(dtype))[1:-1]} of shape {shown(shape)}; "
            "give a two-dimensional array of numbers, one row for each item."
        )


def _array_of(source: object) -> Array | None:
    """Return an array, a tensor or a list of rows as an array; None for tables and paths."""
    if isinstance(source, np.ndarray):
        return source
    rows = isinstance(source, list | tuple) and not all(isinstance(one, str | os.PathLike) for one in source)
    is_table = hasattr(source, "columns") or hasattr(source, "column_names")
    if not rows and (is_table or not hasattr(source, "__array__") or not hasattr(source, "shape")):
        return None
    try:
        return np.asarray(source)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"the embeddings are no array of numbers ({error}); give a row for each item, all of one length."
        ) from error


def _checksum(array: Array) -> str:
    import google_crc32c

    parts = [
        google_crc32c.value(np.ascontiguousarray(array[start : start + _ROWS]).view(np.uint8).reshape(-1))
        for start in range(0, len(array), _ROWS)
    ]
    return fingerprint(parts)


def _single_path(source: object) -> str:
    """Return the one path or URL that a source is; empty for several, and for objects in memory."""
    paths = paths_of(source) or []
    return os.fspath(paths[0]) if len(paths) == 1 else ""


def _is_zarr(name: str) -> bool:
    if not name:
        return False
    refuse_secrets(name, _WHAT)
    fs, path = fsspec.core.url_to_fs(name)
    if not any(mark in path for mark in "*?[") and not fs.exists(path):
        raise DataError(f"no embeddings at {name}; check the path.")
    return any(fs.exists(f"{path.rstrip('/')}/{inside}") for inside in (layout.GROUP_HEADER, ".zarray"))


def _describe_tree(source: str) -> list[object]:
    """List the names, sizes and times of a folder's files."""
    fs, path = fsspec.core.url_to_fs(source)
    return [path] + [
        [name, info.get("size"), stamp_of(info)] for name, info in sorted(fs.find(path, detail=True).items())
    ]


def _open(source: object, dataset: Dataset, scratch: Path) -> RowTable:
    """Open the rows in catalog order."""
    array = _array_of(source)
    name = _single_path(source) if array is None else ""
    if _is_zarr(name):
        array = _open_zarr(name)
    elif name.endswith(".npy"):
        array = _open_npy(name, scratch)
    elif name.endswith(".pkl"):
        array = _open_pickle(name, scratch)
    if array is None:
        return rows_in_catalog_order(open_table(source, _WHAT), dataset, scratch)
    _refuse_unknown_order(dataset)
    return array


def _refuse_unknown_order(dataset: Dataset) -> None:
    """Raise :class:`DataError` for rows without ids where no table of items gives them an order."""
    ids, of_log = dataset.item_ids(), dataset.stats.no_text == NO_ITEMS
    if of_log and (ids.dtype == object or (ids != np.arange(len(ids))).any()):
        raise DataError(
            "the embeddings are rows without item ids, and no items table gives the order of the items; give "
            "items (data.items), or embeddings as a table with an item_id column."
        )


def _open_zarr(source: str) -> Array:
    import zarr

    try:
        node = zarr.open(source, mode="r")
    except Exception as error:  # of any codec or store
        raise DataError(
            f"the Zarr array {shortened(source)} cannot be opened ({first_line(error)}); save the embeddings "
            "as an array of numbers with a compressor of Zarr's own, or as .npy."
        ) from error
    if not isinstance(node, zarr.Array):
        raise DataError(f"{source} is a Zarr group; give the path of the array inside it.")
    if _holds_pickles(node.metadata.to_dict()):
        raise DataError(
            f"the chunks of {shortened(source)} are pickles, which may run code and are not read; save the "
            "embeddings as an array of numbers."
        )
    return cast(Array, node)  # it is sliced as one


def _holds_pickles(metadata: Mapping[str, object]) -> bool:
    return any("pickle" in str(metadata.get(part)) for part in ("filters", "compressor", "codecs"))


def _local(name: str, scratch: Path) -> str:
    """Return a local file with the content of ``name``."""
    fs, path = fsspec.core.url_to_fs(name)
    if "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)):
        return str(path)
    fs.get_file(path, str(scratch / "embeddings"))
    return str(scratch / "embeddings")


def _open_pickle(name: str, scratch: Path) -> Array:
    """Read an array as the published code saves it, through the restricted unpickler."""
    found = load_restricted(Path(_local(name, scratch)))
    if not isinstance(found, np.ndarray):
        raise DataError(f"{name} holds a {type(found).__name__} and not an array of embeddings.")
    return found


def _open_npy(name: str, scratch: Path) -> Array:
    path = _local(name, scratch)
    try:
        rows: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{name} is not a plain .npy array of numbers; save it with numpy.save.") from error
    return rows
