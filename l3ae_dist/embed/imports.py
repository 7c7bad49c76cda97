"""Embeddings that exist already: .npy, Parquet, Zarr, a pickled or given array, checked row by row."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import fsspec
import numpy as np

from l3ae_dist.data.catalog import ids_of, same_kind
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.pickles import load_restricted
from l3ae_dist.data.readers import describe, expand, is_frame, partitions
from l3ae_dist.errors import DataError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.credentials import refuse_secrets
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 1024
_SHOWN = 5
_KEY = "item_id"


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

    It names the content of an array or a DataFrame, and the path, size and time of files. Costs one pass over
    an array or DataFrame in memory; files are not read.
    """
    if isinstance(source, np.ndarray):
        _check_kind(source)
        identity: object = [source.shape, str(source.dtype), _checksum(source)]
    elif is_frame(source):
        identity = [_describe_part(part) for part in partitions(source, None, "embeddings")]
    elif _is_zarr(source):
        identity = _describe_tree(source)
    else:
        identity = describe(source)
    return fingerprint(["imported", catalog, identity])


def import_embeddings(source: object, dataset: Dataset, identifier: str) -> None:
    """Copy embeddings into the workspace of a dataset, in catalog order, one row chunk at a time.

    Nothing is read when they are there already.

    Parameters
    ----------
    source
        (n, d) array, ``.npy`` file, Zarr array or pickled array in catalog order, or Parquet file(s) or a
        DataFrame with an ``item_id`` column (the first column when there is none of that name) and either
        one list column or numeric columns, in any order. Files may be paths or URLs.
    dataset
        Dataset whose items they embed.
    identifier
        Id of the embeddings, by :func:`import_id`, under which their rows are stored as n x d float32.

    Raises
    ------
    DataError
        For a wrong length, missing or duplicate items, rows with NaN or Inf, or values that are not
        numbers. Nothing is left in the workspace then.

    Notes
    -----
    A table is put into catalog order on local disk: 4 n d bytes of temporary space.
    """
    workspace = dataset.workspace
    if workspace.stage_done(Stage.EMBED, identifier) is not None:
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
            _copy(
                table, ChunkArray.create(workspace, path, shape=(n, d), chunks=(min(_ROWS, n), d), dtype="f4")
            )
        except DataError:
            workspace.delete(path)
            raise
    workspace.mark_stage(Stage.EMBED, identifier, {"imported": True}, {"rows": n, "dim": d})


def _copy(table: RowTable, array: ChunkArray) -> None:
    bad: list[int] = []
    finished = array.done()
    for chunk in range(array.grid[0]):
        rows = array.row_range(chunk)
        with np.errstate(over="ignore"):  # too large for float32 becomes Inf, which is reported
            block = np.asarray(table[rows], dtype=np.float32)
        bad += (rows.start + np.flatnonzero(~np.isfinite(block).all(axis=1))).tolist()
        if not bad and (chunk, 0) not in finished:
            array.write(chunk, 0, block)
    if bad:
        raise DataError(
            f"embedding rows {_some(bad)} hold NaN or infinite values ({len(bad)} of {array.shape[0]}); "
            "mend or drop those items."
        )


def _check_kind(table: RowTable) -> None:
    if table.ndim != 2 or table.dtype.kind not in "fiub" or not table.shape[1]:
        raise DataError(
            f"the embeddings are an array of {table.dtype} of shape {table.shape}; "
            "give a two-dimensional array of numbers, one row for each item."
        )


def _checksum(array: Array) -> str:
    import google_crc32c

    parts = [
        google_crc32c.value(np.ascontiguousarray(array[start : start + _ROWS]).view(np.uint8).reshape(-1))
        for start in range(0, len(array), _ROWS)
    ]
    return fingerprint(parts)


def _describe_part(part: "pd.DataFrame") -> list[object]:
    import pandas as pd

    ids, values = _columns(part)
    return [_checksum(pd.util.hash_array(ids)[:, None]), values.shape, _checksum(values)]


def _is_zarr(source: object) -> bool:
    refuse_secrets(str(source), "embeddings")
    fs, path = fsspec.core.url_to_fs(str(source))
    if not any(mark in path for mark in "*?[") and not fs.exists(path):
        raise DataError(f"no embeddings at {source}; check the path.")
    return any(fs.exists(f"{path.rstrip('/')}/{name}") for name in (layout.GROUP_HEADER, ".zarray"))


def _describe_tree(source: object) -> list[object]:
    """List the names, sizes and times of a folder's files."""
    fs, path = fsspec.core.url_to_fs(str(source))
    return [path] + [
        [name, info.get("size"), str(info.get("ETag") or info.get("mtime") or info.get("LastModified"))]
        for name, info in sorted(fs.find(path, detail=True).items())
    ]


def _open(source: object, dataset: Dataset, scratch: Path) -> RowTable:
    """Open the rows in catalog order."""
    if isinstance(source, np.ndarray):
        return source
    if is_frame(source):
        return _in_catalog_order(partitions(source, None, "embeddings"), dataset, scratch)
    if _is_zarr(source):
        return _open_zarr(str(source))
    files = expand(str(source)) if Path(str(source)).suffix != ".npy" else [str(source)]
    if files[0].endswith(".npy"):
        return _open_npy(files[0], scratch)
    if files[0].endswith(".pkl"):
        return _open_pickle(files[0], scratch)
    if all(Path(name).suffix in (".parquet", ".pq") for name in files):
        return _in_catalog_order(_parquet_parts(files), dataset, scratch)
    raise DataError(
        f"embeddings at {source} are neither .npy, Parquet, Zarr nor .pkl; convert them to one of these."
    )


def _open_zarr(source: str) -> RowTable:
    import zarr

    node = zarr.open(source, mode="r")
    if not isinstance(node, zarr.Array):
        raise DataError(f"{source} is a Zarr group; give the path of the array inside it.")
    return node


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


def _parquet_parts(files: list[str]) -> Iterator["pd.DataFrame"]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in files:
        fs, path = fsspec.core.url_to_fs(name)
        try:
            with fs.open(path, "rb") as file:
                for batch in pq.ParquetFile(file).iter_batches(batch_size=_ROWS):
                    yield batch.to_pandas()
        except pa.ArrowException as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"cannot read the embeddings at {name} ({reason}); check the file.") from error


def _in_catalog_order(parts: Iterator["pd.DataFrame"], dataset: Dataset, scratch: Path) -> Array:
    """Scatter the rows of a table to the places of their items, on disk."""
    import pandas as pd

    catalog = dataset.item_ids()
    lookup = pd.Index(catalog)
    found = np.zeros(dataset.n_items, bool)
    rows: Array | None = None
    for part in parts:
        key, values = _columns(part)
        if rows is None:
            rows = np.memmap(scratch / "rows", np.float32, "w+", shape=(dataset.n_items, values.shape[1]))
        if values.shape[1] != rows.shape[1]:
            raise DataError(
                f"some embeddings have {rows.shape[1]} dimensions and some {values.shape[1]}; "
                "give all rows the same number."
            )
        ids = same_kind(key, catalog)
        place = lookup.get_indexer(ids)
        known = place >= 0
        again = known & (found[place] | pd.Series(place).duplicated().to_numpy())
        if again.any():
            raise DataError(f"the embeddings hold item(s) twice: {_some(ids[again])}; keep one row for each.")
        found[place[known]] = True
        rows[place[known]] = values[known]
    missing = catalog[~found]
    if rows is None or len(missing):
        raise DataError(f"{len(missing)} item(s) have no embedding: {_some(missing)}; add their rows.")
    return np.asarray(rows)


def _columns(part: "pd.DataFrame") -> tuple[Array, Array]:
    """Return the ids and the float32 rows of one piece of a table."""
    if _KEY not in part.columns and part.index.name is not None:
        part = part.reset_index()
    key = _KEY if _KEY in part.columns else part.columns[0]
    rest = [name for name in part.columns if name != key]
    if not rest:
        raise DataError(f"the embedding table has the column {key!r} alone; add the vectors.")
    try:
        with np.errstate(over="ignore"):
            if len(rest) == 1 and part[rest[0]].dtype == object:
                values = np.asarray(np.stack(part[rest[0]].tolist()), np.float32)
            else:
                values = part[rest].to_numpy(dtype=np.float32)
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"the embedding columns are not all numbers, or lists of one length ({reason}); mend the table."
        ) from error
    if values.ndim != 2:
        raise DataError("the embedding column holds no lists of numbers; give one list for each item.")
    return ids_of(part[key], "item id"), values


def _some(values: Sequence[object] | Array) -> str:
    shown = ", ".join(str(value) for value in list(values[:_SHOWN]))
    return shown + (", ..." if len(values) > _SHOWN else "")
