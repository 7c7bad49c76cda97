"""Zarr's headers of a workspace: of its arrays and groups, and of the root, which tells the format."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from l3ae_dist.errors import DamagedDocumentError, WorkspaceError, WorkspaceVersionError
from l3ae_dist.messages import shown
from l3ae_dist.storage import layout
from l3ae_dist.storage.blobs import Blobs, read_again
from l3ae_dist.storage.documents import (
    HEADER_DIGEST,
    DocumentProblem,
    digest_of,
    opened_header,
    parsed,
    sealed_header,
    unsealed,
)
from l3ae_dist.storage.records import JsonObject
from l3ae_dist.storage.remains import holds_remains

FORMAT_VERSION = 4
# Documents of a workspace of format 3 carry no digest; it stays in its format.
FIRST_WITH_DIGESTS = 4
READABLE = (3, 4)
HEADER_IN_MARK = "header"
"""Name under which a done-mark holds the header of its array, for one that gets lost or damaged."""
_FORMAT_KEY = "l3ae_dist_format"


def array_header(shape: Sequence[int], chunks: Sequence[int], dtype: npt.DTypeLike) -> JsonObject:
    """Describe an array of chunks that are little-endian rows and their CRC32C, as Zarr v3 does.

    Parameters
    ----------
    shape, chunks
        Of the array and of a chunk; one or two dimensions.
    dtype
        Of its entries.
    """
    kind = np.dtype(dtype)
    endian = {} if kind.itemsize == 1 else {"configuration": {"endian": "little"}}
    return {
        "shape": [int(size) for size in shape],
        "data_type": kind.name,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [max(1, int(size)) for size in chunks]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": kind.type(0).item(),
        "codecs": [{"name": "bytes", **endian}, {"name": "crc32c"}],
        "attributes": {},
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def group_header() -> JsonObject:
    """Describe a group of arrays."""
    return {"attributes": {}, "zarr_format": 3, "node_type": "group"}


def root_header(version: int) -> JsonObject:
    """Describe the workspace itself: the group at its root."""
    return {**group_header(), "attributes": {_FORMAT_KEY: version}}


def bookkeeping_header() -> JsonObject:
    """Describe the empty *array* beside which bookkeeping lives: a leaf, so that Zarr lists nothing there."""
    return array_header((0,), (1,), "uint8")


def make_root(blobs: Blobs, version: int = FORMAT_VERSION) -> None:
    """Write the headers of a new workspace, or those that an old one has lost.

    Two processes that do so at once write the same bytes, and which of them is first does not matter.

    Raises
    ------
    WorkspaceError
        When something else is there.
    """
    if blobs.get(layout.GROUP_HEADER) is None and not is_workspace(blobs):
        occupied = any(True for _ in blobs.list(""))
        if occupied and not is_workspace(blobs):  # another process may have made it just now
            raise WorkspaceError(
                f"{blobs.url} is not empty and not a workspace; choose a new or empty location."
            )
        _write_roots(blobs, version)
        return
    try:
        version = read_format(blobs)
    except DamagedDocumentError:
        version = _format_of_bookkeeping(blobs)
        blobs.put(layout.GROUP_HEADER, [_written("", root_header(version), version)])
    if blobs.size(layout.header(layout.META)) is None:
        _write_roots(blobs, version)


def is_workspace(blobs: Blobs) -> bool:
    """Tell whether a workspace, or a group of Zarr, is there, be it without its headers."""
    return blobs.size(layout.GROUP_HEADER) is not None or _has_bookkeeping(blobs)


def _has_bookkeeping(blobs: Blobs) -> bool:
    """Tell by all but its own header whether a workspace is there."""
    return blobs.size(layout.header(layout.META)) is not None or holds_remains(blobs)


def _write_roots(blobs: Blobs, version: int) -> None:
    for path, header in (("", root_header(version)), (layout.META, bookkeeping_header())):
        blobs.put_if_absent(layout.header(path), _written(path, header, version))


def _written(path: str, header: JsonObject, version: int) -> bytes:
    return sealed_header(path, header) if version >= FIRST_WITH_DIGESTS else unsealed(header)


def _format_of_bookkeeping(blobs: Blobs) -> int:
    """Tell the format of a workspace whose own header is lost by the other header that each one has."""
    data = blobs.get(layout.header(layout.META))
    try:
        attributes = {} if data is None else parsed(data).get("attributes")
    except DocumentProblem:
        attributes = None
    return READABLE[0] if data is not None and attributes == {} else FORMAT_VERSION


def read_format(blobs: Blobs) -> int:
    """Return the number of a workspace's format.

    Raises
    ------
    WorkspaceError
        When there is no workspace, or something else.
    WorkspaceVersionError
        When another version of the format wrote it.
    DamagedDocumentError
        When the header is damaged or lost.
    """
    if blobs.size(layout.GROUP_HEADER) is None:
        if is_workspace(blobs):
            raise _damaged(blobs, "is missing")
        raise WorkspaceError(f"no workspace at {blobs.url}; create one with `l3ae-dist run`.")
    try:
        return read_again(
            blobs, lambda: _format_of(blobs.get(layout.GROUP_HEADER) or b"", blobs), DocumentProblem
        )
    except DocumentProblem as error:
        if not _has_bookkeeping(blobs):
            raise WorkspaceError(f"{blobs.url} is not a workspace; choose another location.") from error
        raise _damaged(blobs, str(error)) from error


def refuse_lost_bookkeeping(blobs: Blobs, version: int) -> None:
    """Refuse to read a workspace that has lost all beside its arrays: nothing would tell that it held models.

    Raises
    ------
    DamagedDocumentError
        When the header that every workspace of this format has beside its documents is missing.
    """
    path = layout.header(layout.META)
    if version >= FIRST_WITH_DIGESTS and blobs.size(path) is None:
        raise _damaged(blobs, "is missing", path)


def _format_of(data: bytes, blobs: Blobs) -> int:
    attributes = parsed(data).get("attributes") or {}
    version = attributes.get(_FORMAT_KEY) if isinstance(attributes, dict) else None
    if version is None:
        if _has_bookkeeping(blobs):
            raise DocumentProblem("is damaged (it tells no format)")
        raise WorkspaceError(f"{blobs.url} is a Zarr group but not a workspace; choose another location.")
    if version not in READABLE and attributes.get(HEADER_DIGEST) != _own_digest():
        raise WorkspaceVersionError(
            f"{blobs.url} has workspace format {shown(version)}, this version reads "
            f"{READABLE[0]} and {READABLE[1]}; use the version that wrote it, or a new location."
        )
    opened_header("", data, required=version != READABLE[0])
    return int(version)


def _own_digest() -> str:
    """Return the digest of the header that this version writes, by which an edited number is recognised."""
    return digest_of("", root_header(FORMAT_VERSION))


def _damaged(blobs: Blobs, problem: str, path: str = layout.GROUP_HEADER) -> DamagedDocumentError:
    return DamagedDocumentError(
        f"{path} of {blobs.url} {problem}; {layout.document_remedy(path)}.", path=path
    )


def sizes_of(header: Mapping[str, object]) -> tuple[list[int], list[int], str]:
    """Return shape, chunks and dtype of the array that a header describes.

    Raises
    ------
    DocumentProblem
        When it does not describe an array.
    """
    try:
        grid = header["chunk_grid"]
        shape, chunks = header["shape"], grid["configuration"]["chunk_shape"]  # type: ignore[index]
        sizes = [int(size) for size in shape], [int(size) for size in chunks]  # type: ignore[attr-defined]
        if not 1 <= len(sizes[0]) == len(sizes[1]) <= 2 or min(sizes[1]) < 1 or min(sizes[0]) < 0:
            raise DocumentProblem("is damaged (its sizes are of no array)")
        return *sizes, np.dtype(str(header["data_type"])).name
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DocumentProblem):
            raise
        raise DocumentProblem("is damaged (it describes no array)") from error
