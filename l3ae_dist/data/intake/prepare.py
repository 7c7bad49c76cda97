"""Any file of text as a local, plain file in UTF-8, on the disk for as long as it is read."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from l3ae_dist.data.intake.decompress import PIECE, pieces
from l3ae_dist.data.intake.encodings import Encoding, encoding_of, in_utf8
from l3ae_dist.data.intake.files import SourceFile, first_line
from l3ae_dist.errors import DataError
from l3ae_dist.storage.scratch import scratch_folder
from l3ae_dist.units import human_bytes

_Option = TypeVar("_Option")
_Found = TypeVar("_Found")
HEAD = 1 << 22
"""Bytes that are decompressed or downloaded to see how a file is written, when it has to be copied anyway."""
_RESERVE = 1 << 28
_ARCHIVES = (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")
_SETTLED = 2_000_000_000


@dataclass(frozen=True, slots=True)
class PlainText:
    """A local file of text in UTF-8.

    Parameters
    ----------
    path
        Path of the file.
    start
        Bytes of a byte order mark before the text.
    """

    path: str
    start: int = 0


@dataclass(frozen=True, slots=True)
class Opening:
    """The beginning of a file of text, and its encoding.

    Parameters
    ----------
    head
        Its first bytes, decompressed.
    encoding
        Its encoding: of the whole file where it is local and not compressed, else of the head.
    complete
        Whether the head is the whole file.
    """

    head: bytes
    encoding: Encoding
    complete: bool

    def text(self, most: int) -> str:
        """Return at most ``most`` bytes of the beginning as text, without a byte order mark."""
        part = self.head[self.encoding.mark : self.encoding.mark + most]
        return part.decode(self.encoding.codec, "ignore").removeprefix("\ufeff")


def is_plain(file: SourceFile) -> bool:
    """Tell whether a file is local and not compressed."""
    return file.local and file.compression in (None, "none")


def changed_at(file: SourceFile) -> int:
    """Return the time of the last change of a local file in nanoseconds; 0 for others.

    Raises
    ------
    DataError
        When it is gone.
    """
    try:
        return os.stat(file.path).st_mtime_ns if file.local else 0
    except OSError as error:
        raise DataError(f"{file.name} is gone or may not be read ({first_line(error)}); check it.") from error


def is_settled(file: SourceFile) -> bool:
    """Tell whether a file is local and so long unchanged that another change would show in its time."""
    return file.local and time.time_ns() - changed_at(file) > _SETTLED


def once_settled(
    look: Callable[[SourceFile, _Option, int], _Found],
) -> Callable[[SourceFile, _Option], _Found]:
    """Keep what a function finds in a file, by the time of its last change, once it is settled.

    Parameters
    ----------
    look
        Called with a file, an option and the time of the file's last change in nanoseconds.
    """
    kept = lru_cache(maxsize=4096)(look)

    def found(file: SourceFile, option: _Option) -> _Found:
        return (kept if is_settled(file) else look)(file, option, changed_at(file))

    return found


def opening(file: SourceFile, encoding: str | None) -> Opening:
    """Look how a file of text is written.

    Parameters
    ----------
    file
        The file; read wholly where it is local and not compressed, else its first 4 MiB.
    encoding
        The encoding that the user names.

    Raises
    ------
    DataError
        For a file that cannot be read, or is UTF-8 in some places and not in others.
    ConfigError
        For an encoding that there is not.
    """
    head = b"".join(_first(pieces(file), PIECE if is_plain(file) else HEAD))
    if not is_plain(file) and head.startswith(_ARCHIVES):
        raise DataError(f"{file.name} is compressed twice, or an archive within another; unpack it once.")
    if is_plain(file):
        found = encoding_of(file.name, lambda: pieces(file), encoding)
        return Opening(head, found, len(head) == os.path.getsize(file.path))
    complete = len(head) < HEAD
    return Opening(head, encoding_of(file.name, lambda: iter([head]), encoding, complete), complete)


def _first(stream: Iterator[bytes], most: int) -> Iterator[bytes]:
    for piece in stream:
        yield piece[:most]
        most -= len(piece)
        if most <= 0:
            return


@contextmanager
def plain_text(file: SourceFile, encoding: Encoding) -> Iterator[PlainText]:
    """Give a file of text as a local file in UTF-8.

    A local file in UTF-8 is used as it is. Any other is decompressed, downloaded or decoded into a scratch
    file that is removed in the end.

    Parameters
    ----------
    file
        The file.
    encoding
        Its encoding, from :func:`opening`.

    Raises
    ------
    DataError
        For a damaged archive, bytes that do not belong to the encoding, or a disk that is too small.
    """
    if is_plain(file) and encoding.codec == "utf-8":
        yield PlainText(file.path, encoding.mark)
        return
    with scratch_folder("intake") as folder:
        path = Path(folder) / "text"
        _write(file, in_utf8(file.name, pieces(file), encoding), path)
        yield PlainText(str(path))


def _write(file: SourceFile, text: Iterator[bytes], path: Path) -> None:
    written = 0
    with path.open("wb") as scratch:
        for piece in text:
            if shutil.disk_usage(path.parent).free < _RESERVE + len(piece):
                raise DataError(
                    f"{file.name} has over {human_bytes(written)} when it is unpacked, and the disk of "
                    f"{path.parent.parent} has no more space; set TMPDIR to a folder on a larger disk."
                )
            scratch.write(piece)
            written += len(piece)
