"""The Zarr v3 group at a path or URL in which a workspace keeps its arrays."""

from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy.typing as npt

from l3ae_dist.errors import DamagedDocumentError, StageMissingError, WorkspaceError
from l3ae_dist.messages import shown
from l3ae_dist.storage import layout
from l3ae_dist.storage.blobs import Blobs, read_again
from l3ae_dist.storage.documents import DocumentProblem, opened_header, sealed_header, unsealed
from l3ae_dist.storage.done_marks import DoneMarks
from l3ae_dist.storage.forked import in_children
from l3ae_dist.storage.headers import (
    FIRST_WITH_DIGESTS,
    FORMAT_VERSION,
    array_header,
    group_header,
    make_root,
    read_format,
    refuse_lost_bookkeeping,
    sizes_of,
)
from l3ae_dist.storage.lock import free_for_writing
from l3ae_dist.storage.open_blobs import open_blobs
from l3ae_dist.storage.records import JsonObject

if TYPE_CHECKING:
    import zarr


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
        self._done_marks: dict[str, DoneMarks] = {}
        self.format = FORMAT_VERSION
        in_children(self._renew)

    def _renew(self) -> None:
        vars(self).pop("group", None)  # what it reads through is the parent's
        self._done_marks = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (partial(type(self).open, durable=self.blobs.durable), (self.url,))

    @classmethod
    def create(cls, url: str | Path, *, durable: bool = False, version: int = FORMAT_VERSION) -> Self:
        """Open the workspace at ``url``, and make it where there is none; a lost header is written again.

        Parameters
        ----------
        url
            Path or URL (``s3://bucket/path``).
        durable
            Whether every write is flushed to the disk before it counts.
        version
            Number of the format of a new workspace; a copy keeps that of its source.

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
        try:
            make_root(blobs, version)
        except WorkspaceError as error:
            if error.__cause__ is None:  # said in its own words
                raise
            raise WorkspaceError(
                f"cannot create a workspace at {blobs.url} ({error}); "
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
        DamagedDocumentError
            When a header that every workspace has is damaged or lost.
        ConfigError
            For an unknown scheme, or a URL that carries credentials.
        """
        opened = cls(open_blobs(url, durable=durable))._checked()
        refuse_lost_bookkeeping(opened.blobs, opened.format)
        return opened

    def _checked(self) -> Self:
        self.format = read_format(self.blobs)
        return self

    @property
    def has_digests(self) -> bool:
        """True when every document of the workspace carries a digest."""
        return self.format >= FIRST_WITH_DIGESTS

    @cached_property
    def group(self) -> "zarr.Group":
        """The root group, writable."""
        import zarr

        return zarr.open_group(self.blobs.zarr_store(), mode="r+")

    # ---- headers of groups and arrays

    def read_header(self, path: str) -> JsonObject | None:
        """Read Zarr's header of the group or array at ``path``; None when there is none.

        Raises
        ------
        DamagedDocumentError
            When it is no JSON object, or does not fit its digest.
        """

        def read() -> JsonObject | None:
            data = self.blobs.get(layout.header(path))
            return None if data is None else opened_header(path, data, required=self.has_digests)

        try:
            return read_again(self.blobs, read, DocumentProblem)
        except DocumentProblem as error:
            raise self.damaged_document(layout.header(path), str(error)) from error

    def write_header(self, path: str, header: JsonObject, *, replace: bool = False) -> None:
        """Write the header of a group or an array, unless there is one.

        Parameters
        ----------
        path
            Of the group or array.
        header
            Of :mod:`l3ae_dist.storage.headers`.
        replace
            Whether one that is there gives way.
        """
        free_for_writing(self)
        data = sealed_header(path, header) if self.has_digests else unsealed(header)
        if replace:
            self.blobs.put(layout.header(path), [data])
        else:
            self.blobs.put_if_absent(layout.header(path), data)

    def write_groups(self, path: str) -> None:
        """Write the headers of the groups that an array lies in, where there are none."""
        for group in layout.groups_above(path):
            if self.blobs.size(layout.header(group)) is None:
                self.write_header(group, group_header())

    def damaged_document(self, path: str, problem: str) -> DamagedDocumentError:
        """Return the error for a document of this workspace; ``problem`` is the end of a sentence."""
        remedy = layout.document_remedy(path)
        return DamagedDocumentError(f"{path} of {self.url} {problem}; {remedy}.", path=path)

    # ---- arrays

    def create_array(
        self, path: str, *, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: npt.DTypeLike
    ) -> None:
        """Describe a Zarr array with checksummed chunks, and the groups above it; what is there stays.

        Parameters
        ----------
        path
            Of the array.
        shape, chunks
            Of the array and of a chunk; one or two dimensions.
        dtype
            Of its entries.
        """
        self.write_groups(path)
        self.write_header(path, array_header(shape, chunks, dtype))

    def array_sizes(self, path: str) -> tuple[list[int], list[int], str]:
        """Return shape, chunks and dtype of an array, one or two numbers each.

        Raises
        ------
        StageMissingError
            When there is none.
        DamagedDocumentError
            When its header is damaged.
        """
        header = self.read_header(path)
        if header is None or header.get("node_type") == "group":
            raise StageMissingError(f"{self.url} holds no array {shown(path)}; run the stage that makes it.")
        try:
            return sizes_of(header)
        except DocumentProblem as error:
            raise self.damaged_document(layout.header(path), str(error)) from error

    def array(self, path: str) -> "zarr.Array[Any]":
        """Open an array through Zarr, to which a missing chunk is zeros; the package reads checked chunks.

        Raises :class:`StageMissingError` when there is none.
        """
        self.array_sizes(path)
        return cast("zarr.Array[Any]", self.group[path])

    def has(self, path: str) -> bool:
        """Tell whether a group or array exists at ``path``."""
        return self.blobs.get(layout.header(path)) is not None

    def done_marks(self, path: str, grid: tuple[int, int]) -> DoneMarks:
        """Return the done-marks of an array, which all readers of this workspace share."""
        known = self._done_marks.get(path)
        if known is None or known.grid != grid:
            known = self._done_marks[path] = DoneMarks(self.blobs, path, grid, old_names=not self.has_digests)
        return known

    def delete(self, path: str) -> None:
        """Delete the subtree at ``path``, its done-marks first."""
        free_for_writing(self)
        self._forget_marks(path)
        self.blobs.delete_prefix(layout.done_marks(path))
        self.blobs.delete_prefix(layout.damage_notes(path))
        self.blobs.delete_prefix(path)
        self._forget_marks(path)

    def _forget_marks(self, path: str) -> None:
        for known in list(self._done_marks):
            if f"{known}/".startswith(f"{path}/"):
                self._done_marks.pop(known, None)
