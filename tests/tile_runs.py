"""Tile arrays of a small system in a workspace, and its stages run one after the other."""

from dataclasses import replace

import numpy as np

from l3ae_dist.graphs.blocks import SINGLE
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.inverse import InverseGraph, TriangularInverseGraph
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.runtime.executors import SerialExecutor
from l3ae_dist.runtime.run_graph import run_graph
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.workspace import Workspace

NAMES = ("gram", "L", "Linv", "P")


def spd(n, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, 2 * n))
    return x @ x.T / n


def write_lower(array, matrix):
    b = array.chunks[0]
    for i in range(array.grid[0]):
        for j in range(i + 1):
            array.write(i, j, matrix[i * b : (i + 1) * b, j * b : (j + 1) * b])


def read_lower(array):
    full = np.zeros(array.shape)
    b = array.chunks[0]
    for i in range(array.grid[0]):
        for j in range(i + 1):
            full[i * b : (i + 1) * b, j * b : (j + 1) * b] = array.read(i, j)
    return full


def setup(tmp_path, matrix, tile, dtype):
    ws = Workspace.create(tmp_path / "w")
    n = len(matrix)
    arrays = {
        name: ChunkArray.create(
            ws, name, shape=(n, n), chunks=(tile, tile), dtype="float64" if name == "gram" else dtype
        )
        for name in NAMES
    }
    write_lower(arrays["gram"], matrix)
    context = StageContext(
        url=ws.url,
        paths={name: name for name in NAMES},
        grid=TileGrid(n, tile),
        dtype=dtype,
        cache_bytes=3 * tile * tile * 8,
    )
    return arrays, context


def run_all(context, ridge=1.0, workers=1, block=SINGLE):
    context = replace(context, accumulators=block.tiles + 1)
    executor, grid = SerialExecutor(), context.grid
    factor = CholeskyGraph(grid, workers, ridge, block)
    linv = TriangularInverseGraph(grid, workers, block)
    for name in (*factor.partials, *linv.partials):
        n, tile = grid.n, grid.tile
        ChunkArray.create(context.workspace(), name, shape=(n, n), chunks=(tile, tile), dtype=context.dtype)
        context.paths[name] = name
    return [
        run_graph(factor, context, executor, targets={"L", *factor.partials}),
        run_graph(linv, context, executor, targets={"Linv", *linv.partials}),
        run_graph(InverseGraph(grid, workers, block), context, executor, targets={"P"}),
    ]
