"""GF-CF: the normalised Gram matrix in tiles, and its first singular vectors through dask_ml.

``N = D_u^-1/2 X D^-1/2``; users and items without interactions have a zero row or column, not a division
by zero. Shen et al., "How powerful is graph convolution for recommendation?", CIKM 2021.
"""

from typing import Any

import numpy as np
from scipy import sparse

from l3ae_dist.config.members import ModelSpec
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.graphs.gram import GramParams, gram_graph
from l3ae_dist.graphs.head import Head, MatrixTerm, ProductTerm
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.closed_form import inverse_root
from l3ae_dist.solve.solver import Solver
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.vectors import Vector, write_vector
from l3ae_dist.storage.workspace import Workspace

_USERS = 65536
_BLOCK_BYTES = 32 * 2**20
# Randomised SVD with power iterations: each one sharpens the spectrum (Halko, Martinsson, Tropp, 2011).
_ITERATIONS = 6
# What the residual of the singular vectors may be: the filter is a choice of rank, not a solution.
_TOLERANCE = 0.05


def spectral_head(solver: Solver, spec: ModelSpec) -> Head:
    """``B = N'N + alpha D^-1/2 V V' D^1/2``."""
    roots = _roots(solver)
    base = _vectors(solver, spec.rank, roots)
    products = (ProductTerm(f"{base}/left", f"{base}/right", spec.alpha, "collaborative"),)
    return Head(spec.name, (MatrixTerm(_gram(solver, roots), 1.0),), products, 0.0)


def spectral_certificate(solver: Solver, spec: ModelSpec) -> dict[str, Any]:
    """``||N'N V - V S^2|| / ||V S^2||`` of the singular vectors, measured when they were made."""
    stage = solver.workspace.require_stage(Stage.SPECTRAL, _base(solver, spec.rank).rpartition("/")[2])
    return dict(stage["stats"])


def gram_path(solver: Solver) -> str:
    """Where the tiles of ``N'N`` are."""
    parts = ["normalised", solver.dataset.id, solver.plan.grid.tile, solver.plan.dtype]
    return f"grams/{fingerprint(parts)}"


def _roots(solver: Solver) -> str:
    """``D_u^-1/2`` and ``D^-1/2`` as vectors; returns their folder. O(nnz)."""
    dataset, base = solver.dataset, f"roots/{solver.dataset.id}"
    if solver.workspace.stage_done(Stage.ROOTS, dataset.id) is None:
        users, items = np.zeros(dataset.n_users), np.zeros(dataset.n_items)
        for start in range(0, dataset.n_users, _USERS):
            rows = dataset.user_rows("train", start, min(start + _USERS, dataset.n_users)).astype(np.float64)
            users[start : start + _USERS] = np.asarray(rows.sum(axis=1)).ravel()
            items += np.asarray(rows.sum(axis=0)).ravel()
        write_vector(solver.workspace, f"{base}/users", inverse_root(users))
        write_vector(solver.workspace, f"{base}/items", inverse_root(items))
        solver.workspace.mark_stage(Stage.ROOTS, dataset.id, {}, {})
    return base


def _gram(solver: Solver, roots: str) -> str:
    """``N'N``, lower tiles; returns its path."""
    path = gram_path(solver)
    identifier = path.rpartition("/")[2]
    if solver.workspace.stage_done(Stage.GRAM, identifier) is None:
        solver.tiles(path, solver.plan.dtype)
        context = solver.context({"gram": path}, GramParams(solver.dataset.id, roots=roots))
        stats = solver.run(gram_graph(solver.plan.grid), context, {"gram"}, Stage.GRAM)
        solver.workspace.mark_stage(Stage.GRAM, identifier, {"dataset": solver.dataset.id}, vars(stats))
    return path


def _base(solver: Solver, rank: int) -> str:
    return f"{Stage.SPECTRAL}/{fingerprint([solver.dataset.id, solver.plan.grid.tile, rank, _ITERATIONS])}"


def _vectors(solver: Solver, rank: int, roots: str) -> str:
    """``D^-1/2 V`` and ``D^1/2 V``, n x rank by item tile; returns their folder."""
    base = _base(solver, rank)
    identifier = base.rpartition("/")[2]
    if solver.workspace.stage_done(Stage.SPECTRAL, identifier) is not None:
        return base
    v, values = _truncated_svd(solver, rank, roots)
    root = Vector(solver.workspace, f"{roots}/items")[:]
    for name, scale in (("left", root), ("right", inverse_root(root) ** 2)):
        array = solver.rows(f"{base}/{name}", v.shape[1])
        for i in range(solver.plan.grid.count):
            rows = solver.plan.grid.rows(i)
            array.write(i, 0, v[rows] * scale[rows, None], epoch=solver.epoch)
    stats = {
        "residual": _residual(solver, v, values, roots),
        "tolerance": _TOLERANCE,
        "condition": float(values[0] / values[-1]) if len(values) else 1.0,
        "dtype": "float64",
        "ridge": 0.0,
    }
    solver.workspace.mark_stage(Stage.SPECTRAL, identifier, {"rank": rank, "base": base}, stats)
    return base


def _truncated_svd(solver: Solver, rank: int, roots: str) -> tuple[Array, Array]:
    """Right singular vectors (n, at most rank) and values; those of value zero are left out."""
    import dask
    import dask.array as da
    from dask_ml.decomposition import TruncatedSVD

    dataset = solver.dataset
    rows = max(1, _BLOCK_BYTES // (8 * dataset.n_items))
    make = dask.delayed(_dense_rows, pure=True)
    blocks = [
        da.from_delayed(
            make(solver.workspace.url, dataset.id, roots, start, min(start + rows, dataset.n_users)),
            shape=(min(rows, dataset.n_users - start), dataset.n_items),
            dtype=np.float64,
        )
        for start in range(0, dataset.n_users, rows)
    ]
    most = min(rank, dataset.n_items - 1, dataset.n_users)
    if most < 1:
        return np.zeros((dataset.n_items, 1)), np.zeros(1)
    svd = TruncatedSVD(most, algorithm="randomized", n_iter=_ITERATIONS, random_state=0)
    client = getattr(solver.executor, "client", None)
    with dask.config.set(scheduler="synchronous" if client is None else client.get):
        svd.fit(da.concatenate(blocks))
    values = np.asarray(svd.singular_values_)
    keep = values > 1e-9 * values[0]
    return np.asarray(svd.components_)[keep].T, values[keep]


def _dense_rows(url: str, dataset: str, roots: str, start: int, stop: int) -> Array:
    """Rows of N as a dense block."""
    return np.asarray(normalised_rows(Workspace.open(url), dataset, roots, start, stop).toarray())


def normalised_rows(
    workspace: Workspace, dataset: str, roots: str, start: int, stop: int
) -> sparse.csr_matrix:
    """Rows ``start`` to ``stop`` of ``N = D_u^-1/2 X D^-1/2``, float64."""
    rows = Dataset(workspace, dataset).user_rows("train", start, stop).astype(np.float64)
    users = Vector(workspace, f"{roots}/users")[start:stop]
    items = Vector(workspace, f"{roots}/items")[:]
    rows.data *= np.repeat(users, np.diff(rows.indptr)) * items[rows.indices]
    return rows


def _residual(solver: Solver, v: Array, values: Array, roots: str) -> float:
    image = np.zeros_like(v)
    dataset = solver.dataset
    for start in range(0, dataset.n_users, _USERS):
        stop = min(start + _USERS, dataset.n_users)
        rows = normalised_rows(solver.workspace, dataset.id, roots, start, stop)
        image += rows.T @ (rows @ v)
    norm = float(np.linalg.norm(values**2))
    return float(np.linalg.norm(image - v * values**2)) / norm if norm else 0.0
