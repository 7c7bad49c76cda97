"""The members of the family: which inverses, features and vectors each is made of, and their certificates.

The equations are in docs/mathematics.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar, cast

import numpy as np

from l3ae_dist.config.members import ADDITIVE, COLLECTIVE, ModelSpec, Route
from l3ae_dist.data.core import core_part
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import squared_norms
from l3ae_dist.data.linear_systems import System, dropout_penalty, gram_diagonal, own_system, systems_of
from l3ae_dist.errors import NumericalError
from l3ae_dist.graphs.score_terms import MatrixTerm, ProductTerm, ScoreTerms, Shares, TermArrays
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.heads import Head, head, popularity_scales
from l3ae_dist.solve.artifact_store import ArtifactStore
from l3ae_dist.solve.certificate import Certificate, exact
from l3ae_dist.solve.diagonal_check import diagonal_error
from l3ae_dist.solve.diagonals import Diagonals
from l3ae_dist.solve.factor import Factor
from l3ae_dist.solve.factorisation import Factorisation
from l3ae_dist.solve.model_parts import Product, Vectors, change_term
from l3ae_dist.solve.semantic_phase import SemanticPhase
from l3ae_dist.solve.sound_inputs import inputs_first
from l3ae_dist.solve.spectral_filter import SpectralFilter
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.layout import SemanticPaths

T = TypeVar("T")
# Diagonal of B that rounding leaves where the system is well conditioned, in units of eps.
_DIAGONAL_EPS = 1000


class Family:
    """Makes the models of one dataset and one set of item features.

    Parameters
    ----------
    store
        Where artifacts are made.
    dataset
        Interactions and items. Where a core comes first, its items are solved exactly and the others get the
        columns and rows of items that come after it: ``Q = P F'`` and ``V = M F`` go on with the M of the
        core and with ``P = I / ridge``.
    embedding
        Id of the item features, None for models without text.
    route
        Of the semantic phase: ``"woodbury"`` or ``"direct"``, which knows no core.
    """

    def __init__(self, store: ArtifactStore, dataset: Dataset, embedding: str | None, route: Route) -> None:
        self.dataset = dataset
        self.embedding = embedding
        self.route = route
        self._core = core_part(dataset)
        self._store = store.for_items(dataset.n_items)
        self._factorisation = Factorisation(store.for_items(self._core.n_items), self._core)
        self._diagonals = Diagonals(self._store, self._core.n_items)
        self._filter = SpectralFilter(store, dataset)
        self._held: dict[str, Array] = {}  # vectors of a model that are not written yet
        self._shared: dict[object, object] | None = None  # what models share while several are made

    @property
    def _semantics(self) -> SemanticPhase:
        return SemanticPhase(self._store, self._factorisation, self.dataset, str(self.embedding))

    def identity(self, ridge: float) -> list[object]:
        """Return what the models of one ridge share and depend on, for fingerprints."""
        return [self._factorisation.factor(ridge).base, self.embedding, self.route]

    def of(self, spec: ModelSpec) -> "Family":
        """Return the family on the features that a model reads."""
        return self

    def systems(self, spec: ModelSpec) -> tuple[tuple[float, System], ...]:
        """Return ridge and matrix of every n x n system that a model inverts."""
        return systems_of(spec, self.of(spec).embedding, self.route)

    # ---- what a model's scores are the sum of

    def terms(self, spec: ModelSpec) -> ScoreTerms:
        """Make everything that a model still needs, and return the terms of its scores.

        A vector that is finished with other values is replaced once the new ones have passed the self-check.
        """
        with inputs_first(self._store.workspace, self._inputs(spec)):
            terms = self._terms(spec)
            if any(self._store.would_change(path, values) for path, values in self._held.items()):
                self.certificate(spec, terms)
            self._write_held()
        return terms

    def certified(self, spec: ModelSpec) -> tuple[ScoreTerms, Certificate]:
        """Make everything that a model still needs; its vectors are written once they passed the self-check.

        Raises
        ------
        NumericalError
            When the certificate does not hold, though all that it depends on is sound.
        DamagedTileError
            When something that it depends on is damaged.
        """
        with inputs_first(self._store.workspace, self._inputs(spec)):
            terms = self._terms(spec)
            certificate = self.certificate(spec, terms)
            self._write_held()
        return terms, certificate

    def _write_held(self) -> None:
        for path, values in self._held.items():
            self._store.write_rows(path, values)
        self._held.clear()

    def _inputs(self, spec: ModelSpec) -> list[str]:
        """List where everything is that a model is made from."""
        factors = [self._factorisation.factor(*system) for system in self.systems(spec)]
        folders = [folder for factor in factors for folder in self._factorisation.folders(factor)]
        if spec.with_features:
            folders += [self._semantics.features_path, self._semantics.folder]
        folders += [layout.Kind.CROSSES.path(factor.id) for factor in factors]
        return list(dict.fromkeys([*self.dataset.paths.folders, *folders]))

    def _terms(self, spec: ModelSpec) -> ScoreTerms:
        self._held.clear()
        if spec.with_semantics:
            reg_f = float(spec.reg_f or 0.0)
            self._once(reg_f, lambda: self._make_semantics(reg_f))
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
            matrix, changes = self._ratio(factor, vectors, 1.0)
            return ScoreTerms(spec.name, (matrix,), changes)
        if spec.name == "EASEText":
            return self._additive(spec, vectors, 1.0)
        if spec.name in ADDITIVE:
            return self._additive(spec, vectors, spec.alpha)
        return self._linear(spec, vectors)

    def heads(self, specs: Iterable[ModelSpec]) -> Iterator[tuple[ScoreTerms, Mapping[str, Array]]]:
        """Make everything that models of one inverse still need; yield each one's terms and vectors.

        What they share is made and read once. Their vectors are not written, but for those of popularity.
        """
        self._shared = {}
        try:
            for spec in specs:
                with inputs_first(self._store.workspace, self._inputs(spec)):
                    terms = self._terms(spec)
                for path in (term.rows for term in terms.matrices if isinstance(term.rows, str)):
                    if path not in self._shared:
                        self._shared[path] = self._store.write_rows(path, self._held[path])
                yield terms, dict(self._held)
        finally:
            self._shared = None

    def _once(self, key: object, make: Callable[[], T]) -> T:
        """Make what the models of :meth:`heads` share once."""
        if self._shared is None:
            return make()
        if key not in self._shared:
            self._shared[key] = make()
        return cast(T, self._shared[key])

    def _make_semantics(self, reg_f: float) -> None:
        """Make the small part first: what it cannot solve is refused before n^3 flops are spent."""
        if self.route == "woodbury":
            self._semantics.woodbury(reg_f)

    def _linear(self, spec: ModelSpec, vectors: Vectors) -> ScoreTerms:
        """``B = reg_e P C - diag(r) P diag(gamma s) + diag(level)``; by woodbury ``P C = P diag(a) + Q V``.

        The semantic part is all of ``reg_e P C``. Without popularity one scale serves both of its terms in P.
        """
        system = own_system(spec)
        factor = self._once((spec.ridge, system), lambda: self._factorisation.inverse(spec.ridge, system))
        objective, product = spec.objective, None
        if spec.with_semantics:
            reg_f = float(spec.reg_f or 0.0)
            made_once = self._once((factor, reg_f), lambda: self._product(factor, reg_f))
            product = made_once.weighing(objective.pull)
        made = self._head(spec, factor, 0.0 if product is None else product.pc)
        of_text = 0.0 if product is None or product.a is None else objective.pull * product.a
        matrices, changes = self._head_terms(spec, factor, made, of_text, vectors)
        keeps, whole = spec.keep_diagonal, made.level
        level, shares = self._diagonals.write(vectors, whole + made.diagonal if keeps else whole, product)
        kept = self._diagonals.keep(vectors, made.diagonal) if keeps else 0.0
        if product is None:
            return ScoreTerms(spec.name, matrices, changes, level, shares, kept)
        terms = product.sum_with(spec.name, matrices, level, shares)
        return replace(terms, products=(*terms.products, *changes), kept=kept)

    def _head_terms(
        self, spec: ModelSpec, factor: Factor, made: Head, of_text: Array | float, vectors: Vectors
    ) -> tuple[tuple[MatrixTerm, ...], tuple[ProductTerm, ...]]:
        """Scale the columns of P by ``of_text - gamma``, or in two terms where popularity scales its rows.

        The change of an inverse is scaled as its tiles are.
        """
        with_text = isinstance(of_text, np.ndarray)
        path = factor.path
        if not spec.alpha:
            own = -made.gamma
            c = vectors.write("c", of_text + own if with_text else own)
            shares = None
            if with_text:
                text = vectors.write("c_semantic", np.asarray(of_text))
                shares = Shares(vectors.write("c_collaborative", own), text)
            changes = () if factor.correction is None else (change_term(factor.correction, c, shares),)
            return (MatrixTerm(path, c, shares=shares),), changes
        counts = self._once("popularity", self._core.popularity)
        r, s = popularity_scales(counts, spec.alpha)
        own_term = MatrixTerm(
            path, vectors.write("c", -made.gamma * s), rows=self._popularity_rows(spec.alpha, r)
        )
        if not with_text:
            return (own_term,), ()
        semantic = MatrixTerm(path, vectors.write("c_semantic", np.asarray(of_text)), "semantic")
        return (own_term, semantic), ()

    def _popularity_rows(self, alpha: float, r: Array) -> str:
        """Hold r, which models of one alpha share, so that their products with P are one."""
        named = fingerprint(["popularity", self.dataset.id, alpha])
        return Vectors(self._held, named, self.dataset.n_items).write("r", r)

    def _head(self, spec: ModelSpec, factor: Factor, pc: Array | float) -> Head:
        """Solve the constraint on the diagonal; O(nnz) where it needs the items' own squares."""
        objective, diagonal = spec.objective, self._diagonal(factor)
        if objective.diagonal == "zero":
            return head(objective, diagonal, pc, 0.0)
        penalty = factor.ridge + self._once(
            (factor, "penalty"), lambda: dropout_penalty(self._core, factor.system)
        )
        own: Array | float = 0.0
        if objective.is_deql:
            own = self._once(("squares", spec.beta), lambda: gram_diagonal(self._core, spec.beta))
        return head(objective, diagonal, pc, penalty, own)

    def _product(self, factor: Factor, reg_f: float) -> Product:
        semantics = self._semantics
        if self.route == "direct":
            path, pc = semantics.product(factor, reg_f)
            return Product(pc, None, MatrixTerm(path, 1.0, "semantic", symmetric=False))
        woodbury = semantics.woodbury(reg_f)
        a = self._store.vector(woodbury.a)[: self._core.n_items]
        pc = self._store.vector(semantics.product_diagonal(factor, reg_f))
        return Product(pc, a, ProductTerm(semantics.cross(factor), woodbury.v))

    def _additive(self, spec: ModelSpec, vectors: Vectors, alpha: float) -> ScoreTerms:
        """``(1 - alpha) B_ease + alpha C``; C alone when alpha is 1 and the model has no interactions."""
        matrices: tuple[MatrixTerm, ...] = ()
        changes: tuple[ProductTerm, ...] = ()
        if spec.with_interactions:
            matrix, changes = self._ratio(self._factorisation.inverse(spec.ridge), vectors, 1.0 - alpha)
            matrices = (matrix,)
        semantics, reg_f = self._semantics, float(spec.reg_f or 0.0)
        ones = (1.0 - alpha) if matrices else 0.0  # each part has a zero diagonal of its own
        if self.route == "direct":
            both = (*matrices, self._ratio(semantics.inverse(reg_f), vectors, alpha)[0])
            return ScoreTerms(spec.name, both, changes, diagonal_shares=Shares(ones, alpha))
        woodbury = semantics.woodbury(reg_f)
        text = alpha * self._store.vector(woodbury.a)
        product = ProductTerm(semantics.features_path, woodbury.v, alpha)
        text = text - alpha * self._diagonals.of_tail(product)
        diagonal = vectors.write("diagonal", ones + text)
        shares = Shares(ones, vectors.write("diagonal_semantic", text)) if matrices else None
        return ScoreTerms(spec.name, matrices, (product, *changes), diagonal, shares)

    def _ratio(
        self, factor: Factor, vectors: Vectors, weight: float
    ) -> tuple[MatrixTerm, tuple[ProductTerm, ...]]:
        """``weight (I - P diag(1 / diag(P)))`` without its identity, and the change of P."""
        semantic = not factor.system.interactions
        scale = vectors.write("c1" if semantic else "c", -weight / self._diagonal(factor))
        matrix = MatrixTerm(factor.path, scale, "semantic" if semantic else "collaborative")
        return matrix, () if factor.correction is None else (change_term(factor.correction, scale),)

    def _diagonal(self, factor: Factor) -> Array:
        return self._once(factor, lambda: self._store.vector(self._factorisation.diagonal(factor)))

    def _vectors(self, spec: ModelSpec) -> Vectors:
        base = self._factorisation.factor(spec.ridge, own_system(spec)).base
        parts = [base, self.embedding if spec.with_features else None, spec.document(), self.route]
        return Vectors(self._held, fingerprint(parts), self.dataset.n_items)

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
        value = diagonal_error(terms, TermArrays(self._store.workspace, self._held), self._store.grid)
        tolerance = max(certificate.tolerance, _DIAGONAL_EPS * float(np.finfo(self._store.dtype).eps))
        if not value <= tolerance:
            raise NumericalError(
                f"the diagonal of {spec.name} is {value:.2e} where it must be 0, over the tolerance "
                f"{tolerance:.2e}; use dtype float64 or a larger ridge."
            )
        if spec.with_semantics and self.route == "woodbury":
            semantic = self._semantics.semantic_certificate(float(spec.reg_f or 0.0))
            certificate = certificate.with_semantic(semantic.error, semantic.tolerance)
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
            factor = self._factorisation.factor(ridge, system)
            if factor.correction is None:
                arrays["gram"] = layout.gram(self._factorisation.gram_name(system)[0])
                arrays["P"] = factor.path
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

        Those that a model of the workspace reads stay.

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
        protected = store.settings.protected
        for factor in (self._factorisation.factor(*system) for system in systems - kept):
            if factor.path not in protected and store.workspace.has(factor.path):
                self._factorisation.discard(factor, keep_products=keep_products)
        if self.route == "direct" and keep_products:
            for path in self._product_paths(tried) - self._product_paths(needed) - protected:
                if store.workspace.has(path):
                    store.workspace.drop(path)

    def _product_paths(self, specs: Iterable[ModelSpec]) -> set[str]:
        return {
            self.of(spec)._semantics.product_path(
                self._factorisation.factor(spec.ridge, own_system(spec)), float(spec.reg_f or 0.0)
            )
            for spec in specs
            if spec.name == "L3AE"
        }
