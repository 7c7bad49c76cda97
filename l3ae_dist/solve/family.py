"""The members of the family: which inverses, features and vectors each is made of, and their certificates.

The equations are in docs/mathematics.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from l3ae_dist.config.members import ADDITIVE, COLLECTIVE, ModelSpec, Route
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import squared_norms
from l3ae_dist.data.linear_systems import System, systems_of
from l3ae_dist.errors import NumericalError
from l3ae_dist.graphs.score_terms import MatrixTerm, ProductTerm, ScoreTerms, TermArrays
from l3ae_dist.graphs.weight_entries import weight_entries
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.closed_form import column_scale, column_slope, product_column_scale
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.solve.artifact_store import ArtifactStore
from l3ae_dist.solve.certificate import Certificate, exact
from l3ae_dist.solve.factorisation import Factor, Factorisation
from l3ae_dist.solve.semantic_phase import SemanticPhase
from l3ae_dist.solve.spectral_filter import SpectralFilter
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.layout import SemanticPaths

# Diagonal of B that rounding leaves where the system is well conditioned, in units of eps.
_DIAGONAL_EPS = 1000


@dataclass(frozen=True, slots=True)
class _Product:
    """``P C``: its diagonal ``pc``, the ``a`` of C (0 on the direct route), and its term in the scores."""

    pc: Array
    a: Array | None
    term: MatrixTerm | ProductTerm


class Family:
    """Makes the models of one dataset and one set of item features.

    Parameters
    ----------
    store
        Where artifacts are made.
    dataset
        Interactions and items.
    embedding
        Id of the item features, None for models without text.
    route
        Of the semantic phase: ``"woodbury"`` or ``"direct"``.
    """

    def __init__(self, store: ArtifactStore, dataset: Dataset, embedding: str | None, route: Route) -> None:
        self.dataset = dataset
        self.embedding = embedding
        self.route = route
        self._store = store
        self._factorisation = Factorisation(store, dataset)
        self._filter = SpectralFilter(store, dataset)

    @property
    def _semantics(self) -> SemanticPhase:
        return SemanticPhase(self._store, self._factorisation, self.dataset, str(self.embedding))

    def identity(self, ridge: float) -> list[object]:
        """Return what the models of one ridge share and depend on, for fingerprints."""
        return [self._factorisation.factor(ridge).paths.base, self.embedding, self.route]

    def systems(self, spec: ModelSpec) -> tuple[tuple[float, System], ...]:
        """Return ridge and matrix of every n x n system that a model inverts."""
        return systems_of(spec, self.embedding, self.route)

    # ---- what a model's scores are the sum of

    def terms(self, spec: ModelSpec) -> ScoreTerms:
        """Make everything that a model still needs, and return the terms of its scores."""
        vectors = self._vectors(spec)
        if spec.name == "TextSimilarity":
            features = self._semantics
            norms = squared_norms(features.features())
            term = ProductTerm(features.features_path, features.features_path)
            return ScoreTerms(spec.name, (), (term,), vectors.write("diagonal", -norms))
        if spec.name == "GFCF":
            return self._filter.terms(spec)
        if spec.name in COLLECTIVE:
            system = System(True, self.embedding, spec.alpha)
            factor = self._factorisation.inverse(spec.ridge, system)
            return ScoreTerms(spec.name, (self._ratio(factor, vectors, 1.0),))
        if spec.name == "EASEText":
            return self._additive(spec, vectors, 1.0)
        if spec.name in ADDITIVE:
            return self._additive(spec, vectors, spec.alpha)
        if not spec.with_semantics:
            factor = self._factorisation.inverse(spec.ridge)
            return ScoreTerms(spec.name, (self._ratio(factor, vectors, 1.0),))
        return self._l3ae(spec, vectors)

    def slope_terms(self, ridge: float, reg_f: float) -> ScoreTerms:
        """Make the gain of L3AE's scores per unit of reg_e, in which they are linear at one ridge."""
        factor = self._factorisation.inverse(ridge)
        product = self._product(factor, reg_f, 1.0)
        slope = column_slope(self._diagonal(factor), product.pc, 0.0 if product.a is None else product.a)
        scale = self._vectors(ModelSpec("L3AE", ridge, reg_f)).write("slope", slope)
        return _sum_of("L3AE", MatrixTerm(factor.path, scale), product.term, 0.0)

    def _l3ae(self, spec: ModelSpec, vectors: "_Vectors") -> ScoreTerms:
        """``B = P diag(c) + reg_e Q V + I``, on the direct route ``B = P diag(c) + reg_e (P C) + I``."""
        factor = self._factorisation.inverse(spec.ridge)
        product = self._product(factor, float(spec.reg_f or 0.0), spec.reg_e)
        diagonal = self._diagonal(factor)
        if product.a is None:
            c = product_column_scale(diagonal, product.pc, spec.reg_e)
        else:
            c = column_scale(diagonal, product.pc, product.a, spec.reg_e)
        return _sum_of(spec.name, MatrixTerm(factor.path, vectors.write("c", c)), product.term, 1.0)

    def _product(self, factor: Factor, reg_f: float, weight: float) -> _Product:
        semantics = self._semantics
        if self.route == "direct":
            path, pc = semantics.product(factor, reg_f)
            return _Product(pc, None, MatrixTerm(path, weight, "semantic", symmetric=False))
        woodbury = semantics.woodbury(reg_f)
        a = self._store.vector(woodbury.a)
        pc = self._store.vector(semantics.product_diagonal(factor, reg_f))
        return _Product(pc, a, ProductTerm(semantics.cross(factor), woodbury.v, weight))

    def _additive(self, spec: ModelSpec, vectors: "_Vectors", alpha: float) -> ScoreTerms:
        """``(1 - alpha) B_ease + alpha C``; C alone when alpha is 1 and the model has no interactions."""
        matrices: tuple[MatrixTerm, ...] = ()
        if spec.with_interactions:
            factor = self._factorisation.inverse(spec.ridge)
            matrices = (self._ratio(factor, vectors, 1.0 - alpha),)
        semantics, reg_f = self._semantics, float(spec.reg_f or 0.0)
        if self.route == "direct":
            return ScoreTerms(spec.name, (*matrices, self._ratio(semantics.inverse(reg_f), vectors, alpha)))
        woodbury = semantics.woodbury(reg_f)
        ones = (1.0 - alpha) if matrices else 0.0
        diagonal = ones + alpha * self._store.vector(woodbury.a)
        product = ProductTerm(semantics.features_path, woodbury.v, alpha)
        return ScoreTerms(spec.name, matrices, (product,), vectors.write("diagonal", diagonal))

    def _ratio(self, factor: Factor, vectors: "_Vectors", weight: float) -> MatrixTerm:
        """``weight (I - P diag(1 / diag(P)))`` without its identity."""
        semantic = not factor.system.interactions
        scale = vectors.write("c1" if semantic else "c", -weight / self._diagonal(factor))
        return MatrixTerm(factor.path, scale, "semantic" if semantic else "collaborative")

    def _diagonal(self, factor: Factor) -> Array:
        return self._store.vector(self._factorisation.diagonal(factor))

    def _vectors(self, spec: ModelSpec) -> "_Vectors":
        base = self._factorisation.factor(spec.ridge).paths.base
        parts = [base, self.embedding if spec.with_features else None, asdict(spec), self.route]
        return _Vectors(self._store, fingerprint(parts))

    # ---- certificates

    def certificate(self, spec: ModelSpec, terms: ScoreTerms) -> Certificate:
        """Certify a model by that of its least certain system, and by the largest ``|B_jj|``.

        The diagonal of B is 0 in exact arithmetic and a sum of large terms as computed, so that an error in
        any of Q, V, c or P shows. It is relative to the largest term.

        Raises
        ------
        NumericalError
            When the diagonal is over the tolerance.
        """
        if spec.name == "GFCF":
            return self._filter.certificate(spec)
        certificate = self._system_certificate(spec)
        value = diagonal_error(terms, TermArrays(self._store.workspace), self._store.grid)
        tolerance = max(certificate.tolerance, _DIAGONAL_EPS * float(np.finfo(self._store.dtype).eps))
        if not value <= tolerance:
            raise NumericalError(
                f"the diagonal of {spec.name} is {value:.2e} where it must be 0, over the tolerance "
                f"{tolerance:.2e}; use dtype float64 or a larger ridge."
            )
        return certificate.with_diagonal(value, tolerance)

    def _system_certificate(self, spec: ModelSpec) -> Certificate:
        """Return the certificate of the least certain system; a model that solves none is exact."""
        factors = [self._factorisation.inverse(*system) for system in self.systems(spec)]
        certificates = [self._factorisation.certificate(factor) for factor in factors]
        if spec.name == "EASEText" and not certificates:
            certificates = [self._semantics.certificate(float(spec.reg_f or 0.0))]
        return max(certificates, key=lambda one: one.used_tolerance, default=exact(self._store.dtype))

    # ---- arrays

    def arrays(self, spec: ModelSpec, terms: ScoreTerms) -> dict[str, str | None]:
        """Name the arrays of a model that calls and tools know; None for those that it does not have."""
        arrays: dict[str, str | None] = {"gram": None, "P": None, "c": None, "Q": None, "V": None}
        for ridge, system in self.systems(spec)[:1]:
            arrays["gram"] = layout.gram(self._factorisation.gram_name(system)[0])
            arrays["P"] = self._factorisation.factor(ridge, system).path
        if spec.name == "GFCF":
            arrays["gram"] = terms.matrices[0].path
        if terms.matrices and isinstance(terms.matrices[0].scale, str):
            arrays["c"] = terms.matrices[0].scale
        if spec.with_semantics:
            arrays |= self._semantic_arrays(spec, terms)
        if spec.with_features:
            arrays["F"] = self._semantics.features_path
        return arrays

    def _semantic_arrays(self, spec: ModelSpec, terms: ScoreTerms) -> dict[str, str | None]:
        if self.route == "direct":
            return {"P1": self._semantics.factor(float(spec.reg_f or 0.0)).path}
        product = terms.products[0]
        arrays: dict[str, str | None] = {"V": product.right, "M": SemanticPaths.holding(product.right).m}
        return arrays | ({"Q": product.left} if spec.name == "L3AE" else {})

    def release(
        self, tried: Iterable[ModelSpec], needed: Iterable[ModelSpec], *, keep_products: bool = True
    ) -> None:
        """Delete the n x n matrices that only some models have, unless ``P`` is kept.

        Parameters
        ----------
        tried, needed
            Models whose matrices may be there, and those that still need theirs.
        keep_products
            Whether Q and diag(P), which later groups of a sweep read, outlive their inverse.
        """
        store = self._store
        if "P" in store.settings.keep:
            return
        tried, needed = tuple(tried), tuple(needed)
        systems = {system for spec in tried for system in self.systems(spec)}
        kept = {system for spec in needed for system in self.systems(spec)}
        for factor in (self._factorisation.factor(*system) for system in systems - kept):
            if store.workspace.has(factor.path):
                self._factorisation.discard(factor, keep_products=keep_products)
        if self.route == "direct" and keep_products:
            for path in self._product_paths(tried) - self._product_paths(needed):
                if store.workspace.has(path):
                    store.workspace.delete(path)

    def _product_paths(self, specs: Iterable[ModelSpec]) -> set[str]:
        return {
            self._semantics.product_path(self._factorisation.factor(spec.ridge), float(spec.reg_f or 0.0))
            for spec in specs
            if spec.name == "L3AE"
        }


def _sum_of(name: str, matrix: MatrixTerm, term: MatrixTerm | ProductTerm, diagonal: float) -> ScoreTerms:
    if isinstance(term, MatrixTerm):
        return ScoreTerms(name, (matrix, term), (), diagonal)
    return ScoreTerms(name, (matrix,), (term,), diagonal)


class _Vectors:
    """The n-vectors of one model."""

    def __init__(self, store: ArtifactStore, identifier: str) -> None:
        self._store = store
        self._identifier = identifier

    def write(self, name: str, values: Array) -> str:
        """Write a vector as an n x 1 array; return its path."""
        return self._store.write_rows(layout.model_vector(self._identifier, name), values[:, None])


def diagonal_error(terms: ScoreTerms, arrays: TermArrays, grid: TileGrid) -> float:
    """Measure the largest ``|B_jj|`` relative to its largest term (at least 1), from the diagonal tiles.

    Parameters
    ----------
    terms, arrays
        The model and its arrays.
    grid
        The tiles of the items.
    """
    worst, largest = 0.0, 1.0
    for i in range(grid.count):
        rows = np.arange(grid.rows(i).start, grid.rows(i).stop)
        entries = weight_entries(terms, arrays, grid, rows, rows)
        collaborative, semantic = entries["collaborative"], entries["semantic"]
        worst = max(worst, float(np.abs(collaborative + semantic).max()))
        largest = max(largest, float(np.abs(semantic).max()))
    return worst / largest
