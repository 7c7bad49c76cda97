"""Bytes of a file of text as they were before it was compressed, piece by piece."""

import gzip
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import BinaryIO, Protocol

from l3ae_dist.data.intake.files import SourceFile, first_line
from l3ae_dist.data.intake.formats import BAD_ZIP
from l3ae_dist.errors import DataError
from l3ae_dist.messages import listed

PIECE = 1 << 22
"""Bytes that are read at once."""
_ENDINGS = (".gz", ".zst", ".bz2", ".zip")


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, none at the end."""


def pieces(file: SourceFile) -> Iterator[bytes]:
    """Yield the decompressed bytes of a file in pieces of at most 4 MiB.

    Raises
    ------
    DataError
        For a file that cannot be opened or downloaded, or is no whole archive of one file.
    """
    with ExitStack() as stack:
        stored = stack.enter_context(file.seekable() if file.compression == "zip" else file.open())
        try:
            stream = _decompressed(file, stored, stack)
            while piece := stream.read(PIECE):
                yield piece
        except DataError:
            raise
        except Exception as error:  # those of a compression, or of any remote file system
            raise _damaged(file, error) from error


def text_name(file: SourceFile) -> str:
    """Return the name that tells how the text is written: without folders and the ending of the compression.

    The one file in a zip archive has the name that it has there.
    """
    if file.compression == "zip":
        with file.seekable() as stored:
            try:
                return PurePosixPath(_member(file, zipfile.ZipFile(stored)).filename).name
            except DataError:
                raise
            except BAD_ZIP as error:
                raise _damaged(file, error) from error
    path = PurePosixPath(file.path)
    return path.stem if path.suffix.lower() in _ENDINGS else path.name


def _decompressed(file: SourceFile, stored: BinaryIO, stack: ExitStack) -> Readable:
    match file.compression:
        case "gzip":
            return stack.enter_context(gzip.open(stored))
        case "bz2" | "zstd":
            import pyarrow as pa

            # Python's own bz2 is silent about what follows the first stream and is none.
            opened = pa.CompressedInputStream(pa.PythonFile(stored, mode="r"), file.compression)
            stream: Readable = stack.enter_context(opened)
            return stream
        case "zip":
            archive = stack.enter_context(zipfile.ZipFile(stored))
            member = _member(file, archive)
            if member.flag_bits & 1:
                raise DataError(f"{file.name} is encrypted; unpack it.")
            return stack.enter_context(archive.open(member))
    return stored


def _member(file: SourceFile, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return the one file with data that an archive holds."""
    members = [one for one in archive.infolist() if not one.is_dir() and not _is_left_out(one.filename)]
    if len(members) != 1:
        names = f" ({listed((one.filename for one in members), 4)})" if members else ""
        raise DataError(
            f"{file.name} holds {len(members)} files{names}; a zip is read where it holds one: unpack it and "
            "name the file."
        )
    return members[0]


def _is_left_out(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _damaged(file: SourceFile, error: BaseException) -> DataError:
    if file.compression in (None, "none"):
        return DataError(
            f"{file.name} cannot be read ({first_line(error)}); check the disk or the connection."
        )
    return DataError(
        f"{file.name} is no whole {file.compression} file ({first_line(error)}); copy or download it again, "
        "or name its compression with the option compression."
    )
