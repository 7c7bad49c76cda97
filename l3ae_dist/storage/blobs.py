"""Whole objects under keys: the few operations that tiles, marks and the lock need of a store.

Zarr arrays are described through Zarr; their chunks are moved through this interface, because it can
read straight into a caller's buffer, read a suffix, and write put-if-absent, on local files and on
object storage alike.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from l3ae_dist.errors import WorkspaceError
from l3ae_dist.messages import shown

if TYPE_CHECKING:
    from zarr.abc.store import Store

Buffer = bytes | bytearray | memoryview
R = TypeVar("R")
_ODD_PARTS = {"", ".", ".."}


def inside(key: str, url: str) -> str:
    """Return a key that stays below the root of a store, and refuse any other.

    Keys come from documents too, and those of a workspace from somewhere else may name anything.

    Raises
    ------
    WorkspaceError
        For a key that is empty, absolute, or has a part ``..``, ``.`` or none, a backslash or a NUL.
    """
    parts = key.split("/")
    if not _ODD_PARTS.isdisjoint(parts) or "\\" in key or "\0" in key:
        raise WorkspaceError(
            f"{url} names {shown(key)}, which is no place within a workspace; it was not made by this "
            "package, or was changed: use it no further."
        )
    return key


class Blobs(Protocol):
    """Objects under ``/``-separated keys below one root; every write is atomic."""

    url: str
    concurrency: int
    """Small requests that are worth having on their way at once."""
    remote: bool
    """True where bytes come over a network, so that what looks damaged is read once more."""
    durable: bool
    """True where writes are flushed to the disk at once; an object store needs no such thing."""

    def get(self, key: str) -> bytes | None:
        """Return the object, or None when there is none."""

    def get_into(self, key: str, buffer: memoryview) -> int:
        """Read the object into ``buffer``; returns its length, or -1 when there is none.

        At most ``len(buffer)`` bytes are read; a longer object returns ``len(buffer) + 1``.
        """

    def range_into(self, key: str, start: int, buffer: memoryview) -> int:
        """Read a range of the object that is as long as ``buffer``.

        Parameters
        ----------
        key
            Of the object.
        start
            First byte of the range.
        buffer
            Receives the bytes.

        Returns
        -------
        The bytes that were there; -1 when there is no object.
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

    def abandoned(self) -> dict[str, int]:
        """Return the bytes of unfinished files whose writers are gone, by key; they are not listed."""

    def zarr_store(self, *, read_only: bool = False) -> "Store":
        """Return the same root as a Zarr store."""


def read_again(blobs: Blobs, read: Callable[[], R], wrong: type[Exception]) -> R:
    """Read, and once more where what came over a network looks damaged.

    Parameters
    ----------
    blobs
        Where ``read`` reads.
    read
        Returns what it reads.
    wrong
        What it raises for damage.
    """
    try:
        return read()
    except wrong:
        if not blobs.remote:
            raise
        return read()
