"""An object store for Zarr that reads and writes through the package's own requests, with their patience."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype

if TYPE_CHECKING:
    from l3ae_dist.storage.blobs import Blobs


class BlobStore(Store):
    """The objects of a root as a Zarr store.

    Parameters
    ----------
    blobs
        The root.
    read_only
        Whether writes are refused.
    """

    supports_writes = True
    supports_deletes = True
    supports_listing = True

    def __init__(self, blobs: "Blobs", *, read_only: bool = False) -> None:
        super().__init__(read_only=read_only)
        self.blobs = blobs

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BlobStore)
            and self.blobs.url == other.blobs.url
            and self.read_only == other.read_only
        )

    __hash__ = object.__hash__

    def __str__(self) -> str:
        return self.blobs.url

    def with_read_only(self, read_only: bool = False) -> "BlobStore":
        """Return a store of the same objects."""
        return BlobStore(self.blobs, read_only=read_only)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read an object or a range of it.

        Parameters
        ----------
        key, prototype, byte_range
            As Zarr gives them.
        """
        data = await asyncio.to_thread(self._read, key, byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    def _read(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        if byte_range is None:
            return self.blobs.get(key)
        if isinstance(byte_range, RangeByteRequest):
            buffer = bytearray(byte_range.end - byte_range.start)
            count = self.blobs.range_into(key, byte_range.start, memoryview(buffer))
            return None if count < 0 else bytes(buffer[:count])
        if isinstance(byte_range, OffsetByteRequest):
            whole = self.blobs.get(key)
            return None if whole is None else whole[byte_range.offset :]
        tail = self.blobs.tail(key, byte_range.suffix)
        return None if tail is None else tail[1]

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read ranges of several objects."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Tell whether there is an object."""
        return await asyncio.to_thread(self.blobs.size, key) is not None

    async def getsize(self, key: str) -> int:
        """Return the length of an object."""
        size = await asyncio.to_thread(self.blobs.size, key)
        if size is None:
            raise FileNotFoundError(key)
        return size

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object."""
        self._check_writable()
        await asyncio.to_thread(self.blobs.put, key, [value.to_bytes()])

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write an object unless there is one."""
        self._check_writable()
        await asyncio.to_thread(self.blobs.put_if_absent, key, value.to_bytes())

    async def delete(self, key: str) -> None:
        """Delete an object if it exists."""
        self._check_writable()
        await asyncio.to_thread(self.blobs.delete, key)

    async def delete_dir(self, prefix: str) -> None:
        """Delete what lies below a prefix."""
        self._check_writable()
        await asyncio.to_thread(self.blobs.delete_prefix, prefix.rstrip("/"))

    async def list(self) -> AsyncIterator[str]:
        """Yield every key."""
        for key in await self._keys(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys that begin so."""
        for key in await self._keys(prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names right below a prefix."""
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        names = {key.removeprefix(folder).split("/", 1)[0] for key in await self._keys(prefix)}
        for name in sorted(names):
            yield name

    async def _keys(self, prefix: str) -> "Iterable[str]":
        return await asyncio.to_thread(lambda: [*self.blobs.list(prefix.rstrip("/"))])
