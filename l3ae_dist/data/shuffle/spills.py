"""Arrays and ids that one pass writes and a later one reads, as objects below a path or URL."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from l3ae_dist.errors import WorkspaceError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage.blobs import Blobs
from l3ae_dist.storage.open_blobs import open_blobs

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Spills:
    """Objects of the passes below a root; it is pickled as the root's URL.

    Parameters
    ----------
    url
        Path or URL of the root.
    """

    url: str

    @property
    def blobs(self) -> Blobs:
        """The store behind the URL, opened once in each process."""
        return _opened(self.url)

    def put(self, key: str, values: Array) -> None:
        """Write a one-dimensional array."""
        self.blobs.put(key, [np.ascontiguousarray(values).data])

    def get(self, key: str, dtype: npt.DTypeLike, start: int = 0, stop: int | None = None) -> Array:
        """Read the entries ``start`` to ``stop`` of an array.

        Parameters
        ----------
        key
            Of the array.
        dtype
            Of its entries.
        start, stop
            Range; to the end when ``stop`` is None.

        Raises
        ------
        WorkspaceError
            When the array is gone: a task that runs once more after its pass is over, since its worker
            died, must not take it for empty and replace what it wrote.
        """
        if stop is None:
            length = self.blobs.size(key)
            if length is None:
                raise self._missing(key, "is gone")
            stop = length // np.dtype(dtype).itemsize
        out: Array = np.empty(max(0, stop - start), dtype)
        self.get_into(key, out, start)
        return out

    def get_into(self, key: str, out: Array, start: int = 0) -> None:
        """Read as many entries as ``out`` has, from entry ``start`` of an array on.

        Parameters
        ----------
        key
            Of the array.
        out
            Contiguous; receives the entries.
        start
            The first entry.
        """
        if not len(out):
            return
        count = self.blobs.range_into(key, start * out.itemsize, out.data.cast("B"))
        if count != out.nbytes:
            raise self._missing(key, "is gone" if count < 0 else "is shorter than what was written")

    def put_ids(self, key: str, values: "pa.Array") -> None:
        """Write ids, integers or strings."""
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        batch = pa.record_batch([values], names=["ids"])
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        self.blobs.put(key, [memoryview(sink.getvalue())])

    def get_ids(self, key: str) -> "pa.Array":
        """Read ids."""
        import pyarrow as pa

        data = self.blobs.get(key)
        if data is None:
            raise self._missing(key, "is gone")
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            return reader.read_next_batch().column(0)

    def delete(self, key: str) -> None:
        """Delete an object."""
        self.blobs.delete(key)

    def _missing(self, key: str, problem: str) -> WorkspaceError:
        return WorkspaceError(
            f"{key} below {self.url} {problem}, though the ingest still needs it; see that nothing else "
            "clears this folder, then run again."
        )


@lru_cache(maxsize=4)
def _opened(url: str) -> Blobs:
    return open_blobs(url)
