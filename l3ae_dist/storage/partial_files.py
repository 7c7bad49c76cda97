"""Names of unfinished files, which tell their writer: those of a dead one can be swept."""

import contextlib
import hashlib
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from functools import lru_cache
from glob import escape as glob_escape
from pathlib import Path

from l3ae_dist.storage.holder import UNKNOWN, boot_id, process_start

PARTIAL = ".partial"
# What an unknown process, of another machine or of an older version, began so long ago is left over.
_ABANDONED_SECONDS = 86400.0
_NAME = re.compile(r"\.([0-9a-f]{8})-(\d+)-([\d.]*)-[0-9a-f]{8}\.partial$")


def partial_name(name: str) -> str:
    """Return a name, unique and telling this process, for a file that will be called ``name``."""
    return f"{name}.{_writer(os.getpid())}-{uuid.uuid4().hex[:8]}{PARTIAL}"


def is_abandoned(path: Path) -> bool:
    """Tell whether the writer of an unfinished file is gone: at once on this machine, else after a day."""
    matched = _NAME.search(path.name)
    if matched is not None and matched[1] == _machine():
        return process_start(int(matched[2])) not in (matched[3], UNKNOWN)
    try:
        return time.time() - path.lstat().st_mtime > _ABANDONED_SECONDS
    except OSError:
        return False


def abandoned_files(root: Path) -> Iterator[Path]:
    """Yield the unfinished files below a folder whose writers are gone."""
    for directory, _, names in os.walk(root):
        for name in names:
            if name.endswith(PARTIAL) and is_abandoned(path := Path(directory) / name):
                yield path


def sweep_beside(target: Path) -> None:
    """Delete what killed writers of one file left beside it."""
    with contextlib.suppress(OSError):
        for path in target.parent.glob(f"{glob_escape(target.name)}.*{PARTIAL}"):
            if is_abandoned(path):
                path.unlink(missing_ok=True)


@lru_cache(maxsize=2)
def _writer(pid: int) -> str:
    return f"{_machine()}-{pid}-{process_start(pid)}"


@lru_cache(maxsize=1)
def _machine() -> str:
    """Return eight digits that name this host, boot and pid namespace."""
    return hashlib.blake2b(f"{socket.gethostname()} {boot_id()}".encode(), digest_size=4).hexdigest()
