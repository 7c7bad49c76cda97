"""Tiles through a real S3 server on the loopback against the local store, in MB/s.

The server is a test server in Python, so its figures say what the client path costs, not what a cloud
delivers; both stores are read and written by the same code, one tile at a time.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
from report import row

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from object_store import s3_server

from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace

SIDE, TILES, MB = 2048, 6, 1e6


def rates(url: str) -> tuple[float, float]:
    """Measure MB/s of writing and of reading tiles of 16 MiB, checksums included; medians."""
    shape = (SIDE * TILES, SIDE)
    array = ChunkArray.create(Workspace.create(url), "a", shape=shape, chunks=(SIDE, SIDE), dtype="float32")
    block = np.random.default_rng(0).standard_normal((SIDE, SIDE), dtype=np.float32)
    buffer = array.buffer()

    def seconds(work: Callable[[int], Any]) -> float:
        taken = []
        for i in range(TILES):
            started = time.perf_counter()
            work(i)
            taken.append(time.perf_counter() - started)
        return median(taken)

    write = seconds(lambda i: array.write(i, 0, block))
    read = seconds(lambda i: array.read(i, 0, buffer))
    return block.nbytes / MB / write, block.nbytes / MB / read


def rows() -> list[dict[str, Any]]:
    """Measure writing and reading, S3 beside local files."""
    with tempfile.TemporaryDirectory(prefix="l3ae-store-") as folder:
        local = rates(f"{folder}/w")
    with s3_server() as environment, patch.dict("os.environ", environment):
        remote = rates("s3://bucket/w")
    return [
        row(
            f"{what} tiles of 16 MiB: S3 test server on the loopback, against local files", ours, "MB/s", peer
        )
        for what, ours, peer in zip(("writing", "reading"), remote, local, strict=True)
    ]


if __name__ == "__main__":
    for line in rows():
        print(f"{line['name']}: {line['ours']:.0f} {line['unit']}, local {line['peer']:.0f}")
