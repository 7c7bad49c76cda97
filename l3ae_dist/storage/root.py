"""The Zarr v3 group at a path or URL in which a workspace keeps its arrays."""

from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy.typing as npt
import zarr
from zarr.codecs import Crc32cCodec
from zarr.errors import ContainsArrayError, GroupNotFoundError

from l3ae_dist.errors import StageMissingError, WorkspaceError, WorkspaceVersionError
from l3ae_dist.storage import layout
from l3ae_dist.storage.blobs import Blobs
from l3ae_dist.storage.open_blobs import open_blobs

FORMAT_VERSION = 3
_FORMAT_KEY = "l3ae_dist_format"


class WorkspaceRoot:
    """The Zarr group of a workspace: opened, its format checked, and its arrays by path.

    Parameters
    ----------
    blobs
        The store. Use :meth:`open` or :meth:`create`.
    """

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self.url = blobs.url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self).open, (self.url,))

    @classmethod
    def create(cls, url: str | Path, *, durable: bool = False) -> Self:
        """Open the workspace at ``url``, and make it where there is none.

        Parameters
        ----------
        url
            Path or URL (``s3://bucket/path``).
        durable
            Whether every write is flushed to the disk before it counts.

        Raises
        ------
        WorkspaceError
            When the path cannot be written or holds something else.
        WorkspaceVersionError
            When another version of the format wrote it.
        ConfigError
            For an unknown scheme, or a URL that carries credentials.
        """
        blobs = open_blobs(url, durable=durable)
        if blobs.get(layout.GROUP_HEADER) is None:
            if any(True for _ in blobs.list("")):
                raise WorkspaceError(
                    f"{blobs.url} is not empty and not a workspace; choose a new or empty location."
                )
            try:
                root = zarr.create_group(blobs.zarr_store(), attributes={_FORMAT_KEY: FORMAT_VERSION})
                # bookkeeping lives beside an empty *array*: a leaf, so Zarr's own listings stay quiet
                root.create_array(layout.META, shape=(0,), chunks=(1,), dtype="uint8")
            except OSError as error:
                raise WorkspaceError(
                    f"cannot create a workspace at {blobs.url} ({error.strerror or error}); "
                    "choose a location that this user can write."
                ) from error
        return cls(blobs)._checked()

    @classmethod
    def open(cls, url: str | Path, *, durable: bool = False) -> Self:
        """Open the workspace that exists at ``url``.

        Parameters
        ----------
        url
            Path or URL (``s3://bucket/path``).
        durable
            Whether every write is flushed to the disk before it counts.

        Raises
        ------
        WorkspaceError
            When there is none.
        WorkspaceVersionError
            When another version of the format wrote it.
        ConfigError
            For an unknown scheme, or a URL that carries credentials.
        """
        blobs = open_blobs(url, durable=durable)
        if blobs.get(layout.GROUP_HEADER) is None:
            raise WorkspaceError(f"no workspace at {blobs.url}; create one with `l3ae-dist run`.")
        return cls(blobs)._checked()

    def _checked(self) -> Self:
        try:
            version = self.group.attrs.get(_FORMAT_KEY)
        except (ValueError, GroupNotFoundError, ContainsArrayError) as error:
            raise WorkspaceError(f"{self.url} is not a workspace; choose another location.") from error
        if version is None:
            raise WorkspaceError(f"{self.url} is a Zarr group but not a workspace; choose another location.")
        if version != FORMAT_VERSION:
            raise WorkspaceVersionError(
                f"{self.url} has workspace format {version}, this version reads {FORMAT_VERSION}; "
                "use the version that wrote it, or a new location."
            )
        return self

    @cached_property
    def group(self) -> zarr.Group:
        """The root group, writable."""
        return zarr.open_group(self.blobs.zarr_store(), mode="r+")

    # ---- arrays

    def create_array(
        self, path: str, *, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: npt.DTypeLike
    ) -> zarr.Array[Any]:
        """Create a Zarr array with checksummed chunks, replacing what is at ``path``.

        Parameters
        ----------
        path
            Of the array.
        shape, chunks
            Of the array and of a chunk; one or two dimensions.
        dtype
            Of its entries.
        """
        return self.group.create_array(
            path,
            shape=shape,
            chunks=tuple(max(1, size) for size in chunks),
            dtype=dtype,
            compressors=[Crc32cCodec()],
            filters=None,
            fill_value=0,
            overwrite=True,
            config={"write_empty_chunks": True},
        )

    def array(self, path: str) -> zarr.Array[Any]:
        """Open an array through Zarr, to which a missing chunk is zeros; the package reads checked chunks.

        Raises :class:`StageMissingError` when there is none.
        """
        node = self.group.get(path)
        if not isinstance(node, zarr.Array):
            raise StageMissingError(f"{self.url} holds no array {path!r}; run the stage that makes it.")
        return node

    def has(self, path: str) -> bool:
        """Tell whether a group or array exists at ``path``."""
        return self.blobs.get(layout.header(path)) is not None

    def delete(self, path: str) -> None:
        """Delete the subtree at ``path``, its done-marks first."""
        self.blobs.delete_prefix(layout.done_marks(path))
        self.blobs.delete_prefix(layout.damage_notes(path))
        self.blobs.delete_prefix(path)
