"""The linear systems of the family: ``G + ridge I`` with ``G = X'WX + Lambda + alpha^2 F'F``.

EASE, L3AE and the members like them invert ``X'WX + Lambda + ridge I`` (W weights users, Lambda is the
penalty of dropout), the collective members that of ``[X; alpha F]``, and the direct route of the semantic
phase that of F alone. All go through the same tiles.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import solve_triangular

from l3ae_dist.config.members import COLLECTIVE, ModelSpec, Route
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import (
    FirstRows,
    Rows,
    dense,
    features_times,
    first_rows,
    open_rows,
    squared_norms,
)
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.heads import dropout_factor, row_weights
from l3ae_dist.linalg.sparse_gram import exact_dtype
from l3ae_dist.linalg.spectral import largest_eigenvalue
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.workspace import Workspace

_USER_BLOCK = 65536
_ITEMS = 1024
# Cancellation that float32 bears, the largest that float64 does, and dimensions up to which it is computed.
_HARMLESS, _WORST, _MODERATE = 1e3, 1e10, 2048


@dataclass(frozen=True)
class System:
    """The matrix G of a linear system ``G + ridge I``.

    Parameters
    ----------
    interactions
        Whether ``X'X`` is part of it.
    features
        Id of the features whose ``alpha^2 F'F`` is added; None for none.
    alpha
        Their weight.
    beta
        Users weigh ``n_u^-beta``.
    p
        Share of the interactions that are dropped: ``p / (1 - p)`` of the items' squares join the diagonal.
    weighted
        Whether these squares are weighted by the users.
    """

    interactions: bool = True
    features: str | None = None
    alpha: float = 0.0
    beta: float = 0.0
    p: float = 0.0
    weighted: bool = False

    def times(self, dataset: Dataset, vectors: Array) -> Array:
        """Return ``G v`` in float64 from the data, not from tiles; O(nnz) or O(n d) per column."""
        out: Array = np.zeros_like(vectors, dtype=np.float64)
        if self.interactions:
            out += gram_times(dataset, vectors, self.beta)
        if self.p:
            out += dropout_penalty(dataset, self)[:, None] * vectors
        if self.features is not None:
            rows = first_rows(open_rows(dataset.workspace, layout.features(self.features)), dataset.n_items)
            out += self.alpha**2 * features_times(rows, vectors)
        return out

    def key(self, dataset: Dataset) -> list[str | float | bool | None]:
        """Return all that G depends on, to name what is made from it."""
        plain = [dataset.id if self.interactions else None, self.features, self.alpha]
        return plain if not (self.beta or self.p) else [*plain, self.beta, self.p, self.weighted]


INTERACTIONS = System()


def gram_times(dataset: Dataset, vectors: Array, beta: float = 0.0) -> Array:
    """Return ``X' (W (X v))`` in float64, streaming users; O(nnz) per column.

    Parameters
    ----------
    dataset
        The interactions.
    vectors
        (n, m).
    beta
        Users weigh ``n_u^-beta``.
    """
    out: Array = np.zeros_like(vectors, dtype=np.float64)
    for rows in _train_rows(dataset):
        product = rows @ vectors
        if beta:
            product *= row_weights(np.diff(rows.indptr), beta)[:, None]
        out += rows.T @ product
    return out


def gram_diagonal(dataset: Dataset, beta: float = 0.0) -> Array:
    """Return the diagonal of ``X'WX``, (n,) float64, streaming users; O(nnz)."""
    out: Array = np.zeros(dataset.n_items)
    for rows in _train_rows(dataset):
        weights = np.repeat(row_weights(np.diff(rows.indptr), beta), np.diff(rows.indptr))
        out += np.bincount(rows.indices, weights * rows.data**2, dataset.n_items)
    return out


def dropout_penalty(dataset: Dataset, system: System) -> Array:
    """Return the diagonal of Lambda, (n,) float64; O(nnz)."""
    if not system.p:
        return np.zeros(dataset.n_items)
    return dropout_factor(system.p) * gram_diagonal(dataset, system.beta if system.weighted else 0.0)


def _train_rows(dataset: Dataset) -> Iterator[sparse.csr_matrix]:
    for start in range(0, dataset.n_users, _USER_BLOCK):
        stop = min(start + _USER_BLOCK, dataset.n_users)
        yield dataset.user_rows("train", start, stop).astype(np.float64)


def spectrum_key(dataset: Dataset, system: System) -> str:
    """Return the key of the document with the largest eigenvalue of G."""
    return layout.spectrum(dataset.id if system == INTERACTIONS else fingerprint(system.key(dataset)))


def spectrum(
    workspace: Workspace, dataset: Dataset, system: System = INTERACTIONS, *, keep: bool = True
) -> float:
    """Estimate the largest eigenvalue of G; the workspace keeps it.

    Parameters
    ----------
    workspace
        That of the dataset.
    dataset
        The interactions and items.
    system
        Says which matrix G is.
    keep
        Whether what is not there yet is written.
    """
    key = spectrum_key(dataset, system)
    found = workspace.read_doc(key)
    if found is None:
        value = float(largest_eigenvalue(lambda v: system.times(dataset, v), dataset.n_items))
        found = {"lambda_max": value}
        if keep:
            workspace.write_doc(key, found)
    return float(found["lambda_max"])


def cancellation(
    workspace: Workspace, features: str, reg_f: float, items: int | None = None, *, keep: bool = True
) -> float:
    """Bound the factor by which sums of the woodbury route cancel: ``1 / (reg_f diag(P1))`` at most.

    No item's is larger than ``1 + |f|^2 / reg_f``, which counts where it is small; otherwise the factors
    themselves are computed while d is moderate, 2 n d^2 flops. The workspace keeps the result.

    Parameters
    ----------
    workspace, features
        Id of the item features F, and where they are.
    reg_f
        Ridge of ``F F' + reg_f I``.
    items
        The first items, those of a core, that F has here; all when None.
    keep
        Whether what is not there yet is written.
    """
    key = layout.spectrum(fingerprint(["cancellation", features, reg_f]))
    found = workspace.read_doc(key)
    if found is None:
        rows = open_rows(workspace, layout.features(features))
        found = {"cancellation": _cancellation(first_rows(rows, items or rows.shape[0]), reg_f)}
        if keep:
            workspace.write_doc(key, found)
    return float(found["cancellation"])


def _cancellation(rows: Rows | FirstRows, reg_f: float) -> float:
    bound = 1.0 + float(squared_norms(rows).max()) / reg_f
    if bound <= _HARMLESS:
        return bound
    n, d = rows.shape
    if d > _MODERATE:  # float64 will do, or the certificate of the semantic phase refuses
        return min(bound, _WORST)
    system = reg_f * np.eye(d)
    for start in range(0, n, _ITEMS):
        block = dense(rows.item_rows(start, min(start + _ITEMS, n)))
        system += block.T @ block
    try:
        lower = np.linalg.cholesky(system)
    except np.linalg.LinAlgError:  # not even that is positive in float64
        return bound
    left = 1.0
    for start in range(0, n, _ITEMS):
        block = dense(rows.item_rows(start, min(start + _ITEMS, n)))
        half = solve_triangular(lower, block.T, lower=True, check_finite=False)
        left = min(left, float((1.0 - np.einsum("di,di->i", half, half)).min()))
    return min(bound, 1.0 / left) if left > 0 else bound


def gram_name(dataset: Dataset, system: System, tile: int, dtype: str) -> tuple[str, str]:
    """Return id and dtype of the tiles of G.

    Parameters
    ----------
    dataset
        The interactions and items.
    system
        Says which matrix G is.
    tile
        Items in a tile.
    dtype
        Of the solve. Features are stored so; counts of interactions in the smallest dtype that is exact.
    """
    if system == INTERACTIONS:
        exact = exact_dtype(dataset.max_count(), dataset.weighted)
        return fingerprint(["gram", dataset.id, tile, exact]), exact
    return fingerprint(["gram", *system.key(dataset), tile, dtype]), dtype


def systems_of(spec: ModelSpec, features: str | None, route: Route) -> tuple[tuple[float, System], ...]:
    """Return ridge and matrix of every n x n system that a model inverts.

    Parameters
    ----------
    spec
        The model and its parameters.
    features
        Id of its item features; None for none.
    route
        Of the semantic phase: ``"direct"`` inverts an n x n system of its own, ``"woodbury"`` none.
    """
    found = []
    if spec.with_interactions:
        found.append((spec.ridge, own_system(spec)))
    if spec.name in COLLECTIVE:
        found.append((spec.ridge, System(True, features, spec.alpha)))
    if spec.with_semantics and route == "direct":
        found.append((float(spec.reg_f or 0.0), semantic_system(features)))
    return tuple(found)


def own_system(spec: ModelSpec) -> System:
    """Return the system of the interactions that a model inverts."""
    return System(beta=spec.beta, p=spec.p, weighted=spec.objective.weighs_penalty)


def semantic_system(features: str | None) -> System:
    """Return the system of ``F'F`` alone."""
    return System(interactions=False, features=features, alpha=1.0)
