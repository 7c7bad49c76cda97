"""The linear systems of the family: ``G + ridge I`` with ``G = X'X + alpha^2 F'F``.

EASE and L3AE invert ``X'X + ridge I``, the collective members that of ``[X; alpha F]``, and the direct
route of the semantic phase that of F alone. All go through the same tiles.
"""

from dataclasses import dataclass

import numpy as np

from l3ae_dist.config.members import COLLECTIVE, ModelSpec, Route
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.features import features_times, open_rows
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.sparse_gram import exact_dtype
from l3ae_dist.linalg.spectral import largest_eigenvalue
from l3ae_dist.storage import layout
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.workspace import Workspace

_USER_BLOCK = 65536


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
    """

    interactions: bool = True
    features: str | None = None
    alpha: float = 0.0

    def times(self, dataset: Dataset, vectors: Array) -> Array:
        """Return ``G v`` in float64 from the data, not from tiles; O(nnz) or O(n d) per column."""
        out: Array = np.zeros_like(vectors, dtype=np.float64)
        if self.interactions:
            out += gram_times(dataset, vectors)
        if self.features is not None:
            rows = open_rows(dataset.workspace, layout.features(self.features))
            out += self.alpha**2 * features_times(rows, vectors)
        return out

    def key(self, dataset: Dataset) -> list[str | float | None]:
        """Return all that G depends on, to name what is made from it."""
        return [dataset.id if self.interactions else None, self.features, self.alpha]


INTERACTIONS = System()


def gram_times(dataset: Dataset, vectors: Array) -> Array:
    """Return ``X' (X v)`` in float64, streaming users; O(nnz) per column."""
    out: Array = np.zeros_like(vectors, dtype=np.float64)
    for start in range(0, dataset.n_users, _USER_BLOCK):
        rows = dataset.user_rows("train", start, min(start + _USER_BLOCK, dataset.n_users)).astype(np.float64)
        out += rows.T @ (rows @ vectors)
    return out


def spectrum(workspace: Workspace, dataset: Dataset, system: System = INTERACTIONS) -> float:
    """Estimate the largest eigenvalue of G; the workspace keeps it.

    Parameters
    ----------
    workspace
        That of the dataset.
    dataset
        The interactions and items.
    system
        Says which matrix G is.
    """
    key = layout.spectrum(dataset.id if system == INTERACTIONS else fingerprint(system.key(dataset)))
    found = workspace.read_doc(key)
    if found is None:
        value = float(largest_eigenvalue(lambda v: system.times(dataset, v), dataset.n_items))
        found = {"lambda_max": value}
        workspace.write_doc(key, found)
    return float(found["lambda_max"])


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
        found.append((spec.ridge, INTERACTIONS))
    if spec.name in COLLECTIVE:
        found.append((spec.ridge, System(True, features, spec.alpha)))
    if spec.with_semantics and route == "direct":
        found.append((float(spec.reg_f or 0.0), semantic_system(features)))
    return tuple(found)


def semantic_system(features: str | None) -> System:
    """Return the system of ``F'F`` alone."""
    return System(interactions=False, features=features, alpha=1.0)
