"""One file of a table: where it is, what it holds, and how its bytes are opened."""

import errno
import shutil
import stat
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Protocol, cast

import fsspec
from fsspec import AbstractFileSystem

from l3ae_dist.config.data import Compression
from l3ae_dist.data.intake.parts import Part
from l3ae_dist.errors import DataError
from l3ae_dist.storage.credentials import without_secrets

SHOWN = 120
_COPIED = 1 << 20


class Format(StrEnum):
    """Format of a file of a table."""

    PARQUET = "Parquet"
    ARROW = "Arrow"
    DELIMITED = "delimited text"
    JSON = "JSON"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that holds a table or a piece of one; it is pickled with the parts that read it.

    Parameters
    ----------
    path
        Absolute path of a local file, or a URL.
    size
        Bytes as it is stored; 0 where the server does not tell.
    stamp
        Time of the last change, or tag of the content.
    format
        What it holds.
    suffix
        Ending of its name in lower case, without that of the compression, such as ``".tsv"``.
    compression
        How it is compressed, by its first bytes; None when it is not.
    keys
        Names and values of the folders ``key=value`` that it is in, each a column.
    """

    path: str
    size: int
    stamp: str
    format: Format = Format.DELIMITED
    suffix: str = ""
    compression: Compression | None = None
    keys: tuple[tuple[str, str], ...] = ()

    @property
    def local(self) -> bool:
        """True for a file of this machine."""
        return not is_url(self.path)

    @property
    def is_empty(self) -> bool:
        """True where it is known to have no byte; web servers may not tell."""
        return not self.size and not self._on_web

    @property
    def name(self) -> str:
        """Its path for messages."""
        return shortened(self.path)

    def open(self) -> BinaryIO:
        """Open its bytes, as they are stored, to be read from the first to the last.

        Raises
        ------
        DataError
            Where that is not allowed, or the file is gone.
        """
        return self._opened(random=False)

    @contextmanager
    def seekable(self) -> Iterator[BinaryIO]:
        """Open its bytes so that any of them can be read.

        What a web server sends only from the first byte on is copied to local disk before.

        Raises
        ------
        DataError
            Where that is not allowed, or the file is gone.
        """
        if not self._is_stream():
            with self._opened(random=True) as opened:
                yield opened
            return
        with tempfile.TemporaryFile(prefix="l3ae-intake-") as copy, self.open() as stream:
            shutil.copyfileobj(stream, copy, _COPIED)
            copy.seek(0)
            yield cast(BinaryIO, copy)

    def _opened(self, *, random: bool) -> BinaryIO:
        try:
            if self.local:
                return open(self.path, "rb")
            fs, path = filesystem(self.path)
            options = {"block_size": 0} if self._on_web and not random else {}
            opened = cast(BinaryIO, fs.open(path, "rb", **options))
            weakref.finalize(opened, id, fs)  # an archive closes with its file system
            return opened
        except DataError:
            raise
        except Exception as error:
            raise cannot_open(self.path, error) from error

    @property
    def _on_web(self) -> bool:
        return self.path.startswith(("http://", "https://"))

    def _is_stream(self) -> bool:
        """Tell whether a server sends the file from its first byte on alone."""
        if not self._on_web:
            return False
        fs, path = filesystem(self.path)
        return not fs.info(path).get("partial")


class FilePart(Part, Protocol):
    """A part of a table that knows which file it is a piece of.

    A reader of files is ``parts(files, what, options) -> (parts, notes)``: the parts of all files, in their
    order, and sentences for :attr:`~l3ae_dist.data.intake.parts.Table.notes`.
    """

    @property
    def file(self) -> SourceFile:
        """The file that it is a piece of."""


def is_url(path: str) -> bool:
    """Tell whether a source is a URL and not a path of this machine."""
    return "://" in path


def shortened(value: object, length: int = SHOWN) -> str:
    """Return a value on one line for a message, its middle left out when it is long, and no secrets.

    >>> shortened("a" * 300, 9)
    'aaa...aaa'
    """
    text = str(without_secrets(str(value)))
    text = text if text.isprintable() else repr(text)
    half = (length - 3) // 2
    return text if len(text) <= length else f"{text[:half]}...{text[-half:]}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error for a message; of an error of the system, its name alone."""
    said = error.strerror if isinstance(error, OSError) and isinstance(error.strerror, str) else str(error)
    lines = said.strip().splitlines()
    return shortened(lines[0] if lines else type(error).__name__, 200)


def cannot_open(path: str, error: BaseException) -> DataError:
    """Make an error that says why a file cannot be opened."""
    name = shortened(path)
    if isinstance(error, PermissionError):
        return DataError(f"{name} may not be read; check its permissions.")
    if isinstance(error, FileNotFoundError) or getattr(error, "errno", None) == errno.ENAMETOOLONG:
        return DataError(f"no file at {name}; check the path.")
    return DataError(f"{name} cannot be opened ({first_line(error)}); check the path and the access.")


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system behind a URL, and the path there.

    Buckets are read through obstore, as workspaces are, where the file system of fsspec is not installed.
    """
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        return _bucket(url, error)
    except ValueError as error:
        raise DataError(f"{shortened(url)} is no URL that can be read ({first_line(error)}).") from error
    except Exception as error:  # of any file system that is installed
        raise cannot_open(url, error) from error
    return fs, str(path)


def _bucket(url: str, error: ImportError) -> tuple[AbstractFileSystem, str]:
    from obstore.fsspec import FsspecStore

    scheme, _, path = url.partition("://")
    match scheme:
        case "s3" | "s3a":
            return FsspecStore("s3"), path
        case "gs" | "gcs":
            return FsspecStore("gs"), path
        case "az" | "abfs" | "abfss":
            return FsspecStore("az"), path
    raise DataError(f"{shortened(url)} cannot be read: {first_line(error)}.") from error


def refuse_special(path: str, mode: int) -> None:
    """Raise :class:`DataError` for pipes, devices and sockets, which cannot be read twice.

    Parameters
    ----------
    path
        Path of the file.
    mode
        Its ``st_mode``.
    """
    kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    devices = ((stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))
    for is_kind, kind in kinds + devices:
        if is_kind(mode):
            raise DataError(
                f"{shortened(path)} is {kind} and can be read once at most; write the data to a file first."
            )
