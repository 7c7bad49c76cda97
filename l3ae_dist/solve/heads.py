"""How each member of the family is made of inverses, features and vectors: its systems and its head.

Woodbury route: ``C = diag(a) + F' V``, so C costs a d x d inverse. Direct route: ``C = I - P1 diag(1 / d1)``
from the tiles of ``P1 = (F'F + reg_f I)^-1`` with diagonal d1. The equations are in docs/mathematics.
"""

from dataclasses import asdict
from typing import Any

import numpy as np

from l3ae_dist.config.members import ADDITIVE, COLLECTIVE, ModelSpec
from l3ae_dist.data.features import features_times, open_rows, squared_norms
from l3ae_dist.data.systems import System, semantic_system, spectrum, systems_of
from l3ae_dist.errors import NumericalError
from l3ae_dist.graphs.assemble import diagonal_rows
from l3ae_dist.graphs.head import Head, MatrixTerm, Parts, ProductTerm, head_pairs
from l3ae_dist.graphs.semantic import product_graph
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.closed_form import column_slope, product_column_scale
from l3ae_dist.linalg.spectral import certificate_tolerance, condition_number
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.solve.solver import Factor, Solver
from l3ae_dist.solve.spectral_filter import spectral_certificate, spectral_head
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage

_PROBES = 2
# What rounding leaves of the diagonal of B where the system is well conditioned, in units of eps.
_DIAGONAL_EPS = 1000


def make_head(solver: Solver, spec: ModelSpec) -> Head:
    """Make what the model still needs and say what its scores are the sum of."""
    store = _Vectors(solver, spec)
    if spec.name == "TextSimilarity":
        path, _ = solver.features()
        norms = squared_norms(open_rows(solver.workspace, path))
        return Head(spec.name, (), (ProductTerm(path, path),), store("diagonal", -norms))
    if spec.name == "GFCF":
        return spectral_head(solver, spec)
    if spec.name in COLLECTIVE:
        factor = solver.inverse(spec.ridge, System(True, solver.embedding, spec.alpha))
        return Head(spec.name, (_ratio(solver, factor, store, 1.0),))
    if spec.name == "EASEText":
        return _additive(solver, spec, store, 1.0)
    if spec.name in ADDITIVE:
        return _additive(solver, spec, store, spec.alpha)
    factor = solver.inverse(spec.ridge)
    if not spec.with_semantics:
        return Head(spec.name, (_ratio(solver, factor, store, 1.0),))
    return _l3ae(solver, spec, factor, store)


def _l3ae(solver: Solver, spec: ModelSpec, factor: Factor, store: "_Vectors") -> Head:
    """``B = P diag(c) + reg_e Q V + I``."""
    reg_f = float(spec.reg_f or 0.0)
    if solver.route == "direct":
        return _l3ae_direct(solver, spec, factor, store)
    c = store("c", solver.column_scale(factor, reg_f, spec.reg_e))
    product = ProductTerm(solver.cross(factor), f"{solver.semantic(reg_f)}/V", spec.reg_e)
    return Head(spec.name, (MatrixTerm(factor.path, c),), (product,))


def _l3ae_direct(solver: Solver, spec: ModelSpec, factor: Factor, store: "_Vectors") -> Head:
    """``B = P diag(c) + reg_e (P C) + I``."""
    path, pc = _product(solver, factor, float(spec.reg_f or 0.0))
    c = store("c", product_column_scale(solver.vector(solver.diagonal(factor)), pc, spec.reg_e))
    return Head(
        spec.name,
        (MatrixTerm(factor.path, c), MatrixTerm(path, spec.reg_e, "semantic", symmetric=False)),
    )


def slope_head(solver: Solver, ridge: float, reg_f: float) -> Head:
    """What L3AE's scores gain per unit of reg_e: at one ridge they are EASE's plus reg_e times these."""
    factor = solver.inverse(ridge)
    store = _Vectors(solver, ModelSpec("L3AE", ridge, reg_f))
    diagonal = solver.vector(solver.diagonal(factor))
    if solver.route == "direct":
        path, pc = _product(solver, factor, reg_f)
        scale = store("slope", column_slope(diagonal, pc, 0.0))
        product = MatrixTerm(path, 1.0, "semantic", symmetric=False)
        return Head("L3AE", (MatrixTerm(factor.path, scale), product), (), 0.0)
    semantic = solver.semantic(reg_f)
    a = solver.vector(f"{semantic}/a")
    pc = solver.vector(solver.product_diagonal(factor, reg_f))
    scale = store("slope", column_slope(diagonal, pc, a))
    low_rank = ProductTerm(solver.cross(factor), f"{semantic}/V")
    return Head("L3AE", (MatrixTerm(factor.path, scale),), (low_rank,), 0.0)


def _product(solver: Solver, factor: Factor, reg_f: float) -> tuple[str, Array]:
    """Path of the tiles of ``P C``, and its diagonal."""
    semantic = solver.inverse(reg_f, semantic_system(solver.embedding))
    path = make_product(solver, factor, semantic)
    diagonal = solver.row_stage(f"{path}-diagonal", 1, diagonal_rows, {"P": path}, "float64")
    return path, solver.vector(diagonal)


def product_path(factor: Factor, semantic: Factor) -> str:
    """Where ``P C`` is or would be."""
    return f"crosses/{factor.id}/{semantic.id}/PC"


def make_product(solver: Solver, factor: Factor, semantic: Factor) -> str:
    """``P C`` in n x n tiles (direct route), 2 n^3 flops; returns its path."""
    path = product_path(factor, semantic)
    identifier = fingerprint(path)
    if solver.workspace.stage_done(Stage.ASSEMBLE, identifier) is None or not solver.workspace.has(path):
        solver.tiles(path, solver.plan.dtype)
        paths = {"P": factor.path, "P1": semantic.path, "diagonal": solver.diagonal(semantic)}
        context = solver.context({**paths, "product": path})
        stats = solver.run(product_graph(solver.plan.grid), context, {"product"}, "product")
        solver.workspace.mark_stage(Stage.ASSEMBLE, identifier, {"path": path}, vars(stats))
    return path


def _additive(solver: Solver, spec: ModelSpec, store: "_Vectors", alpha: float) -> Head:
    """``(1 - alpha) B_ease + alpha C``; C alone when alpha is 1 and the model has no interactions."""
    matrices: tuple[MatrixTerm, ...] = ()
    if spec.with_interactions:
        matrices = (_ratio(solver, solver.inverse(spec.ridge), store, 1.0 - alpha),)
    if solver.route == "direct":
        factor = solver.inverse(float(spec.reg_f or 0.0), semantic_system(solver.embedding))
        return Head(spec.name, (*matrices, _ratio(solver, factor, store, alpha)))
    semantic = solver.semantic(float(spec.reg_f or 0.0))
    a = solver.vector(f"{semantic}/a")
    ones = (1.0 - alpha) if matrices else 0.0
    product = ProductTerm(solver.features()[0], f"{semantic}/V", alpha)
    return Head(spec.name, matrices, (product,), store("diagonal", ones + alpha * a))


def _ratio(solver: Solver, factor: Factor, store: "_Vectors", weight: float) -> MatrixTerm:
    """``weight (I - P diag(1 / diag(P)))`` without its identity."""
    semantic = not factor.system.interactions
    diagonal = solver.vector(solver.diagonal(factor))
    scale = store("c1" if semantic else "c", -weight / diagonal)
    return MatrixTerm(factor.path, scale, "semantic" if semantic else "collaborative")


class _Vectors:
    """Stores the n-vectors of one model."""

    def __init__(self, solver: Solver, spec: ModelSpec) -> None:
        self._solver = solver
        parts = [solver.base(spec.ridge), solver.embedding if spec.with_features else None, asdict(spec)]
        self._base = f"models/{fingerprint([*parts, solver.route])}"

    def __call__(self, name: str, values: Array) -> str:
        """Write an n x 1 array; returns its path."""
        path = f"{self._base}/{name}"
        array = self._solver.rows(path, 1)
        for i in range(array.grid[0]):
            array.write(i, 0, values[self._solver.plan.grid.rows(i), None])
        return path


def certificate(solver: Solver, spec: ModelSpec, head: Head) -> dict[str, Any]:
    """The certificate of a model: that of its least certain system, and the largest ``|B_jj|``.

    The diagonal of B is 0 in exact arithmetic and a sum of large terms as computed, so that an error in
    any of Q, V, c or P shows. It is relative to the largest term.

    Raises
    ------
    NumericalError
        When the diagonal is over the tolerance.
    """
    if spec.name == "GFCF":
        return spectral_certificate(solver, spec)
    found = _system_certificate(solver, spec)
    value = diagonal_error(head, Parts(solver.workspace), solver.plan.grid)
    tolerance = max(float(found["tolerance"]), _DIAGONAL_EPS * float(np.finfo(solver.plan.dtype).eps))
    if not value <= tolerance:
        raise NumericalError(
            f"the diagonal of {spec.name} is {value:.2e} where it must be 0, over the tolerance "
            f"{tolerance:.2e}; use dtype float64 or a larger ridge."
        )
    return {**found, "diagonal": value, "diagonal_tolerance": tolerance}


def diagonal_error(head: Head, parts: Parts, grid: TileGrid) -> float:
    """The largest ``|B_jj|``, relative to its largest term (at least 1); reads the diagonal tiles once."""
    worst, largest = 0.0, 1.0
    for i in range(grid.count):
        rows = np.arange(grid.rows(i).start, grid.rows(i).stop)
        entries = head_pairs(head, parts, grid, rows, rows)
        collaborative, semantic = entries["collaborative"], entries["semantic"]
        worst = max(worst, float(np.abs(collaborative + semantic).max()))
        largest = max(largest, float(np.abs(semantic).max()))
    return worst / largest


def _system_certificate(solver: Solver, spec: ModelSpec) -> dict[str, Any]:
    """The certificate of the least certain system of a model; a model that solves none is exact."""
    systems = systems_of(spec, solver.embedding, solver.route)
    found = [solver.inverse(ridge, system).certificate for ridge, system in systems]
    if spec.name == "EASEText" and not found:
        found = [_semantic_certificate(solver, float(spec.reg_f or 0.0))]
    if not found:
        found = [
            {"residual": 0.0, "tolerance": 0.0, "condition": 1.0, "dtype": solver.plan.dtype, "ridge": 0.0}
        ]
    return max(found, key=lambda c: c["residual"] / (c["tolerance"] or 1.0))


def _semantic_certificate(solver: Solver, reg_f: float) -> dict[str, Any]:
    """``||(F'F + reg_f I) P1 z - z|| / ||z||`` with ``P1 z = (z - F' M F z) / reg_f``; M is held, d x d."""
    path = solver.features()[0]
    rows = open_rows(solver.workspace, path)
    m = ChunkArray.open(solver.workspace, f"{solver.semantic(reg_f)}/M").read(0, 0)
    z = np.random.default_rng(0).standard_normal((rows.shape[0], _PROBES))
    y = (z - features_times(rows, z, middle=m)) / reg_f
    residual = features_times(rows, y) + reg_f * y - z
    relative = float((np.linalg.norm(residual, axis=0) / np.linalg.norm(z, axis=0)).max())
    kappa = condition_number(
        spectrum(solver.workspace, solver.dataset, semantic_system(solver.embedding)), reg_f
    )
    tolerance = certificate_tolerance("float64", kappa)
    return {
        "residual": relative,
        "tolerance": tolerance,
        "condition": kappa,
        "dtype": "float64",
        "ridge": reg_f,
    }


def model_arrays(solver: Solver, spec: ModelSpec, head: Head) -> dict[str, str | None]:
    """Arrays of a model that calls and tools know by name; None for those that it does not have."""
    arrays: dict[str, str | None] = {"gram": None, "P": None, "c": None, "Q": None, "V": None}
    systems = systems_of(spec, solver.embedding, solver.route)
    if systems:
        ridge, system = systems[0]
        arrays["gram"] = f"grams/{solver.gram_name(system)[0]}"
        arrays["P"] = solver.factor(ridge, system).path
    if spec.name == "GFCF":
        arrays["gram"] = head.matrices[0].path
    if head.matrices and isinstance(head.matrices[0].scale, str):
        arrays["c"] = head.matrices[0].scale
    if spec.with_semantics and solver.route == "woodbury":
        product = head.products[0]
        arrays["V"] = product.right
        arrays["M"] = product.right.removesuffix("/V") + "/M"
        if spec.name == "L3AE":
            arrays["Q"] = product.left
    if spec.with_semantics and solver.route == "direct":
        arrays["P1"] = solver.factor(float(spec.reg_f or 0.0), semantic_system(solver.embedding)).path
    if spec.with_features:
        arrays["F"] = layout.features(str(solver.embedding))
    return arrays
