"""Tiles and done-marks on local files."""

import tempfile

import numpy as np

from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace


class Tiles:
    """One tile with its checksum and done-mark."""

    params = ([256, 1024], ["float32", "float64"])
    param_names = ("tile", "dtype")

    def setup(self, tile: int, dtype: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="l3ae-asv-")
        workspace = Workspace.create(f"{self.folder.name}/w")
        self.array = ChunkArray.create(workspace, "a", shape=(tile, tile), chunks=(tile, tile), dtype=dtype)
        self.block = np.random.default_rng(0).standard_normal((tile, tile)).astype(dtype)
        self.array.write(0, 0, self.block)
        self.buffer = self.array.buffer()

    def teardown(self, tile: int, dtype: str) -> None:
        self.folder.cleanup()

    def time_write(self, tile: int, dtype: str) -> None:
        self.array.write(0, 0, self.block)

    def time_read(self, tile: int, dtype: str) -> None:
        self.array.read(0, 0, self.buffer)

    def time_find_mark(self, tile: int, dtype: str) -> None:
        self.array.find_mark(0, 0)

    def peakmem_read(self, tile: int, dtype: str) -> None:
        self.array.read(0, 0, self.buffer)


class Marks:
    """All done-marks of an array from one listing."""

    params = ([32, 256],)
    param_names = ("chunks",)

    def setup(self, chunks: int) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="l3ae-asv-")
        workspace = Workspace.create(f"{self.folder.name}/w")
        self.array = ChunkArray.create(workspace, "a", shape=(chunks, 1), chunks=(1, 1), dtype="float32")
        for i in range(chunks):
            self.array.write(i, 0, np.ones((1, 1), np.float32))

    def teardown(self, chunks: int) -> None:
        self.folder.cleanup()

    def time_done(self, chunks: int) -> None:
        self.array.done()

    def track_done(self, chunks: int) -> int:
        return len(self.array.done())

    track_done.unit = "marks"
