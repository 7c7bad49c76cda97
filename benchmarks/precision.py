"""Accuracy of float32 tiles on synthetic systems: by the arithmetic, and with a cheap refinement afterwards.

The refinement leaves P as it is and corrects, in float64, what a model keeps beside it: one step of Newton's
iteration for the diagonal, and one step of iterative refinement for Q. It prints relative errors against the
formulas in float64, for EASE and L3AE, as the rows of a table.
"""

import argparse

import numpy as np
from scipy import sparse

from l3ae_dist.data.synthetic import zipf_items
from l3ae_dist.errors import NotPositiveDefiniteError
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.inverse import InverseGraph, TriangularInverseGraph
from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.kernels import CpuKernels, apply_kernel
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.solve.certificate import probes, relative_residual

_PER_USER, _DIM, _REG_F = 20, 48, 1.0
KAPPAS = (1e3, 1e4, 1e5, 1e6, 1e7)


def refined_diagonal(p: Array, x: sparse.csr_matrix, ridge: float) -> Array:
    """Correct ``diag P`` by ``2 diag P - (|X p_j|^2 + ridge |p_j|^2)``, column by column; 2 nnz n flops."""
    image = x @ p
    return 2 * np.diag(p) - (np.einsum("uj,uj->j", image, image) + ridge * np.einsum("ij,ij->j", p, p))


def refined_cross(p: Array, q: Array, x: sparse.csr_matrix, f: Array, ridge: float) -> Array:
    """Correct ``Q = P F'`` by ``Q + P (F' - H Q)`` with ``H = X'X + ridge I``; 2 n^2 d flops."""
    return np.asarray(q + p @ (f.T - (x.T @ (x @ q) + ridge * q)))


def tile_inverse(gram: Array, ridge: float, tile: int, arithmetic: str) -> Array:
    """Invert ``G + ridge I`` by the tasks of the engine in memory, on tiles of float32.

    Parameters
    ----------
    gram
        (n, n) Gram matrix.
    ridge, tile
        Added to its diagonal, and rows of a tile.
    arithmetic
        Dtype that tiles are computed in.
    """
    grid, kernels = TileGrid(len(gram), tile), CpuKernels(arithmetic)
    lower = [(i, j) for i in range(grid.count) for j in range(i + 1)]
    tiles = {("gram", i, j): gram[grid.rows(i), grid.rows(j)].astype("float32") for i, j in lower}
    for graph in (CholeskyGraph(grid, ridge=ridge), TriangularInverseGraph(grid), InverseGraph(grid)):
        for task in graph.tasks():
            start, target = task.start, task.target
            acc = tiles[start.array, start.i, start.j].copy()
            handle = kernels.load(acc)
            for step, refs in task.actions():
                operands = (tiles[ref.array, ref.i, ref.j] for ref in refs)
                apply_kernel(kernels, step.kernel, handle, *operands, ridge=step.ridge)
            kernels.store(handle, acc)
            tiles[target.array, target.i, target.j] = acc
    p = np.zeros(gram.shape)
    for i, j in lower:
        p[grid.rows(i), grid.rows(j)] = tiles["P", i, j]
        p[grid.rows(j), grid.rows(i)] = tiles["P", i, j].T
    return p


def interactions(kind: str, n: int) -> sparse.csr_matrix:
    """Draw interactions: of fewer users than items, or of many with a few popular items."""
    items = zipf_items(n // 2 if kind == "few users" else 3 * n, _PER_USER, n, exponent=0.7)
    rows = np.repeat(np.arange(len(items)), _PER_USER)
    return sparse.csr_matrix((np.ones(items.size), (rows, items.ravel())), shape=(len(items), n))


def apart(found: Array, exact: Array) -> float:
    """Return the relative error in the Frobenius norm."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


class Truth:
    """The formulas in float64 for one system."""

    def __init__(self, x: sparse.csr_matrix, gram: Array, ridge: float) -> None:
        n = len(gram)
        self.x, self.ridge = x, ridge
        self.system = gram + ridge * np.eye(n)
        f = np.random.default_rng(0).standard_normal((_DIM, n))
        self.f = f / np.linalg.norm(f, axis=0)
        self.text = cf.semantic_factor(self.f, _REG_F)
        p = np.linalg.inv(self.system)
        self.p = p + p @ (np.eye(n) - self.system @ p)
        self.q = cf.cross(self.p, self.f)
        self.b = self.l3ae(self.p, np.diag(self.p), self.q)[0]

    def l3ae(self, p: Array, diagonal: Array, q: Array) -> tuple[Array, float]:
        """Compute B with reg_e half the ridge and a diagonal set to 0; and the largest entry that it had."""
        reg_e = self.ridge / 2
        pc = cf.product_diagonal(diagonal, self.text.a, q, self.text.v)
        b = cf.weights(p, q, self.text.v, cf.column_scale(diagonal, pc, self.text.a, reg_e), reg_e)
        left = float(np.abs(np.diag(b)).max())
        np.fill_diagonal(b, 0)
        return b, left

    def row(self, p: Array) -> list[float]:
        """Return residual, then before and after the refinement the errors of diag P, Q and B, and |B_jj|."""
        z = probes(len(p), 4)
        diagonal, q = np.diag(p), cf.cross(p, self.f).astype("float32").astype("float64")
        better, sharper = (
            refined_diagonal(p, self.x, self.ridge),
            refined_cross(p, q, self.x, self.f, self.ridge),
        )
        before, left = self.l3ae(p, diagonal, q)
        after, left_after = self.l3ae(p, better, sharper)
        exact = np.diag(self.p)
        return [
            relative_residual(self.system @ (p @ z), z),
            *(apart(diagonal, exact), apart(better, exact), apart(q, self.q), apart(sharper, self.q)),
            *(apart(before, self.b), apart(after, self.b), left, left_after),
        ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=2048)
    parser.add_argument("--tile", type=int, default=256)
    given = parser.parse_args()
    pairs = [name for figure in ("diag P", "Q", "B", "largest B_jj") for name in (figure, "refined")]
    heads = ["system", "condition estimate", "condition", "arithmetic", "residual", *pairs]
    print("|", " | ".join(heads), "|\n|" + "---|" * len(heads))
    for kind in ("few users", "many users"):
        x = interactions(kind, given.items)
        gram = (x.T @ x).toarray()
        values = np.linalg.eigvalsh(gram)
        for kappa in KAPPAS:
            ridge = values[-1] / (kappa - 1)
            truth, condition = Truth(x, gram, ridge), (values[-1] + ridge) / (max(values[0], 0.0) + ridge)
            for arithmetic in ("float32", "float64"):
                try:
                    figures = truth.row(tile_inverse(gram, ridge, given.tile, arithmetic))
                except NotPositiveDefiniteError:
                    figures = [float("nan")] * 9
                cells = (kind, f"{kappa:.0e}", f"{condition:.0e}", arithmetic, *(f"{v:.1e}" for v in figures))
                print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
