"""Columns of ids and strings as Zarr arrays: integers as they are, strings as offsets and UTF-8 bytes."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.vectors import Vector, write_vector
from l3ae_dist.storage.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa


def write_column(workspace: Workspace, path: str, values: "Array | pa.Array") -> None:
    """Store ids or strings: int64 at ``path``, or ``path/offsets`` and ``path/bytes``.

    Parameters
    ----------
    workspace
        Where to.
    path
        Of the column.
    values
        (rows,) integers, or objects of ``str``; or either as an Arrow array.
    """
    import pyarrow as pa

    if isinstance(values, np.ndarray):
        values = pa.array(values, pa.int64() if values.dtype.kind in "iu" else pa.large_string())
    if pa.types.is_integer(values.type):
        write_vector(workspace, path, values.to_numpy())
        return
    values = values.cast(pa.large_string())
    _, bounds, data = values.buffers()
    offsets = np.frombuffer(bounds or b"", np.int64)[values.offset : values.offset + len(values) + 1]
    if not len(offsets):
        offsets = np.zeros(1, np.int64)
    text = np.frombuffer(data or b"", np.uint8)[int(offsets[0]) : int(offsets[-1])]
    paths = layout.StringColumnPaths(path)
    write_vector(workspace, paths.offsets, offsets - offsets[0])
    write_vector(workspace, paths.bytes, text)


def read_column(workspace: Workspace, path: str, start: int = 0, stop: int | None = None) -> Array:
    """Read the rows ``start`` to ``stop`` of a column: int64, or an object array of ``str``.

    Parameters
    ----------
    workspace
        Where from.
    path
        Of the column.
    start, stop
        Range of rows; to the end when ``stop`` is None.
    """
    paths = layout.StringColumnPaths(path)
    if not workspace.has(paths.offsets):
        return Vector(workspace, path)[start:stop]
    offsets = Vector(workspace, paths.offsets)
    last = offsets.shape[0] - 1 if stop is None else stop
    bounds = offsets[start : last + 1]
    if len(bounds) < 2:
        return np.empty(0, object)
    data = Vector(workspace, paths.bytes)[int(bounds[0]) : int(bounds[-1])].tobytes()
    cuts = bounds - bounds[0]
    out = np.empty(len(cuts) - 1, object)
    for i in range(len(out)):
        out[i] = data[cuts[i] : cuts[i + 1]].decode()
    return out


class ColumnReader:
    """A column whose rows are looked up one by one: its bytes are read once, its strings made on request."""

    def __init__(self, workspace: Workspace, path: str) -> None:
        self._workspace = workspace
        self._path = path

    @cached_property
    def _stored(self) -> tuple[Array, bytes | None]:
        paths = layout.StringColumnPaths(self._path)
        if not self._workspace.has(paths.offsets):
            return Vector(self._workspace, self._path)[:], None
        offsets = Vector(self._workspace, paths.offsets)[:]
        return offsets, Vector(self._workspace, paths.bytes)[:].tobytes()

    def take(self, rows: Array) -> Array:
        """Return values of rows: int64, or an object array of ``str`` in which equal rows share a string."""
        stored, data = self._stored
        if data is None:
            return np.asarray(stored[rows])
        unique, position = np.unique(rows, return_inverse=True)
        bounds = zip(stored[unique].tolist(), stored[unique + 1].tolist(), strict=True)
        out = np.empty(len(unique), object)
        out[:] = [data[start:stop].decode() for start, stop in bounds]
        return out[position]
