"""Peers that are not neural: popularity, ALS and nearest neighbours of ``implicit``, and SANSA."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy import sparse
from threadpoolctl import threadpool_limits

from accuracy.methods import Data, Draw, Peer, ScoredModel, Setting


class Popularity(Peer):
    """The items with most interactions, the same for everybody."""

    name = "Popularity"

    def suggest(self, draw: Draw) -> Setting:
        """Draw nothing."""
        return {}

    def fit(self, data: Data, setting: Setting, seconds: float | None) -> ScoredModel:
        """Count."""
        popularity = np.asarray(data.train.sum(axis=0), np.float32).ravel()
        return ScoredModel(data.train, lambda users: np.tile(popularity, (len(users), 1)))


class ALS(Peer):
    """Weighted matrix factorisation (Hu, Koren, Volinsky, ICDM 2008) by ``implicit``."""

    name = "ALS"
    needs = ("implicit",)
    published: ClassVar[Setting] = {"factors": 128, "regularization": 0.05, "alpha": 10.0, "iterations": 15}

    def ready(self) -> None:
        """Import the package."""
        import implicit.als  # noqa: F401

    def suggest(self, draw: Draw) -> Setting:
        """Draw dimensions, regularisation, the weight of an interaction, and iterations."""
        return {
            "factors": draw.suggest_int("factors", 16, 512, log=True),
            "regularization": draw.suggest_float("regularization", 1e-3, 100.0, log=True),
            "alpha": draw.suggest_float("alpha", 0.3, 100.0, log=True),
            "iterations": draw.suggest_int("iterations", 5, 40, log=True),
        }

    def fit(self, data: Data, setting: Setting, seconds: float | None) -> ScoredModel:
        """Fit by alternating least squares; its own threads want a BLAS with one."""
        from implicit.als import AlternatingLeastSquares

        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(**setting, random_state=0)
            model.fit(data.train, show_progress=False)
        return ScoredModel(data.train, lambda users: model.user_factors[users] @ model.item_factors.T)


class Neighbours(Peer):
    """Nearest neighbours of items by ``implicit``: cosine, or BM25 weights."""

    needs = ("implicit",)
    published: ClassVar[Setting] = {"K": 20}

    def __init__(self, name: str, *, bm25: bool) -> None:
        self.name, self.bm25 = name, bm25

    def ready(self) -> None:
        """Import the package."""
        import implicit.nearest_neighbours  # noqa: F401

    def suggest(self, draw: Draw) -> Setting:
        """Draw the number of neighbours, and the two constants of BM25."""
        setting: Setting = {"K": draw.suggest_int("K", 5, 2000, log=True)}
        if self.bm25:
            setting |= {
                "K1": draw.suggest_float("K1", 0.05, 20.0, log=True),
                "B": draw.suggest_float("B", 0.0, 1.0),
            }
        return setting

    def fit(self, data: Data, setting: Setting, seconds: float | None) -> ScoredModel:
        """Compute the similarity of items."""
        from implicit.nearest_neighbours import BM25Recommender, CosineRecommender

        kind: Callable[..., object] = BM25Recommender if self.bm25 else CosineRecommender
        model = kind(**setting)
        with warnings.catch_warnings():  # of the format that it passes to itself
            warnings.simplefilter("ignore")
            model.fit(data.train.astype(np.float64), show_progress=False)
        return ScoredModel(data.train, products(data.train, model.similarity))


class Sansa(Peer):
    """SANSA, a sparse approximate EASE (Spisak et al., RecSys 2023), by its authors' package ``sansa``."""

    name = "SANSA"
    needs = ("sansa", "sksparse")
    published: ClassVar[Setting] = {"l2": 20.0, "density": 5e-3}

    def suggest(self, draw: Draw) -> Setting:
        """Draw the ridge and the share of the weights that is kept."""
        return {
            "l2": draw.suggest_float("l2", 1.0, 2000.0, log=True),
            "density": draw.suggest_float("density", 1e-4, 5e-2, log=True),
        }

    def ready(self) -> None:
        """Let numba compile on a tiny system."""
        train = sparse.csr_matrix(np.tri(40, 30, dtype=np.float32))
        self.fit(Data(train, train, pd.DataFrame(), None, Path()), {"l2": 1.0, "density": 0.5}, None)

    def fit(self, data: Data, setting: Setting, seconds: float | None) -> ScoredModel:
        """Factor the Gram matrix exactly, and invert the factor sparsely, as its authors do on small data."""
        import sansa

        logging.getLogger("sansa").setLevel(logging.WARNING)
        config = sansa.SANSAConfig(
            l2=float(setting["l2"]),
            weight_matrix_density=float(setting["density"]),
            gramian_factorizer_config=sansa.CHOLMODGramianFactorizerConfig(),
            lower_triangle_inverter_config=sansa.UMRUnitLowerTriangleInverterConfig(),
        )
        model = sansa.SANSA(config)
        model.fit(data.train.astype(np.float32))
        return ScoredModel(data.train, products(data.train, *model.weights))


def products(train: sparse.csr_matrix, *weights: sparse.spmatrix) -> Callable[[np.ndarray], np.ndarray]:
    """Return scores of users: their histories times sparse weights, one after the other."""

    def scores(users: np.ndarray) -> np.ndarray:
        found = train[users]
        for one in weights:
            found = found @ one
        return found.toarray()

    return scores
