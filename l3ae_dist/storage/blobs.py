"""Whole objects under keys: the few operations that tiles, marks and the lock need of a store.

Zarr arrays are described through Zarr; their chunks are moved through this interface, because it can
read straight into a caller's buffer, read a suffix, and write put-if-absent, on local files and on
object storage alike.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from zarr.abc.store import Store

Buffer = bytes | bytearray | memoryview


class Blobs(Protocol):
    """Objects under ``/``-separated keys below one root; every write is atomic."""

    url: str
    concurrency: int
    """Small requests that are worth having on their way at once."""

    def get(self, key: str) -> bytes | None:
        """Return the object, or None when there is none."""

    def get_into(self, key: str, buffer: memoryview) -> int:
        """Read the object into ``buffer``; returns its length, or -1 when there is none.

        At most ``len(buffer)`` bytes are read; a longer object returns ``len(buffer) + 1``.
        """

    def tail(self, key: str, length: int) -> tuple[int, bytes] | None:
        """Return the object's size and its last ``length`` bytes, or None when there is none."""

    def size(self, key: str) -> int | None:
        """Length of the object in bytes, or None when there is none."""

    def modified(self, key: str) -> float | None:
        """Unix time of the object's last write by the store's own clock, or None when there is none."""

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Write the concatenated parts as one object, replacing any."""

    def copy(self, source: str, target: str) -> None:
        """Give the object at ``source`` a second key, without moving its bytes where the store can."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write the object unless there is one; returns whether it was written."""

    def replace_if(self, key: str, old: bytes, new: bytes) -> bool:
        """Compare-and-swap: write ``new`` only while the object equals ``old``.

        Parameters
        ----------
        key
            Of the object.
        old, new
            Bytes that it must have, and those that it then gets.

        Returns
        -------
        True when it was written.
        """

    def delete(self, key: str) -> None:
        """Delete the object if it exists."""

    def delete_prefix(self, prefix: str) -> None:
        """Delete every object whose key starts with ``prefix + '/'``."""

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the keys below ``prefix + '/'``."""

    def zarr_store(self, *, read_only: bool = False) -> "Store":
        """Return the same root as a Zarr store."""
