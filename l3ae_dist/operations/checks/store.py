"""Checks that a store does what tiles, done-marks and the lock ask of it; they leave nothing behind."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from l3ae_dist.errors import L3AEError, WorkspaceError
from l3ae_dist.operations.checks import judge
from l3ae_dist.operations.checks.facts import disk_facts
from l3ae_dist.operations.checks.row import Check, Facts, of_error
from l3ae_dist.runtime.bounded import bounded
from l3ae_dist.storage import layout
from l3ae_dist.storage.blobs import Blobs
from l3ae_dist.storage.local_blobs import LocalBlobs
from l3ae_dist.storage.lock import lock_holder
from l3ae_dist.storage.open_blobs import open_blobs

PATIENCE = 3.0
_PROBE_SECONDS = 10.0
# The last write is told in whole seconds by object stores.
_STORE_TICK = 1.0


def probe_store(root: str, prefix: str, token: bytes | None = None) -> Facts:
    """Try every operation once, on keys below ``prefix``, which are deleted afterwards, also after a failure.

    Parameters
    ----------
    root
        Path or URL.
    prefix
        Of the keys; its ``client`` holds ``token`` when the client wrote it before.
    token
        What another machine must see there; None to look for nothing.

    Returns
    -------
    ``steps`` done, ``seconds`` for all, ``ahead``: the store's clock over this one; or ``failed``, the step
    and what happened instead.
    """
    own = f"{prefix}/{uuid.uuid4().hex}"
    steps: list[str] = []
    started = time.perf_counter()
    try:
        blobs = open_blobs(root, patience=PATIENCE)
        try:
            ahead = _operations(blobs, own, f"{prefix}/client", token, steps)
        finally:
            blobs.delete_prefix(own)
    except (L3AEError, OSError) as error:
        step = steps[-1] if steps else "open"
        return {"failed": step, "error": str(error) if isinstance(error, L3AEError) else f"{step}: {error}"}
    return {"steps": steps, "seconds": time.perf_counter() - started, "ahead": ahead}


async def probe_beside(root: str, prefix: str, token: bytes | None = None) -> Facts:
    """Try the store as :func:`bounded_probe` does, in a thread, for a Dask worker.

    Parameters
    ----------
    root, prefix, token
        As for :func:`probe_store`.
    """
    return await asyncio.to_thread(bounded_probe, root, prefix, token)


def bounded_probe(root: str, prefix: str, token: bytes | None = None) -> Facts:
    """Try the store as :func:`probe_store` does, and give up after some seconds.

    Parameters
    ----------
    root, prefix, token
        As for :func:`probe_store`.
    """
    try:
        return bounded(lambda: probe_store(root, prefix, token), _PROBE_SECONDS, f"the store {root}")
    except TimeoutError as error:
        return {"failed": "open", "error": f"{error}; check the path or endpoint and the network"}


def _operations(blobs: Blobs, own: str, shared: str, token: bytes | None, steps: list[str]) -> float:
    key, first, second = f"{own}/object", b"l3ae-dist doctor " + uuid.uuid4().bytes, b"second"

    def expect(step: str, call: Callable[[], object], wanted: object, otherwise: str) -> None:
        steps.append(step)
        if (found := call()) != wanted:
            raise WorkspaceError(f"{step} gave {found!r:.60}: {otherwise}")

    conditional = (
        "the store ignores conditions, which the lock needs; choose another store or a newer version"
    )
    changed = "the store does not give back what was written; choose another"
    elsewhere = "it is not what the client wrote; choose a path that all nodes share, or object storage"
    if token is not None:
        expect("read of the client's key", lambda: blobs.get(shared), token, elsewhere)
    before = time.time()
    expect("write if absent", lambda: blobs.put_if_absent(key, first), True, changed)
    after = time.time()
    modified = blobs.modified(key)
    expect("write if absent, again", lambda: blobs.put_if_absent(key, second), False, conditional)
    expect("read", lambda: blobs.get(key), first, changed)
    expect("read of a range", lambda: blobs.tail(key, 4), (len(first), first[-4:]), changed)
    expect("swap of what is there", lambda: blobs.replace_if(key, first, second), True, changed)
    expect("swap of what is not there", lambda: blobs.replace_if(key, first, first), False, conditional)
    expect("list", lambda: key in set(blobs.list(own)), True, changed)
    blobs.delete(key)
    expect("delete", lambda: blobs.get(key), None, changed)
    return 0.0 if modified is None else modified - (before + after) / 2


def store_rows(node: str, url: str, facts: Facts) -> list[Check]:
    """Judge what a probe of a store found: the store, and its clock.

    Parameters
    ----------
    node
        Name of the machine in the table.
    url
        Of the store.
    facts
        Result of :func:`probe_store`.
    """
    if "failed" in facts:
        return [of_error("store", WorkspaceError(facts["error"]), node=node, kind="store")]
    count, each = len(facts["steps"]), facts["seconds"] / len(facts["steps"]) * 1000
    text = f"{url}: {count} operations (write if absent, read, range, swap, list, delete), {each:.1f} ms each"
    skew = judge.clock(node, facts["ahead"], _STORE_TICK, what="store clock")
    return [Check("store", "ok", text, node=node, kind="store"), skew]


@dataclass(frozen=True)
class Place:
    """The place of the probes' keys: the workspace, or the nearest folder above it that is there."""

    url: str
    root: str
    prefix: str


def find_place(url: str, node: str) -> tuple[Place | None, list[Check]]:
    """Find where a workspace can be probed, with rows about what is there now and who holds it.

    Nothing is made. Without an answer, or where no workspace can be, there is no place.
    """
    try:
        return bounded(lambda: _find_place(url, node), _PROBE_SECONDS, f"the store {url}")
    except (L3AEError, OSError) as error:
        return None, [of_error("workspace", error, node=node, kind="store")]


def _find_place(url: str, node: str) -> tuple[Place | None, list[Check]]:
    from l3ae_dist.storage.workspace import Workspace

    blobs = open_blobs(url, patience=PATIENCE)
    root, prefix = blobs.url, f".l3ae-doctor-{uuid.uuid4().hex}"
    row = partial(Check, "workspace", node=node, kind="store")
    if blobs.get(layout.GROUP_HEADER) is not None:
        prefix = layout.probe(prefix.lstrip("."))
        holder = lock_holder(Workspace.open(url))
        if holder is None:
            rows = [row(status="ok", found=f"{root}, free")]
        else:
            text = f"{root} is in use by {holder.describe()}"
            rows = [row(status="warning", found=text, advice="wait for it; l3ae-dist watch shows it")]
    elif next(iter(blobs.list("")), None) is not None or Path(root).is_file():
        text = f"{root} is not empty and not a workspace"
        return None, [row(status="problem", found=text, advice="choose a new or empty location")]
    else:
        text = f"there is none yet at {root}"
        if isinstance(blobs, LocalBlobs):
            root = str(_nearest(blobs.root))
            text += f"; {root} is probed in its place" * (root != blobs.url)
        rows = [row(status="ok", found=text)]
    if isinstance(blobs, LocalBlobs):
        rows.append(judge.workspace_disk(node, disk_facts(root)))
    return Place(blobs.url, root, prefix), rows


@contextlib.contextmanager
def client_key(place: Place) -> Iterator[bytes | None]:
    """Write a key that every node must see, for the ``with`` block; yields None when that failed."""
    token = uuid.uuid4().bytes
    blobs = open_blobs(place.root, patience=PATIENCE)
    try:
        try:
            bounded(lambda: blobs.put(f"{place.prefix}/client", [token]), _PROBE_SECONDS, "the store")
        except (L3AEError, OSError):  # the client's own probe tells it
            yield None
        else:
            yield token
    finally:
        with contextlib.suppress(L3AEError, OSError):
            bounded(lambda: blobs.delete_prefix(place.prefix), _PROBE_SECONDS, "the store")


def _nearest(path: Path) -> Path:
    """The path or the first folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
