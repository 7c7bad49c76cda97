"""One workspace, one writing run: a lease object with a heartbeat, taken over by compare-and-swap.

The object ``meta/lock.json`` is never deleted: a release leaves it behind marked as free, so that the
epoch only ever grows and a run that was taken over can never be mistaken for the current one. No wall
clock decides anything. A lock is dead when its bytes have not changed for :data:`STALE_SECONDS` of the
*reader's* monotonic clock, while the reader looked; it lives when they changed. What was released, or
belongs to a process of this machine that is gone, is free at once.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from l3ae_dist.errors import WorkspaceError, WorkspaceLockedError
from l3ae_dist.storage.holder import (
    HELD_TOKENS,
    Holder,
    Lockable,
    LockObject,
    boot_id,
    is_of,
    parse_holder,
    process_start,
)
from l3ae_dist.storage.kept import Kept

HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 60.0
# Between two looks at a lock, and between two sentences about the wait.
_LOOK_SECONDS, _TELL_SECONDS = 1.0, 10.0
# What two looks far apart say at most about the time between: this process may have been stopped itself.
_MOST_SEEN_SECONDS = 5.0
# For a release after an error, which may be that the store does not answer.
_RELEASE_SECONDS = 20.0
_ATTEMPTS = 5
_log = logging.getLogger(__name__)
# the locks that this process holds, by workspace, also those that were taken over
_LOCKS: dict[str, list["WorkspaceLock"]] = {}

Tell = Callable[[str], None]
"""Takes a sentence for people."""


class LockWatch:
    """Looks at the lock of a workspace again and again, and tells when its holder is dead.

    Parameters
    ----------
    workspace
        Which workspace.
    """

    def __init__(self, workspace: Lockable) -> None:
        self._object = LockObject(workspace)
        self._looked: float | None = None
        self._changed = False
        self.raw: bytes | None = None
        """Bytes of the lock at the last look; None without one."""
        self.holder: Holder | None = None
        """The run that they name."""
        self.silent = 0.0
        """Seconds for which the bytes are known not to have changed, by this process's monotonic clock."""

    def look(self) -> Holder | None:
        """Look once; returns the run that holds the workspace as far as one can know, else None.

        Raises
        ------
        WorkspaceError
            For a lock that is unreadable.
        """
        raw, now = self._object.read(), time.monotonic()
        if self._looked is not None and raw == self.raw:
            self.silent += min(now - self._looked, _MOST_SEEN_SECONDS)
        else:
            self._changed, self.silent = self._looked is not None, 0.0
            self.holder = None if raw is None else parse_holder(raw, self._object.url)
        self.raw, self._looked = raw, now
        return None if self.free else self.holder

    @property
    def free(self) -> bool:
        """True when nobody holds the workspace, or the one who did is dead."""
        return self.holder is None or self.holder.gone or self.silent >= STALE_SECONDS

    @property
    def alive(self) -> bool:
        """True when the holder is known to live: its bytes changed, or it is at work on this machine."""
        holder = self.holder
        if holder is None or self.free:
            return False
        return self._changed or holder.token in HELD_TOKENS or holder.beat_within(2 * HEARTBEAT_SECONDS)


class WorkspaceLock:
    """Holds the workspace for writing while the ``with`` block runs.

    Parameters
    ----------
    workspace
        Which workspace.
    run_id
        Shown to whoever is refused.
    tell
        Takes the sentences about a wait for another run; they are logged as warnings for None.

    Raises
    ------
    WorkspaceLockedError
        On entry, when a live run holds the workspace; from :meth:`check` and :meth:`renew`, and at the
        end, when this run lost it.
    """

    def __init__(self, workspace: Lockable, run_id: str, tell: Tell | None = None) -> None:
        self._workspace = workspace
        self._object = LockObject(workspace)
        self._run_id = run_id
        self._tell = tell
        self.kept = Kept()  # what the run keeps when it ends
        self._raw = b""
        self._holder: Holder | None = None
        self._pid = os.getpid()
        self._renewed = 0.0
        self._swapping = threading.Lock()
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
            watch = wait_for_lock(self._workspace, self._tell)
            if self._take(watch.raw, watch.holder):
                self._begin()
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
        if self._holder is None or self._pid != os.getpid():  # a forked child holds nothing
            return
        self._stop.set()
        # after an error the store may be what does not answer: not for long then
        patience = None if kind is None else _RELEASE_SECONDS
        if self._thread is not None:
            self._thread.join(_RELEASE_SECONDS)
            self._thread = None
        release = threading.Thread(target=self._release, name="l3ae-unlock", daemon=True)
        release.start()
        release.join(patience)
        HELD_TOKENS.discard(self._holder.token)
        _LOCKS[self._workspace.url].remove(self)
        self._holder = None
        if kind is None:
            self.check()

    def check(self) -> None:
        """Raise :class:`WorkspaceLockedError` when another run is known to have taken the workspace over.

        It costs no request, unless no heartbeat was written for long: this process may have been stopped.
        """
        if self._lost.is_set():
            raise WorkspaceLockedError(
                f"run {self._run_id} lost the lock of {self._workspace.url} (taken over by another run "
                "while this one gave no sign of life, or forced open): it has written no document since, and "
                f"{self.kept}; run the same command again."
            )
        if self._holder is not None and time.monotonic() - self._renewed > 2 * HEARTBEAT_SECONDS:
            self.renew()

    def renew(self) -> None:
        """Make sure that the workspace is still held, by one compare-and-swap of the lock.

        Raises
        ------
        WorkspaceLockedError
            When another run took it over, or it was forced open.
        WorkspaceError
            When the store does not say.
        """
        with self._swapping:
            if self._holder is not None and not self._lost.is_set() and not self._beat(self._holder):
                self._lost.set()
        if self._lost.is_set():
            self.check()

    # ---- taking and giving back

    def _take(self, raw: bytes | None, holder: Holder | None) -> bool:
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
            uptime=time.monotonic(),
        )
        data = mine.dump()
        if not (self._object.create(data) if raw is None else self._object.swap(raw, data)):
            return False
        self._holder, self._raw, self._renewed = mine, data, mine.uptime
        return True

    def _begin(self) -> None:
        if self._holder is None:
            return
        self._stop.clear()
        self._lost.clear()
        self._pid = os.getpid()
        HELD_TOKENS.add(self._holder.token)
        _LOCKS.setdefault(self._workspace.url, []).append(self)
        self._thread = threading.Thread(target=self._keep, name="l3ae-lock", daemon=True)
        self._thread.start()

    def _release(self) -> None:
        holder = self._holder
        if holder is None or self._lost.is_set():
            return
        try:
            # only still ours is released: compare-and-swap against our own last bytes
            with self._swapping:
                if not self._replace(replace(holder, released=True, heartbeat=time.time())):
                    self._lost.set()
        except WorkspaceError as failure:
            _log.warning("the lock of %s was not released: %s", self._workspace.url, failure)

    # ---- renewals

    def _keep(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self.renew()
            except WorkspaceLockedError:
                return
            except WorkspaceError as error:  # it stays ours until a compare-and-swap says otherwise
                _log.warning("heartbeat of %s failed: %s", self._workspace.url, error)

    def _beat(self, holder: Holder) -> bool:
        began = time.monotonic()
        beat = replace(holder, heartbeat=time.time(), uptime=began, beats=holder.beats + 1)
        if not self._replace(beat):
            return False
        self._holder, self._renewed = beat, began
        return True

    def _replace(self, beat: Holder) -> bool:
        """Replace our own bytes; where they differ from what we know, they may still be ours."""
        data = beat.dump()
        for _ in range(_ATTEMPTS):
            if self._object.swap(self._raw, data):
                self._raw = data
                return True
            found = self._object.read()
            if found is None or not is_of(found, beat.token):
                return False
            self._raw = found  # a heartbeat whose answer was lost
        return False


def wait_for_lock(workspace: Lockable, tell: Tell | None = None) -> LockWatch:
    """Watch the lock until nobody holds it, for :data:`STALE_SECONDS` at most, and say for whom one waits.

    Parameters
    ----------
    workspace
        Which workspace.
    tell
        Takes the sentences; they are logged as warnings for None.

    Returns
    -------
    The watch, whose ``raw`` is what may be replaced.

    Raises
    ------
    WorkspaceLockedError
        As soon as the holder gives a sign of life.
    """
    tell = _log.warning if tell is None else tell
    watch, told = LockWatch(workspace), None
    while True:
        holder = watch.look()
        if holder is None:
            if told is not None and watch.holder is not None:
                why = "it has ended" if watch.holder.gone else f"no heartbeat for {watch.silent:.0f} s"
                tell(f"{workspace.url} is taken over from {watch.holder.describe()}: {why}")
            return watch
        if watch.alive:
            raise WorkspaceLockedError(
                f"{workspace.url} is in use by {holder.describe()}; wait for it, or, "
                f"when it is surely dead, run `l3ae-dist unlock --force {workspace.url}`."
            )
        if told is None or time.monotonic() - told >= _TELL_SECONDS:
            told = time.monotonic()
            tell(
                f"waiting for {holder.describe()}, which holds {workspace.url}: no heartbeat for "
                f"{watch.silent:.0f} s so far; after {STALE_SECONDS:.0f} s it counts as dead"
            )
        time.sleep(min(_LOOK_SECONDS, STALE_SECONDS / 10))


def free_for_writing(workspace: Lockable) -> int | None:
    """Make sure, before a document is written, that the run of this process still holds the workspace.

    Returns
    -------
    The epoch of the run; None where this process holds no lock, and then nothing is asked.

    Raises
    ------
    WorkspaceLockedError
        When another run took the workspace over.
    """
    lock = held_lock(workspace)
    if lock is None:
        return None
    lock.renew()
    return lock.epoch


def held_lock(workspace: Lockable) -> WorkspaceLock | None:
    """Return the lock by which this process (not one it was forked from) holds the workspace, or None."""
    here = (lock for lock in reversed(_LOCKS.get(workspace.url, [])) if lock._pid == os.getpid())
    return next(here, None)


def lock_holder(workspace: Lockable) -> Holder | None:
    """Return the run that holds the workspace, from one look; None when it is free.

    A run of another machine may be dead: only :class:`LockWatch` tells, after a minute.
    """
    return LockWatch(workspace).look()


def unlock(workspace: Lockable, force: bool = False) -> Holder | None:
    """Free the workspace; returns the holder whose lock was broken, None when it was free.

    Without ``force`` the lock is watched until it is known to be dead, or to live.

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
    stored = LockObject(workspace)
    raw = stored.read()
    if raw is None:
        return None
    try:
        holder = parse_holder(raw, workspace.url)
    except WorkspaceError:
        if not force:
            raise
        stored.delete()
        return None
    if holder.released:
        return None
    if not force:
        watch = wait_for_lock(workspace)
        if watch.raw is None or watch.holder is None or watch.holder.released:
            return None
        raw, holder = watch.raw, watch.holder
    if not stored.swap(raw, replace(holder, released=True).dump()):
        raise WorkspaceLockedError(
            f"the lock of {workspace.url} changed while it was being freed, so {holder.describe()} "
            "or another run is alive; try again."
        )
    return holder
