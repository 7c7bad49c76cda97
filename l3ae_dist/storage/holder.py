"""The run that holds a workspace, as its lock tells it, and what this machine knows of that process."""

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, get_type_hints

from l3ae_dist.errors import WorkspaceError
from l3ae_dist.messages import named, shown
from l3ae_dist.storage import layout
from l3ae_dist.storage.blobs import Blobs
from l3ae_dist.storage.os_errors import storage_errors


class Lockable(Protocol):
    """A workspace, as far as its lock goes."""

    url: str
    blobs: Blobs


class LockObject:
    """The lock of a workspace in its store, as bytes.

    Parameters
    ----------
    workspace
        Which workspace.
    """

    def __init__(self, workspace: Lockable) -> None:
        self.url = workspace.url
        self._blobs = workspace.blobs

    def read(self) -> bytes | None:
        """Return the bytes, or None when there is no lock."""
        return self._blobs.get(layout.LOCK)

    def create(self, data: bytes) -> bool:
        """Write the bytes unless there is a lock; returns whether they are there."""
        # an object store may have done a write whose answer got lost: look before believing a refusal
        return _guard(lambda: self._blobs.put_if_absent(layout.LOCK, data) or self.read() == data)

    def swap(self, old: bytes, new: bytes) -> bool:
        """Replace one lot of bytes by another; returns whether the new ones are there."""
        return _guard(lambda: self._blobs.replace_if(layout.LOCK, old, new) or self.read() == new)

    def delete(self) -> None:
        """Delete the lock, whatever it holds."""
        self._blobs.delete(layout.LOCK)


def _guard(operation: Callable[[], bool]) -> bool:
    try:
        with storage_errors(layout.LOCK):
            return operation()
    except WorkspaceError:
        raise
    except OSError as error:
        raise WorkspaceError(
            f"cannot write the workspace lock ({error}); choose a location that this user can write."
        ) from error


HELD_TOKENS: set[str] = set()
"""Tokens of the locks that this process holds."""


@dataclass(frozen=True)
class Holder:
    """The run that holds, or last held, the lock. The times of its wall clock are for people alone."""

    run_id: str
    """Id of the run."""
    host: str
    """Host name."""
    pid: int
    """Process id on that host."""
    pid_started: str
    """Start of that process, as the host's kernel counts it: tells a reused pid apart."""
    boot_id: str
    """The host's boot and pid namespace; pids of another one say nothing."""
    epoch: int
    """Grows by one with every acquisition."""
    since: float
    """Unix time of the acquisition, by the holder's clock."""
    heartbeat: float
    """Unix time of the last sign of life, by the holder's clock."""
    token: str
    """Random; tells two acquisitions by the same process apart."""
    released: bool = False
    """True when the run has ended and the workspace is free."""
    beats: int = 0
    """Signs of life so far: the bytes of each differ, whatever the clock says."""
    uptime: float = 0.0
    """Monotonic time of the last sign of life, which all processes of one boot share; 0 for unknown."""

    @property
    def here(self) -> bool:
        """True when it is a process of this host, boot and pid namespace."""
        return bool(self.boot_id) and (self.host, self.boot_id) == (socket.gethostname(), boot_id())

    @property
    def gone(self) -> bool:
        """True when one look tells that nobody holds it: released, or a dead process of this machine."""
        if self.released or not self.here:
            return self.released
        if self.pid == os.getpid():
            return self.token not in HELD_TOKENS
        return process_start(self.pid) not in (self.pid_started, UNKNOWN)

    @property
    def silent_seconds(self) -> float | None:
        """Seconds since the last heartbeat of a process of this machine; None for others: one cannot know."""
        silent = time.monotonic() - self.uptime
        return silent if self.here and self.uptime and silent >= 0 else None

    def beat_within(self, seconds: float) -> bool:
        """Tell whether it is a process of this machine that has beaten so lately, and is not stopped."""
        silent = self.silent_seconds
        return silent is not None and silent < seconds and not is_stopped(self.pid)

    def describe(self) -> str:
        """Say in a few words which run it is, its host, its pid and since when."""
        try:
            since = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        except (ValueError, OverflowError, OSError):
            since = "an unknown time"
        return f"run {named([self.run_id])} (host {named([self.host])}, pid {self.pid}, since {since})"

    def dump(self) -> bytes:
        """Return the bytes of the lock that say so."""
        return json.dumps(asdict(self), indent=1).encode()


# floats that are whole are read back as integers
_KINDS = {str: (str,), int: (int,), float: (int, float), bool: (bool,)}
_FIELDS = {name: _KINDS[kind] for name, kind in get_type_hints(Holder).items()}


def parse_holder(raw: bytes, url: str) -> Holder:
    """Return the holder that the bytes of a lock name; what a later version adds is passed over.

    Raises
    ------
    WorkspaceError
        When they are none.
    """
    try:
        document = json.loads(raw)
        known = {name: value for name, value in document.items() if name in _FIELDS}
        wrong = [name for name, value in known.items() if not isinstance(value, _FIELDS[name])]
        if wrong:
            raise ValueError(f"{wrong[0]} is {shown(known[wrong[0]])}")
        return Holder(**known)
    except (ValueError, TypeError, AttributeError) as error:
        raise WorkspaceError(
            f"the lock of {url} ({layout.LOCK}) is unreadable; if no run is active, "
            f"run `l3ae-dist unlock --force {url}`."
        ) from error


def is_of(raw: bytes, token: str) -> bool:
    """Tell whether the bytes of a lock are of the acquisition with this token, and not given back."""
    try:
        holder = parse_holder(raw, "")
    except WorkspaceError:
        return False
    return holder.token == token and not holder.released


UNKNOWN = "unknown"
"""Start of a process that exists and of which this user may not read more."""


def process_start(pid: int) -> str:
    """Return when a process of this machine started, in the kernel's ticks; empty when it is dead.

    A zombie is dead: it holds nothing and writes nothing. A process that hides from this user is
    :data:`UNKNOWN`.
    """
    fields = _stat(pid)
    if fields is None:
        return UNKNOWN if _exists(pid) and Path("/proc/self/stat").exists() else _portable_start(pid)
    return "" if fields[0] in "ZX" else fields[19]


def proc_is_ours() -> bool:
    """Tell whether ``/proc``, if any, shows the processes of this pid namespace, and not of one around it."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return True


def is_stopped(pid: int) -> bool:
    """Tell whether a process of this machine is stopped (SIGSTOP), so that it will not beat."""
    fields = _stat(pid)
    return fields is not None and fields[0] in "Tt"


def _stat(pid: int) -> list[str] | None:
    """Read the kernel's figures of a process, from its state on; None without."""
    if not proc_is_ours():
        return None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # the command name is in parentheses and may itself hold spaces and parentheses
    return stat.rpartition(")")[2].split()


def _exists(pid: int) -> bool:
    """Tell whether there is such a process, also where ``/proc`` shows only those of the same user."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _portable_start(pid: int) -> str:
    if Path("/proc/self/stat").exists():
        return ""
    import psutil

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return ""


def machine() -> str:
    """Return a name of the machine and pid namespace whose process ids this process knows; never empty."""
    return boot_id() or socket.gethostname()


def boot_id() -> str:
    """Return a name of this boot and pid namespace; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
