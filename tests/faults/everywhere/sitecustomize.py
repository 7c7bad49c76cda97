"""Loaded at the start of every Python process of a fault test: client, Dask worker, Ray worker.

With ``L3AE_FAULT_RECORD`` set, every computation of a chunk leaves two lines in that file, appended at
once and so kept through a SIGKILL: ``begin`` when its done-mark was looked for and not found, and
``written`` when chunk and done-mark are stored. With ``L3AE_FAULT_BALLOON=NAME:BYTES``, a process that
writes a chunk of an array of that name takes so many bytes first. ``L3AE_FAULT_SECONDS=MODULE:NAME=SECONDS``
(several ``NAME=SECONDS`` with commas between them) is for waits that a test shortens. With
``L3AE_FAULT_DEATHS=COUNT`` the scheduler of a run gives a task up that so many worker processes died of.

With a file RECORD.hold of ``KIND PID`` that process stops at its next line of that kind while the file says so.

While there is a file RECORD.peers, tiles are read from peers wherever one holds them. With a file RECORD.harm
the worker that sends the next tile does what it says, once: ``flip`` a bit, ``die`` (SIGKILL) or ``stop``
(SIGSTOP).
"""

import importlib.abc
import importlib.util
import os
import signal
import sys
import time

CHUNKS = "l3ae_dist.storage.chunks"
SESSION = "l3ae_dist.runtime.backends.dask_session"
DEATHS = os.environ.get("L3AE_FAULT_DEATHS")
SECONDS, _, SHORTENED = os.environ.get("L3AE_FAULT_SECONDS", "").partition(":")
PACE, SENT = "l3ae_dist.storage.tier_pace", "l3ae_dist.storage.sent_chunks"


def _append(kind, path, i, j):
    held = _held(kind)
    line = f"{kind} {path} {i} {j} {os.getpid()} {'held' if held else 'free'}\n".encode()
    descriptor = os.open(os.environ["L3AE_FAULT_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
    deadline = time.monotonic() + 60
    while held and time.monotonic() < deadline and _held(kind):
        time.sleep(0.01)


def _held(kind):
    try:
        with open(os.environ["L3AE_FAULT_RECORD"] + ".hold") as file:
            return file.read() == f"{kind} {os.getpid()}"
    except FileNotFoundError:
        return False


def _balloon(path):
    name, _, size = os.environ.get("L3AE_FAULT_BALLOON", "").partition(":")
    if not size or not path.endswith("/" + name):
        return
    if size == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        held = bytearray(int(size))
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(30)


def _install(array):
    find_mark, write = array.find_mark, array.write

    def recording_find_mark(self, i, j):
        mark = find_mark(self, i, j)
        if mark is None:
            _append("begin", self.path, i, j)
        return mark

    def recording_write(self, i, j, block, **options):
        _balloon(self.path)
        mark = write(self, i, j, block, **options)
        _append("written", self.path, i, j)
        return mark

    array.find_mark, array.write = recording_find_mark, recording_write


def _shorten(module):
    for name, seconds in (one.split("=") for one in SHORTENED.split(",")):
        assert isinstance(getattr(module, name), float)
        setattr(module, name, float(seconds))


def _install_deaths(module):
    module.WORKER_CONFIG["distributed.scheduler.allowed-failures"] = int(DEATHS) - 1


def _install_pace(module):
    prefers = module.TierPace.prefers_peers
    wanted = os.environ["L3AE_FAULT_RECORD"] + ".peers"
    module.TierPace.prefers_peers = lambda self: os.path.exists(wanted) or prefers(self)


def _install_sent(module):
    pieces = module.pieces

    def harmed_pieces(tile, chunks, size):
        found = pieces(tile, chunks, size)
        harm = _harm()
        if harm == "flip":
            flipped = bytearray(found[0])
            flipped[len(flipped) // 2] ^= 1
            return [memoryview(flipped), *found[1:]]
        if harm:
            os.kill(os.getpid(), signal.SIGKILL if harm == "die" else signal.SIGSTOP)
        return found

    module.pieces = harmed_pieces


def _harm():
    """What the next tile that is sent suffers; nothing after that."""
    path = os.environ["L3AE_FAULT_RECORD"] + ".harm"
    try:
        os.rename(path, path + f".{os.getpid()}")  # by one process alone
        with open(path + f".{os.getpid()}") as file:
            return file.read()
    except FileNotFoundError:
        return ""


class _AfterImport(importlib.abc.MetaPathFinder):
    def __init__(self, module, install):
        self.module, self.install = module, install

    def find_spec(self, name, path, target=None):
        if name != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            self.install(module)

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("L3AE_FAULT_RECORD"):
    sys.meta_path.insert(0, _AfterImport(CHUNKS, lambda module: _install(module.ChunkArray)))
    sys.meta_path.insert(0, _AfterImport(PACE, _install_pace))
    sys.meta_path.insert(0, _AfterImport(SENT, _install_sent))
if DEATHS:
    sys.meta_path.insert(0, _AfterImport(SESSION, _install_deaths))
if SECONDS:
    sys.meta_path.insert(0, _AfterImport(SECONDS, _shorten))
