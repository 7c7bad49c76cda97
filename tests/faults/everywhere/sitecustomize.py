"""Loaded at the start of every Python process of a fault test: client, Dask worker, Ray worker.

With ``L3AE_FAULT_RECORD`` set, every computation of a chunk leaves two lines in that file, appended at
once and so kept through a SIGKILL: ``begin`` when its done-mark was looked for and not found, and
``written`` when chunk and done-mark are stored. With ``L3AE_FAULT_BALLOON=NAME:BYTES``, a process that
writes a chunk of an array of that name takes so many bytes first.
"""

import importlib.abc
import importlib.util
import os
import signal
import sys
import time

MODULE = "l3ae_dist.storage.chunks"


def _append(kind, path, i, j):
    held = _held(kind)
    line = f"{kind} {path} {i} {j} {os.getpid()} {'held' if held else 'free'}\n".encode()
    descriptor = os.open(os.environ["L3AE_FAULT_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
    if held:
        time.sleep(60)


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


class _AfterImport(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            _install(module.ChunkArray)

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("L3AE_FAULT_RECORD"):
    sys.meta_path.insert(0, _AfterImport())
