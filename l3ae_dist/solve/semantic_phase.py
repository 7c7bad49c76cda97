"""The semantic phase: ``C`` of the item features, and its products with an inverse ``P``.

Woodbury route: ``C = diag(a) + F' V``, so C costs a d x d inverse. Direct route: ``C = I - P1 diag(1 / d1)``
from the tiles of ``P1 = (F'F + reg_f I)^-1`` with diagonal d1. The equations are in docs/mathematics.
"""

from l3ae_dist.data.core import core_part
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import Rows, features_times, first_rows, open_rows
from l3ae_dist.data.linear_systems import semantic_system, spectrum
from l3ae_dist.graphs.assemble import (
    CoreParams,
    SemanticParams,
    core_product_rows,
    diagonal_rows,
    product_diagonal_rows,
    product_rows,
    row_graph,
    semantic_inverse_graph,
    semantic_rows,
)
from l3ae_dist.graphs.semantic_product import product_graph
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.spectral import condition_number, semantic_tolerance
from l3ae_dist.solve.artifact_store import ArtifactStore
from l3ae_dist.solve.certificate import Certificate, certify, probes
from l3ae_dist.solve.factor import Factor
from l3ae_dist.solve.factorisation import Factorisation
from l3ae_dist.solve.semantic_certificate import SemanticCertificate, certify_semantic
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.layout import SemanticPaths
from l3ae_dist.storage.stages import Stage

_PROBES = 2


class SemanticPhase:
    """Makes what the models of one set of item features F (n x d) need of it.

    Parameters
    ----------
    store, factorisation
        Where artifacts are made, and the inverses.
    dataset
        The items.
    embedding
        Id of the features.
    """

    def __init__(
        self, store: ArtifactStore, factorisation: Factorisation, dataset: Dataset, embedding: str
    ) -> None:
        self._store = store
        self._factorisation = factorisation
        self._core = core_part(dataset)
        self._on_core = store.for_items(self._core.n_items)
        self._embedding = embedding
        self.system = semantic_system(embedding)
        """``F'F``, which the direct route factors."""
        self.features_path = layout.features(embedding)
        """Place of F."""

    @property
    def folder(self) -> str:
        """Place of all that the semantic phases of these features made."""
        return layout.semantic_folder(self._embedding)

    def features(self) -> Rows:
        """Open F by item rows."""
        return open_rows(self._store.workspace, self.features_path)

    # ---- woodbury route

    def woodbury(self, reg_f: float) -> SemanticPaths:
        """Make sure that ``M = (F F' + reg_f I)^-1``, ``a`` and ``V`` exist, certified; O(n d^2 + d^3).

        Raises
        ------
        NumericalError
            When they lose too many digits, with the figures.
        """
        store = self._store
        made = SemanticPaths.of(self._embedding, store.grid.tile, reg_f)
        if store.is_done(Stage.SEMANTIC, made.id):
            return made
        d = self.features().shape[1]
        store.create(made.m, (d, d), (d, d), "float64")
        a, v = store.rows(made.a, 1), store.rows(made.v, d)
        for i, j in v.marked() - a.done():  # the task of a chunk of V writes that of a beside it
            v.discard(i, j)
        paths = {"embeddings": self.features_path, "M": made.m, "a": made.a, "V": made.v}
        context = store.context(paths, SemanticParams(reg_f, self._core.n_items))
        store.run(semantic_inverse_graph(store.grid), context, {"M"}, "semantic_inverse")
        stats = store.run(row_graph(store.grid, "V", semantic_rows), context, {"V"}, "semantic_rows")
        certificate = self._certify(made, reg_f)
        made_from = {"embedding": self._embedding, "reg_f": reg_f, "base": made.base}
        figures = {**vars(stats), "certificate": certificate.document()}
        store.workspace.mark_stage(Stage.SEMANTIC, made.id, made_from, figures)
        return made

    def _certify(self, made: SemanticPaths, reg_f: float) -> SemanticCertificate:
        store = self._store
        n = self._core.n_items
        return certify_semantic(
            first_rows(self.features(), n), store.vector(made.a)[:n], open_rows(store.workspace, made.v),
            store.open(made.m).read(0, 0), reg_f, store.dtype,
        )  # fmt: skip

    def semantic_certificate(self, reg_f: float) -> SemanticCertificate:
        """Return the certificate of ``C``; it is made now where an older version did not record it."""
        made = self.woodbury(reg_f)
        recorded = self._store.workspace.require_stage(Stage.SEMANTIC, made.id).stats.get("certificate")
        if recorded is None or recorded["tolerance"] != semantic_tolerance(self._store.dtype):
            return self._certify(made, reg_f)
        return SemanticCertificate.from_document(recorded)

    def cross(self, factor: Factor) -> str:
        """Make sure that ``Q = P F'``, n x d, exists, and return its path; 2 n^2 d flops.

        P is ``I / ridge`` for items outside the core.
        """
        if factor.correction is not None:
            return self._factorisation.cross(factor, self.cross(factor.before), self._embedding)
        path = layout.cross(factor.id, self._embedding)
        inputs = {"P": factor.path, "operand": self.features_path}
        store, d, core = self._store, self.features().shape[1], self._core.n_items
        if core == store.grid.n:
            return store.make_rows(path, d, product_rows, inputs, store.dtype)
        params = CoreParams(core, factor.ridge)
        return store.make_rows(path, d, core_product_rows, inputs, store.dtype, params)

    def product_diagonal(self, factor: Factor, reg_f: float) -> str:
        """Make sure that ``pc = diag(P C)`` of the core, n x 1, exists, and return its path."""
        woodbury = self.woodbury(reg_f)
        inputs = {
            "diagonal": self._factorisation.diagonal(factor),
            "Q": self.cross(factor),
            "a": woodbury.a,
            "V": woodbury.v,
        }
        path = layout.cross_diagonal(factor.id, self._embedding, reg_f)
        return self._on_core.make_rows(path, 1, product_diagonal_rows, inputs, "float64")

    def certificate(self, reg_f: float) -> Certificate:
        """Certify ``P1 z = (z - F' M F z) / reg_f`` as a solution of ``(F'F + reg_f I) y = z``."""
        rows = first_rows(self.features(), self._core.n_items)
        m = self._store.open(self.woodbury(reg_f).m).read(0, 0)
        z = probes(rows.shape[0], _PROBES)
        y = (z - features_times(rows, z, middle=m)) / reg_f
        kappa = condition_number(spectrum(self._store.workspace, self._core, self.system), reg_f)
        return certify(
            lambda vectors: features_times(rows, vectors),
            y, z, condition=kappa, dtype="float64", ridge=reg_f,
        )  # fmt: skip

    # ---- direct route

    def inverse(self, reg_f: float) -> Factor:
        """Make sure that ``P1 = (F'F + reg_f I)^-1`` exists in tiles; n^3 flops."""
        return self._factorisation.inverse(reg_f, self.system)

    def factor(self, reg_f: float) -> Factor:
        """Name ``P1``, whether it exists or not."""
        return self._factorisation.factor(reg_f, self.system)

    def product_path(self, factor: Factor, reg_f: float) -> str:
        """Name ``P C``, whether it exists or not."""
        return layout.product(factor.id, self.factor(reg_f).id)

    def product(self, factor: Factor, reg_f: float) -> tuple[str, Array]:
        """Make sure that ``P C`` exists in n x n tiles; return its path and its diagonal. 2 n^3 flops."""
        store, semantic = self._store, self.inverse(reg_f)
        path = self.product_path(factor, reg_f)
        if not store.has_assembled(path):
            store.tiles(path, store.dtype)
            inputs = {
                "P": factor.path,
                "P1": semantic.path,
                "diagonal": self._factorisation.diagonal(semantic),
            }
            context = store.context({**inputs, "product": path})
            stats = store.run(product_graph(store.grid), context, {"product"}, Stage.PRODUCT)
            store.mark(Stage.ASSEMBLE, fingerprint(path), {"path": path}, stats)
        diagonal = store.make_rows(layout.product_diagonal(path), 1, diagonal_rows, {"P": path}, "float64")
        return path, store.vector(diagonal)
