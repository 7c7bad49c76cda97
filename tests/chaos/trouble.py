"""Faults while a command runs, in a process forked for it: killed, frozen, out of space, forbidden."""

import contextlib
import ctypes
import errno
import os
import random
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from chaos.proxy import Behaviour, proxy
from chaos.stores import Bucket, Files, Folder, fill

P = ParamSpec("P")
R = TypeVar("R")
# Linux: capabilities by which root reads and writes what it may not, and the form in which they are told
_BEYOND_MODES = 0b1110
_CAPABILITIES = 0x20080522
# What makes a write count, on a disk and in a bucket.
COMMITS = (("os", "replace"), ("os", "link"), ("os", "rename"), ("obstore", "put"))


class Commits:
    """Counts the writes of this process, and calls something before and after each."""

    def __init__(self) -> None:
        self.count = 0
        self.before: Callable[[int], None] = lambda number: None
        self.after: Callable[[int], None] = lambda number: None

    def install(self) -> None:
        """Stand before every call that makes a write count."""
        import obstore

        modules = {"os": os, "obstore": obstore}
        for module, name in COMMITS:
            setattr(modules[module], name, self._counted(getattr(modules[module], name)))

    def _counted(self, call: Callable[P, R]) -> Callable[P, R]:
        def counted(*args: P.args, **kwargs: P.kwargs) -> R:
            self.count += 1
            number = self.count
            self.before(number)
            done = call(*args, **kwargs)
            self.after(number)
            return done

        return counted


@contextlib.contextmanager
def counted() -> Iterator[Commits]:
    """Count the writes within the block, in this process."""
    import obstore

    modules = {"os": os, "obstore": obstore}
    kept = [(modules[module], name, getattr(modules[module], name)) for module, name in COMMITS]
    commits = Commits()
    commits.install()
    try:
        yield commits
    finally:
        for module, name, call in kept:
            setattr(module, name, call)


@dataclass
class Trouble:
    """One fault of a running command.

    Parameters
    ----------
    said
        What it is, for the report.
    prepare
        Called in the command's process.
    watch
        Called in this one, with that process' id.
    mend
        Called when the command has ended.
    """

    said: str
    prepare: Callable[[], None] = lambda: None
    watch: Callable[[int], None] = lambda pid: None
    mend: Callable[[], None] = lambda: None


def kill(rng: random.Random, files: Files, writes: int) -> Trouble:
    """SIGKILL at the n-th write, before or after it counts."""
    at, after = rng.randint(1, max(1, writes)), rng.random() < 0.5

    def prepare() -> None:
        commits = Commits()
        end = {at: lambda: os.kill(os.getpid(), signal.SIGKILL)}
        setattr(commits, "after" if after else "before", lambda number: end.get(number, int)())
        commits.install()

    return Trouble(f"killed {'after' if after else 'before'} write {at} of {writes}", prepare)


def kill_later(rng: random.Random, files: Files, writes: int) -> Trouble:
    """SIGKILL after a random time."""
    seconds = rng.random() * (0.01 + 0.004 * writes)

    def watch(pid: int) -> None:
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    return Trouble(f"killed after {seconds:.3f} s", watch=watch)


def freeze(rng: random.Random, files: Files, writes: int) -> Trouble:
    """SIGSTOP at the n-th write, SIGCONT a moment later."""
    at, seconds = rng.randint(1, max(1, writes)), rng.choice([0.05, 0.3, 1.5])

    def prepare() -> None:
        commits = Commits()
        stop = {at: lambda: os.kill(os.getpid(), signal.SIGSTOP)}
        commits.before = lambda number: stop.get(number, int)()
        commits.install()

    def watch(pid: int) -> None:
        threading.Thread(target=_continue, args=(pid, seconds), daemon=True).start()

    return Trouble(f"frozen before write {at} of {writes} for {seconds} s", prepare, watch)


def _continue(pid: int, seconds: float) -> None:
    """Let a stopped process go on, so long after it was stopped."""
    with contextlib.suppress(OSError):
        while True:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state == "Z":
                return
            if state == "T":
                time.sleep(seconds)
                os.kill(pid, signal.SIGCONT)
            time.sleep(0.005)


def no_space(rng: random.Random, files: Files, writes: int) -> Trouble:
    """The disk is full from the n-th write on, or for that one alone."""
    return _refusing(rng, writes, errno.ENOSPC, "no space left")


def input_output_error(rng: random.Random, files: Files, writes: int) -> Trouble:
    """The disk fails from the n-th write on, or for that one alone."""
    return _refusing(rng, writes, errno.EIO, "input/output error")


def forbidden(rng: random.Random, files: Files, writes: int) -> Trouble:
    """Writes are denied from the n-th on, or that one alone."""
    return _refusing(rng, writes, rng.choice([errno.EACCES, errno.EROFS]), "permission denied")


def _refusing(rng: random.Random, writes: int, code: int, said: str) -> Trouble:
    at, once = rng.randint(1, max(1, writes)), rng.random() < 0.3

    def prepare() -> None:
        commits = Commits()

        def refuse(number: int) -> None:
            if number == at or (number > at and not once):
                raise OSError(code, os.strerror(code))

        commits.before = refuse
        commits.install()

    return Trouble(
        f"{said} {'at' if once else 'from'} write {at} of {writes}{'' if once else ' on'}", prepare
    )


def without_rights(rng: random.Random, files: Files, writes: int) -> Trouble:
    """Some of the files, and folders, may not be read or written."""
    assert isinstance(files, Folder)
    share, mode = rng.choice([0.02, 0.1, 0.5, 1.0]), rng.choice([0o000, 0o444])
    paths = [files.root, *sorted(files.root.rglob("*"))] if files.root.exists() else []
    closed = [path for path in paths if rng.random() < share]
    kept = {path: path.stat().st_mode for path in closed}
    for path in reversed(closed):
        path.chmod(mode | 0o111 * (mode > 0) if path.is_dir() else mode)

    def mend() -> None:
        for path, before in kept.items():
            if path.exists():
                path.chmod(before)

    return Trouble(f"{len(closed)} files with mode {mode:o}", _obey_modes, mend=mend)


def _obey_modes() -> None:
    """Let this process obey the modes of files, root's too."""
    if os.getuid():
        return
    header, sets = struct.pack("=Ii", _CAPABILITIES, 0), ctypes.create_string_buffer(24)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0
    effective, *others = struct.unpack("=6I", sets.raw)
    assert libc.capset(header, struct.pack("=6I", effective & ~_BEYOND_MODES, *others)) == 0


def small_disk(rng: random.Random, files: Files, writes: int) -> Trouble:
    """A file system of its own that is nearly full; where none can be mounted, writes that are refused."""
    assert isinstance(files, Folder)
    contents, left = files.read(), int(rng.random() ** 2 * (20 + 5 * writes)) << 12
    files.clear()
    files.root.mkdir()
    mounted = _mount("-t", "tmpfs", "-o", "size=256m", "tmpfs", files.root)
    fill(files, contents)
    if not mounted:
        return no_space(rng, files, writes)
    _mount("-o", f"remount,size={_used(files.root) + left}", files.root)

    def mend() -> None:
        kept = files.read()
        subprocess.run(["umount", "-l", files.root], check=True)
        fill(files, kept)

    return Trouble(f"a disk with {left >> 10} KiB left", mend=mend)


def _mount(*arguments: object) -> bool:
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False)
    return done.returncode == 0


def _used(folder: Path) -> int:
    state = os.statvfs(folder)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def skewed_clock(rng: random.Random, files: Files, writes: int) -> Trouble:
    """The clock of the machine is wrong, and half of the time the run is killed."""
    skew = rng.choice([61.0, 3600.0, 4e8]) * rng.choice([-1, 1])
    killed = kill(rng, files, writes) if rng.random() < 0.5 else None

    def prepare() -> None:
        true = time.time
        time.time = lambda: true() + skew
        if killed:
            killed.prepare()

    return Trouble(f"the clock is {skew:+.0f} s wrong{f', {killed.said}' if killed else ''}", prepare)


def store(rng: random.Random, files: Files, writes: int) -> Trouble:
    """The store refuses, is slow, cuts answers off, loses them or is gone for a while."""
    assert isinstance(files, Bucket)
    behaviour, stack = Behaviour.drawn(rng), contextlib.ExitStack()
    url = stack.enter_context(proxy(files.endpoint, behaviour, rng.random()))

    def prepare() -> None:
        os.environ["AWS_ENDPOINT_URL"] = url

    return Trouble(str(behaviour), prepare, mend=stack.close)


# in a bucket, a disk has no say
ON_DISKS: dict[str, Callable[[random.Random, Files, int], Trouble]] = {
    one.__name__.replace("_", " "): one
    for one in (
        kill, kill_later, freeze, no_space, small_disk, input_output_error, forbidden, without_rights, skewed_clock,
    )
}  # fmt: skip
IN_BUCKETS = {
    "store": store,
    **{name: ON_DISKS[name] for name in ("kill", "kill later", "freeze", "skewed clock")},
}
