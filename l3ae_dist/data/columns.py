"""Columns of ids and strings as Zarr arrays: integers as they are, strings as offsets and UTF-8 bytes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from l3ae_dist.storage.vectors import Vector, write_vector
from l3ae_dist.storage.workspace import Workspace

__all__ = ["read_column", "write_column", "write_vector"]

Array = npt.NDArray[Any]


def write_column(workspace: Workspace, path: str, values: Array) -> None:
    """Store ids or strings: int64 at ``path``, or ``path/offsets`` and ``path/bytes``."""
    if values.dtype.kind in "iu":
        write_vector(workspace, path, values.astype(np.int64))
        return
    encoded = [str(value).encode() for value in values]
    offsets = np.concatenate([[0], np.cumsum([len(value) for value in encoded], dtype=np.int64)])
    write_vector(workspace, f"{path}/offsets", offsets.astype(np.int64))
    write_vector(workspace, f"{path}/bytes", np.frombuffer(b"".join(encoded), np.uint8))


def read_column(workspace: Workspace, path: str, start: int = 0, stop: int | None = None) -> Array:
    """Rows ``start`` to ``stop`` of a column: int64, or an object array of ``str``."""
    if not workspace.has(f"{path}/offsets"):
        return Vector(workspace, path)[start:stop]
    offsets = Vector(workspace, f"{path}/offsets")
    last = offsets.shape[0] - 1 if stop is None else stop
    bounds = offsets[start : last + 1]
    if len(bounds) < 2:
        return np.empty(0, object)
    data = Vector(workspace, f"{path}/bytes")[int(bounds[0]) : int(bounds[-1])].tobytes()
    cuts = bounds - bounds[0]
    out = np.empty(len(cuts) - 1, object)
    for i in range(len(out)):
        out[i] = data[cuts[i] : cuts[i + 1]].decode()
    return out
