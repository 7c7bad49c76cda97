"""Files that a command writes where its user says: an earlier one of the same kind is replaced, no other.

Whether it may be is asked before anything is computed. A file appears as a whole, or not at all.
"""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import shown

# Bytes at the beginning of a file that tell its kind.
_HEAD = 1 << 16


@dataclass(frozen=True, slots=True)
class OutputKind:
    """A kind of file: its name for people, how it begins, and what stands near its beginning."""

    name: str
    begins: bytes
    holds: bytes

    def is_kind(self, head: bytes) -> bool:
        """Tell whether a file that begins like this is one, or is empty."""
        return not head or (head.lower().startswith(self.begins) and self.holds in head)


PAGE = OutputKind("page of l3ae-dist", b"<!doctype html", b"l3ae_dist</title>")
RATES = OutputKind("file of rates", b"{", b'"write_bytes_s"')


def check_output(path: str | Path, kind: OutputKind) -> None:
    """Refuse a path at which something else than an earlier file of this kind is.

    Raises
    ------
    ConfigError
        Naming the path, and what is there.
    """
    try:
        target = Path(path)
        if target.is_dir():
            raise ConfigError(f"{shown(str(path))} is a folder; name a file to write.")
        if not target.is_file():  # nothing, or a pipe, a terminal
            return
        with target.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise _cannot_write(path, error) from error
    if not kind.is_kind(head):
        raise ConfigError(
            f"{shown(str(path))} is there and is no {kind.name}, so it is left as it is; choose another "
            "path, or remove it first."
        )


def write_output(path: str | Path, data: bytes, kind: OutputKind) -> str:
    """Write a file, in the place of an earlier one of its kind if there is one; return its path.

    Parameters
    ----------
    path
        Where to write it; a link is followed.
    data
        All of the file.
    kind
        The kind of the file.

    Raises
    ------
    ConfigError
        When something else is there, or the file cannot be written.
    """
    check_output(path, kind)
    try:
        target = Path(path).resolve()
        if target.exists() and not target.is_file():
            target.write_bytes(data)
            return str(path)
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
        try:
            partial.write_bytes(data)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL
        raise _cannot_write(path, error) from error
    return str(path)


def _cannot_write(path: str | Path, error: Exception) -> ConfigError:
    reason = getattr(error, "strerror", None) or error
    return ConfigError(f"cannot write {shown(str(path))} ({reason}); choose another path.")
