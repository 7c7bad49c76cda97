"""Times and tags by which a file is known to have changed, whatever its file system calls them."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import BinaryIO

from l3ae_dist.data.intake.files import SourceFile, cannot_open, filesystem, is_url

# In the order in which they count; of a member of an archive, its checksum.
_TAGS = (
    *("ETag", "etag", "e_tag", "mtime", "LastModified", "last_modified", "created"),
    *(
        "Content-MD5",
        "Digest",
        "Last-Modified",
        "CRC",
        "date_time",
        "blob_id",
        "sha",
        "sha1",
        "sha256",
        "md5",
    ),
    *("md5Hash", "checksum", "chksum", "generation", "version_id", "VersionId", "modify", "modified"),
    *("modificationTime", "modification_time", "last_commit", "updated", "timestamp"),
)


def stamp_of(info: Mapping[str, object]) -> str:
    """Return the time or tag that a file system tells of a file; empty where it tells none."""
    return next((str(info[tag]) for tag in _TAGS if info.get(tag)), "")


def stamps(files: Sequence[SourceFile]) -> list[str]:
    """Return what tells each file from one of the same name and size.

    That is its time or tag, with that of the archive that holds it; where nothing is told, a hash of its
    content, which is read for it.
    """
    outer = cache(_stamp_at)
    return [_stamp(file, outer(_archive(file.path))) for file in files]


def _archive(path: str) -> str:
    """Return the path or URL of the archive that a chained URL leads into; empty for all else."""
    return path.partition("::")[2] if is_url(path) else ""


def _stamp(file: SourceFile, outer: str) -> str:
    own = file.stamp or (_stamp_at(file.path) if is_url(file.path) else "")
    if not own:
        with file.open() as stream:
            own = content_digest(stream)
    return f"{own} in {outer}" if outer else own


def _stamp_at(path: str) -> str:
    """Return the stamp of a file of this machine or behind a URL; folders of some servers tell none."""
    if not path:
        return ""
    try:
        if not is_url(path):
            return str(os.stat(path).st_mtime)
        fs, name = filesystem(path)
        return stamp_of(fs.info(name))
    except Exception as error:  # of any file system
        raise cannot_open(path, error) from error


def content_digest(stream: BinaryIO) -> str:
    """Return a hash of all bytes of a stream, read in pieces."""
    found = hashlib.blake2b(digest_size=16)
    while piece := stream.read(1 << 20):
        found.update(piece)
    return found.hexdigest()
