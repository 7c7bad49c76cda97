"""Two workers whose workspace is an object store with 100 MB/s for both of them together.

The store is the S3 server of the tests, behind a proxy that lets so many bytes a second through in all, of
both directions. ``python benchmarks/cluster_throttled.py PORT BYTES_S`` is that proxy.
"""

import contextlib
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from engine_runs import BUDGET
from report import row
from tile_solve import Solved, tile_solve

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from object_store import s3_server

from l3ae_dist.storage.chunks import TRAILER

N, TILE, BYTES_S, MB = 12_288, 1024, 100e6, 1e6
FASTER, OVER_COMPULSORY = 2.0, 1.3
_AT_ONCE = 64 * 1024


class Throttle:
    """Lets so many bytes a second through, of all who ask."""

    def __init__(self, bytes_s: float) -> None:
        self._bytes_s = bytes_s
        self._free = time.monotonic()
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> None:
        """Wait until so many bytes more may pass."""
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now) + nbytes / self._bytes_s
            wait = self._free - now
        time.sleep(wait)


def proxy(port: int, bytes_s: float) -> None:
    """Listen at a free port, print it, and hand on what comes to another port until this process is ended."""
    throttle = Throttle(bytes_s)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            ours, _ = server.accept()
            threading.Thread(target=_hand_on, args=(ours, port, throttle), daemon=True).start()


def _hand_on(ours: socket.socket, port: int, throttle: Throttle) -> None:
    with ours, socket.create_connection(("127.0.0.1", port)) as theirs, contextlib.suppress(OSError):
        other = {ours: theirs, theirs: ours}
        while True:
            for source in select.select([ours, theirs], [], [])[0]:
                data = source.recv(_AT_ONCE)
                if not data:
                    return
                throttle.take(len(data))
                other[source].sendall(data)


@contextlib.contextmanager
def throttled_store(bytes_s: float) -> Iterator[dict[str, str]]:
    """Start the server and the proxy; yields the environment of their clients."""
    with s3_server() as environment:
        port = urlsplit(environment["AWS_ENDPOINT_URL"]).port
        command = [sys.executable, __file__, str(port), str(bytes_s)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                url = f"http://127.0.0.1:{int(process.stdout.readline())}"
                yield {**environment, "AWS_ENDPOINT_URL": url}
            finally:
                process.kill()


def compulsory_bytes(solved: Solved) -> int:
    """Return the bytes of the tiles that must be read once: Gram, and at most L and Linv."""
    grid = solved.plan.grid
    return 3 * grid.lower_count * (4 * grid.tile**2 + TRAILER)


def rows(n: int = N, tile: int = TILE, bytes_s: float = BYTES_S) -> list[dict[str, Any]]:
    """Measure peers and blocks against neither of them, through the same throttled store."""
    with throttled_store(bytes_s) as environment, patch.dict("os.environ", environment):
        given: dict[str, Any] = {"memory_budget": BUDGET, "workers": 2, "threads": 1, "tile": tile}
        alone = tile_solve(n, url="s3://bucket/alone", peer_reads=False, block=1, **given)
        ours = tile_solve(n, url="s3://bucket/peers", **given)
    read, peers, before = (
        sum(getattr(stage, name) for stage in solved.stages.values())
        for solved, name in ((ours, "bytes_read"), (ours, "bytes_from_peers"), (alone, "bytes_read"))
    )
    what = f"n = {n}, tiles of {tile}, 2 workers, S3 with {bytes_s / MB:.0f} MB/s in all"
    against = "against peer_reads off and block 1"
    return [
        row(
            f"factor + invert, {what}: {against}",
            ours.seconds, "s", alone.seconds, target=FASTER, faster=True,
        ),
        row(
            f"bytes read from the store over the compulsory (Gram, L and Linv once each), {what}",
            read / compulsory_bytes(ours), "", target=OVER_COMPULSORY, smaller=True,
        ),
        row(f"bytes read from the store, {what}: {against}", read / 1e9, "GB", before / 1e9),
        row(f"bytes read from peers, {what}", peers / 1e9, "GB"),
        row(f"residual of the inverse, {what}: {against}", ours.residual or 0.0, "", alone.residual),
    ]  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 1:
        proxy(int(sys.argv[1]), float(sys.argv[2]))
    for line in rows():
        print(line)
