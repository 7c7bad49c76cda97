"""Renewal in a process that was forked: threads and locks of the parent are of no use in the child.

A server that loads a model and then forks its workers (gunicorn with ``--preload``, ``multiprocessing`` on
Linux) gives each of them a copy of the memory, but none of the threads, and locks as they were held.
"""

import atexit
import importlib.util
import os
import shutil
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder
from types import ModuleType

from l3ae_dist.errors import ClusterError

# Weak, so that a model that is gone leaves nothing here.
_renewals: "set[weakref.ref[Callable[[], None]]]" = set()
# By name the process that was the first to start an engine.
_engines: dict[str, int] = {}


def in_children(renew: Callable[[], None]) -> None:
    """Call a function or method first of all in every child of a fork, as long as its object lives."""
    if hasattr(renew, "__self__"):
        _renewals.add(weakref.WeakMethod(renew, _renewals.discard))
    else:
        _renewals.add(weakref.ref(renew, _renewals.discard))


class ProcessLock:
    """A lock, or with a ``count`` above one a semaphore, that is free in a child of a fork.

    Parameters
    ----------
    count
        How many threads may be inside at the same time.
    """

    def __init__(self, count: int = 1) -> None:
        self._count = count
        self._renew()
        in_children(self._renew)

    def _renew(self) -> None:
        self._inside = threading.Semaphore(self._count)

    def __enter__(self) -> None:
        self._inside.acquire()

    def __exit__(self, *error: object) -> None:
        self._inside.release()


def use_engine(engine: str) -> None:
    """Note that this process starts Dask or Ray; neither can be started in a child of such a process.

    Raises
    ------
    ClusterError
        When the parent had started it before this process was forked.
    """
    if _engines.setdefault(engine, os.getpid()) != os.getpid():
        raise ClusterError(
            f"this process was forked from one that had used {engine}, which does not survive a fork; start "
            'it with multiprocessing.get_context("spawn"), or fit with compute.cluster=synchronous '
            "and embeddings that exist."
        )


def _after_fork() -> None:
    _free_properties()
    _forget_obstore()
    for reference in list(_renewals):
        renew = reference()
        if renew is not None:
            renew()


def _free_properties() -> None:
    """Free the locks of cached properties, which Python 3.11 holds while one is computed by a thread."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("l3ae_dist.")]
    for module in modules:
        for kind in list(vars(module).values()):
            if isinstance(kind, type):
                for found in vars(kind).values():
                    if isinstance(found, cached_property) and hasattr(found, "lock"):
                        found.lock = threading.RLock()


# ---- obstore, whose threads belong to its native part


def _forget_obstore() -> None:
    """Import obstore once more when it is needed, for its runtime cannot be started a second time."""
    loaded = [name for name in sys.modules if name.partition(".")[0] == "obstore"]
    if "obstore._obstore" not in loaded:
        return
    for name in loaded:
        del sys.modules[name]
    if hasattr(os, "memfd_create") and not any(isinstance(finder, _SecondCopy) for finder in sys.meta_path):
        sys.meta_path.insert(0, _SecondCopy())


class _SecondCopy:
    """Finds the native part of obstore in a copy of its file, which the linker loads as another library."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where to import ``obstore._obstore`` from, and None for every other module.

        Parameters
        ----------
        name, path, target
            As for any finder.
        """
        if name != "obstore._obstore":
            return None
        found = PathFinder.find_spec(name, path, target)
        if found is None or found.origin is None:
            return found
        loader = ExtensionFileLoader(name, _copied(found.origin))
        return importlib.util.spec_from_loader(name, loader)


def _copied(origin: str) -> str:
    """Copy a file into memory and return the path of the copy, which lasts as long as the process."""
    descriptor = os.memfd_create("l3ae-obstore")
    with open(origin, "rb") as source, open(descriptor, "wb", closefd=False) as copy:
        shutil.copyfileobj(source, copy)
    return f"/proc/self/fd/{descriptor}"


# Before modules are taken down: a WeakMethod that goes after its module's names complains on the terminal.
atexit.register(_renewals.clear)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
