"""One workspace, one writing run: a lease object with a heartbeat, taken over by compare-and-swap.

The object ``meta/lock.json`` is never deleted: a release leaves it behind marked as free, so that the
epoch only ever grows and a run that was taken over can never be mistaken for the current one.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from l3ae_dist.errors import WorkspaceError, WorkspaceLockedError
from l3ae_dist.storage import layout

if TYPE_CHECKING:
    from l3ae_dist.storage.workspace import Workspace

HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 60.0
_ATTEMPTS = 5
_log = logging.getLogger(__name__)
# tokens of the locks that this process holds
_HELD: set[str] = set()


@dataclass(frozen=True)
class Holder:
    """The run that holds, or last held, the lock."""

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
    """Unix time of the acquisition."""
    heartbeat: float
    """Unix time of the last sign of life."""
    token: str
    """Random; tells two acquisitions by the same process apart."""
    released: bool = False
    """True when the run has ended and the workspace is free."""

    @property
    def stale(self) -> bool:
        """True when the lock may be taken: released, silent for 60 s, or held by nobody on this machine."""
        if self.released or time.time() - self.heartbeat > STALE_SECONDS:
            return True
        same_machine = (self.host, self.boot_id) == (socket.gethostname(), boot_id())
        if not same_machine or not self.boot_id:
            return False
        ended = process_start(self.pid) != self.pid_started
        return ended or (self.pid == os.getpid() and self.token not in _HELD)

    def describe(self) -> str:
        """Say in a few words which run it is, its host, its pid and since when."""
        since = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"run {self.run_id} (host {self.host}, pid {self.pid}, since {since})"


class WorkspaceLock:
    """Holds the workspace for writing while the ``with`` block runs.

    Parameters
    ----------
    workspace
        Which workspace.
    run_id
        Shown to whoever is refused.

    Raises
    ------
    WorkspaceLockedError
        On entry, when a live run holds the workspace; from :meth:`check`, when this run lost it.
    """

    def __init__(self, workspace: "Workspace", run_id: str) -> None:
        self._workspace = workspace
        self._run_id = run_id
        self._raw = b""
        self._holder: Holder | None = None
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def epoch(self) -> int:
        """The epoch of this acquisition (1 for the first run of a workspace)."""
        if self._holder is None:
            raise WorkspaceError("the workspace lock is not held; use it in a with statement.")
        return self._holder.epoch

    def __enter__(self) -> Self:
        for _ in range(_ATTEMPTS):
            if self._try_acquire():
                self._stop.clear()
                self._lost.clear()
                self._thread = threading.Thread(target=self._beat, name="l3ae-lock", daemon=True)
                self._thread.start()
                return self
        raise WorkspaceLockedError(
            f"{self._workspace.url} is contended: {_ATTEMPTS} attempts to lock it were overtaken; "
            "try again later."
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        holder, self._holder = self._holder, None
        if holder is None:
            return
        _HELD.discard(holder.token)
        if self._lost.is_set():
            return
        try:
            # only still ours is released: compare-and-swap against our own last bytes
            self._swap(self._raw, _dump(replace(holder, released=True, heartbeat=time.time())))
        except WorkspaceError as failure:
            _log.warning("the lock of %s was not released: %s", self._workspace.url, failure)

    def check(self) -> None:
        """Raise :class:`WorkspaceLockedError` when another run has taken the workspace over."""
        if self._lost.is_set():
            raise WorkspaceLockedError(
                f"run {self._run_id} lost the lock of {self._workspace.url} (taken over, forced open, or "
                f"no heartbeat could be written for {STALE_SECONDS:.0f} s); run the same command again."
            )

    def _try_acquire(self) -> bool:
        raw = self._workspace.blobs.get(layout.LOCK)
        holder = None if raw is None else _parse(raw, self._workspace.url)
        if holder is not None and not holder.stale:
            raise WorkspaceLockedError(
                f"{self._workspace.url} is in use by {holder.describe()}; wait for it, or, "
                f"when it is surely dead, run `l3ae-dist unlock --force {self._workspace.url}`."
            )
        now = time.time()
        mine = Holder(
            run_id=self._run_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            pid_started=process_start(os.getpid()),
            boot_id=boot_id(),
            epoch=1 if holder is None else holder.epoch + 1,
            since=now,
            heartbeat=now,
            token=uuid.uuid4().hex,
        )
        data = _dump(mine)
        if not (self._create(data) if raw is None else self._swap(raw, data)):
            return False
        self._holder, self._raw = mine, data
        _HELD.add(mine.token)
        return True

    def _create(self, data: bytes) -> bool:
        blobs = self._workspace.blobs
        # an object store may have done a write whose answer got lost: look before believing a refusal
        return _guard(lambda: blobs.put_if_absent(layout.LOCK, data) or blobs.get(layout.LOCK) == data)

    def _swap(self, old: bytes, new: bytes) -> bool:
        blobs = self._workspace.blobs
        return _guard(lambda: blobs.replace_if(layout.LOCK, old, new) or blobs.get(layout.LOCK) == new)

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            holder = self._holder
            if holder is None:
                return
            beat = replace(holder, heartbeat=time.time())
            data = _dump(beat)
            try:
                kept = self._swap(self._raw, data)
            except WorkspaceError as error:
                _log.warning("heartbeat of %s failed: %s", self._workspace.url, error)
                kept = time.time() - holder.heartbeat <= STALE_SECONDS
                if kept:
                    continue
            if not kept:
                self._lost.set()
                return
            self._holder, self._raw = beat, data


def lock_holder(workspace: "Workspace") -> Holder | None:
    """Return the run that holds the workspace now; None when it is free, or its holder is stale."""
    raw = workspace.blobs.get(layout.LOCK)
    holder = None if raw is None else _parse(raw, workspace.url)
    return None if holder is None or holder.stale else holder


def unlock(workspace: "Workspace", force: bool = False) -> Holder | None:
    """Free the workspace; returns the holder whose lock was broken, None when it was free.

    Parameters
    ----------
    workspace
        Which workspace.
    force
        Break the lock of a run that looks alive, or an unreadable lock.

    Raises
    ------
    WorkspaceLockedError
        When a live run holds the lock and ``force`` is not given.
    """
    raw = workspace.blobs.get(layout.LOCK)
    if raw is None:
        return None
    try:
        holder = _parse(raw, workspace.url)
    except WorkspaceError:
        if not force:
            raise
        workspace.blobs.delete(layout.LOCK)
        return None
    if holder.released:
        return None
    if not (force or holder.stale):
        raise WorkspaceLockedError(
            f"{workspace.url} is in use by {holder.describe()}; "
            "repeat with --force if that run is surely dead."
        )
    if not _guard(
        lambda: workspace.blobs.replace_if(layout.LOCK, raw, _dump(replace(holder, released=True)))
    ):
        raise WorkspaceLockedError(
            f"the lock of {workspace.url} changed while it was being freed, so {holder.describe()} "
            "or another run is alive; try again."
        )
    return holder


def process_start(pid: int) -> str:
    """Return when a process of this machine started, in the kernel's ticks; empty when it is dead.

    A zombie is dead: it holds nothing and writes nothing.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return _portable_start(pid)
    # the command name is in parentheses and may itself hold spaces and parentheses
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def _portable_start(pid: int) -> str:
    if Path("/proc/self/stat").exists():
        return ""
    import psutil

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return ""


def boot_id() -> str:
    """Return a name of this boot and pid namespace; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _dump(holder: Holder) -> bytes:
    return json.dumps(asdict(holder), indent=1).encode()


def _parse(raw: bytes, url: str) -> Holder:
    try:
        return Holder(**json.loads(raw))
    except (ValueError, TypeError) as error:
        raise WorkspaceError(
            f"the lock of {url} ({layout.LOCK}) is unreadable; if no run is active, "
            f"run `l3ae-dist unlock --force {url}`."
        ) from error


def _guard(operation: Callable[[], bool]) -> bool:
    try:
        return operation()
    except WorkspaceError:
        raise
    except OSError as error:
        raise WorkspaceError(
            f"cannot write the workspace lock ({error}); choose a location that this user can write."
        ) from error
