"""The estimators people use: fit, recommend, similar_items, explain; a fitted model is its workspace."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from l3ae_dist.data.dataset import Dataset
from l3ae_dist.errors import ConfigError, StageMissingError
from l3ae_dist.graphs.head import Head, History, Parts, Scorer, head_entries
from l3ae_dist.graphs.score import take_rows
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.ranking import merge_top_k, top_k
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.tile_reader import ReadCount, TileReader
from l3ae_dist.storage.workspace import Workspace

Array = npt.NDArray[Any]
_BATCH = 512


class FittedModel:
    """A model in a workspace: opened in no time, tiles are read as they are needed.

    Parameters
    ----------
    workspace
        A workspace in which a fit has finished.

    Raises
    ------
    StageMissingError
        When it holds no model.
    """

    def __init__(self, workspace: Workspace) -> None:
        document = workspace.read_doc("model")
        if document is None:
            raise StageMissingError(f"{workspace.url} holds no fitted model; run `l3ae-dist fit` first.")
        self.workspace = workspace
        self.name: str = document["name"]
        self.params: dict[str, float] = document["params"]
        self.certificate: dict[str, Any] = document["certificate"]
        self.dtype: str = document["dtype"]
        self._arrays: dict[str, str | None] = document["arrays"]
        self.dataset = Dataset(workspace, document["dataset"])
        self.grid = TileGrid(self.dataset.n_items, int(document["tile"]))
        self.head = Head.from_document(document["head"])
        self._parts = Parts(workspace)
        self._reader = TileReader()

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={value:g}" for name, value in self.params.items())
        return f"{self.name}({params}) on {self.grid.n:,} items in {self.workspace.url!r}"

    def array(self, name: str) -> ChunkArray | None:
        """The model's array ``P``, ``Q``, ``V``, ``c`` or ``M``; None for a part that it does not have."""
        path = self._arrays.get(name)
        return None if path is None else ChunkArray.open(self.workspace, path)

    def recommend(self, user_ids: Sequence[Any], n: int = 20, *, filter_already_liked: bool = True) -> Any:
        """The best ``n`` items of each user.

        Parameters
        ----------
        user_ids
            Known users.
        n
            Items for each; fewer where a user has fewer left.
        filter_already_liked
            Leave out what the user has in the training split.

        Returns
        -------
        DataFrame: user_id, item_id, title, rank (1 is best), score.

        Raises
        ------
        UnknownIdError
            Naming the unknown users.
        ConfigError
            When ``n`` is not positive.
        """
        import pandas as pd

        if n < 1:
            raise ConfigError(f"n is {n} and must be at least 1.")
        users = self.dataset.user_index(list(user_ids))
        known = self.dataset.user_ids()
        n = min(n, self.grid.n)
        frames = []
        for start in range(0, len(users), _BATCH):
            batch = users[start : start + _BATCH]
            unique, position = np.unique(batch, return_inverse=True)
            rows = take_rows(self.dataset, "input", unique)[position]
            items, scores = self._top(rows, n, filter_already_liked)
            frames.append(self._frame("user_id", known[batch], items, scores))
        return pd.concat(frames, ignore_index=True)

    def similar_items(self, item_ids: Sequence[Any], n: int = 10) -> Any:
        """What owning an item recommends: the largest entries of its row of B.

        Returns
        -------
        DataFrame: item_id, similar_item_id, title, rank, score.
        """
        rows = self.dataset.item_index(list(item_ids))
        one_hot = sparse.csr_matrix(
            (np.ones(len(rows), np.float32), rows, np.arange(len(rows) + 1)), shape=(len(rows), self.grid.n)
        )
        items, scores = self._top(one_hot, min(n, self.grid.n), True)
        frame = self._frame("of", self.dataset.item_ids()[rows], items, scores)
        return frame.rename(columns={"item_id": "similar_item_id", "of": "item_id"})

    def explain(self, user_id: Any, item_id: Any) -> Any:
        """How a score comes about: one row for each item of the user's history.

        Returns
        -------
        DataFrame: item_id, title, collaborative, semantic, total; sorted by total, and summing to the
        score exactly (to rounding).
        """
        import pandas as pd

        user = self.dataset.user_index([user_id])
        j = int(self.dataset.item_index([item_id])[0])
        row = take_rows(self.dataset, "input", user)
        history, weight = row.indices, row.data.astype(np.float64)
        entries = head_entries(self.head, self._parts, self.grid, history, j)
        collaborative, semantic = weight * entries["collaborative"], weight * entries["semantic"]
        ids, titles = self.dataset.item_ids(), self.dataset.titles()
        frame = pd.DataFrame(
            {
                "item_id": ids[history],
                "title": [titles[h] for h in history],
                "collaborative": collaborative,
                "semantic": semantic,
                "total": collaborative + semantic,
            }
        )
        return frame.sort_values("total", ascending=False, ignore_index=True)

    def weights(self, item_ids: Sequence[Any]) -> Array:
        """Columns of B, (n, len(item_ids)) float64: column j predicts item j."""
        columns = self.dataset.item_index(list(item_ids))
        out = np.empty((self.grid.n, len(columns)))
        for position, j in enumerate(columns):
            rows = np.arange(self.grid.n)
            entries = head_entries(self.head, self._parts, self.grid, rows, int(j))
            out[:, position] = entries["collaborative"] + entries["semantic"]
        return out

    def append(self, interactions: Any, items: Any = None, **options: Any) -> "FittedModel":
        """Add interactions and fit again; see :func:`l3ae_dist.append`, which takes the same options.

        Returns
        -------
        The model of all interactions; this one stays as it is.
        """
        from l3ae_dist.appending import append

        append(self.workspace.url, interactions, items, **options)
        return FittedModel(self.workspace)

    def export_weights(self, path: Any, k: Any = 100, **options: Any) -> dict[str, Any]:
        """Write the ``k`` largest weights of each item; see :func:`l3ae_dist.export.export_weights`."""
        from l3ae_dist.export import export_weights

        return export_weights(self, path, k, **options)

    def examples(self, users: int = 3, n: int = 5, seed: int = 0) -> list[dict[str, Any]]:
        """A few readable recommendations: what users liked, what they get, and because of which items."""
        degrees = np.diff(self.dataset.rows("input", 0, min(self.dataset.n_users, 100_000)).indptr)
        eligible = np.flatnonzero((degrees >= 5) & (degrees <= 60))
        if not len(eligible):
            eligible = np.flatnonzero(degrees > 0)
        chosen = np.random.default_rng(seed).choice(eligible, min(users, len(eligible)), replace=False)
        found = []
        ids = self.dataset.user_ids()
        for user in np.sort(chosen):
            user_id = ids[user].item() if hasattr(ids[user], "item") else ids[user]
            recommended = []
            for line in self.recommend([user_id], n).itertuples():
                reasons = self.explain(user_id, line.item_id)
                recommended.append(
                    {
                        "title": line.title,
                        "score": round(float(line.score), 4),
                        "why": reasons["title"].head(2).tolist(),
                    }
                )
            liked = self.dataset.rows("input", int(user), int(user) + 1).indices
            titles = self.dataset.titles()
            found.append(
                {"user_id": user_id, "liked": [titles[h] for h in liked[:5]], "recommended": recommended}
            )
        return found

    def _top(self, rows: sparse.csr_matrix, n: int, mask: bool) -> tuple[Array, Array]:
        history = History(rows, self.grid, self.dtype)
        scorer = Scorer(history, self._parts, self._reader, ReadCount())
        items = np.full((rows.shape[0], 0), -1, np.int64)
        values = np.full((rows.shape[0], 0), -np.inf)
        for j in range(self.grid.count):
            scores = scorer.scores(self.head, j)
            best, score = top_k(scores, n, seen=history.part(j) if mask else None)
            best = np.where(best >= 0, best + self.grid.rows(j).start, -1)
            items, values = merge_top_k(np.hstack([items, best]), np.hstack([values, score]), n)
        return items, values

    def _frame(self, key: str, owners: Array, items: Array, scores: Array) -> Any:
        import pandas as pd

        keep = items >= 0
        rank = np.broadcast_to(np.arange(1, items.shape[1] + 1), items.shape)[keep]
        flat = items[keep]
        ids, titles = self.dataset.item_ids(), self.dataset.titles()
        return pd.DataFrame(
            {
                key: np.repeat(owners, keep.sum(axis=1)),
                "item_id": ids[flat],
                "title": [titles[i] for i in flat],
                "rank": rank,
                "score": scores[keep],
            }
        )


def load_model(workspace: str) -> FittedModel:
    """Open the fitted model of a workspace; lazy, from any process."""
    return FittedModel(Workspace.open(workspace))


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """What the members of the family share; scikit-learn's conventions."""

    _name = "l3ae"

    def _model_section(self) -> dict[str, Any]:
        raise NotFittedError("use a member of the family")

    def fit(
        self, interactions: Any, items: Any = None, *, workspace: str, embeddings: Any = None
    ) -> "_Estimator":
        """Fit and keep everything in ``workspace``; what is there already is reused.

        Parameters
        ----------
        interactions, items
            DataFrames, paths or URLs.
        workspace
            Path or URL.
        embeddings
            (n, d) array, .npy, Parquet or Zarr, instead of embedding the items' text.

        Returns
        -------
        self, with ``model_``, ``certificate_``, ``n_items_`` and ``result_``.
        """
        from l3ae_dist.config import make_config
        from l3ae_dist.pipeline import run

        compute: dict[str, Any] = self.compute or {}
        options: dict[str, Any] = self.data_options or {}
        values = {
            "workspace": str(workspace),
            "model": {"name": self._name, **self._model_section()},
            "data": {"options": {"split": "none", **options}},
            "encoder": getattr(self, "encoder", None) or {},
            "transform": getattr(self, "transform", None) or {},
            "words": getattr(self, "words", None) or {},
            "compute": compute,
        }
        self.result_ = run(
            make_config(values), interactions=interactions, items=items, embeddings=embeddings, until="fit"
        )
        return self._open(str(workspace))

    def _open(self, workspace: str) -> "_Estimator":
        self.model_ = load_model(workspace)
        self.certificate_ = self.model_.certificate
        self.n_items_ = self.model_.grid.n
        return self

    def _fitted(self) -> FittedModel:
        if not hasattr(self, "model_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit first.")
        model: FittedModel = self.model_
        return model

    def recommend(self, user_ids: Sequence[Any], n: int = 20, *, filter_already_liked: bool = True) -> Any:
        """See :meth:`FittedModel.recommend`."""
        return self._fitted().recommend(user_ids, n, filter_already_liked=filter_already_liked)

    def similar_items(self, item_ids: Sequence[Any], n: int = 10) -> Any:
        """See :meth:`FittedModel.similar_items`."""
        return self._fitted().similar_items(item_ids, n)

    def explain(self, user_id: Any, item_id: Any) -> Any:
        """See :meth:`FittedModel.explain`."""
        return self._fitted().explain(user_id, item_id)

    def append(self, interactions: Any, items: Any = None, *, embeddings: Any = None) -> "_Estimator":
        """Add interactions to those of the fit and fit again, as :func:`l3ae_dist.append` does.

        Returns
        -------
        self, with the fitted attributes renewed; ``result_["append"]`` says what was new.
        """
        from l3ae_dist.appending import append

        where = self._fitted().workspace.url
        self.result_ = append(where, interactions, items, embeddings=embeddings, compute=self.compute)
        return self._open(where)

    def export_weights(self, path: Any, k: Any = 100, **options: Any) -> dict[str, Any]:
        """See :meth:`FittedModel.export_weights`."""
        return self._fitted().export_weights(path, k, **options)


class L3AE(_Estimator):
    """LLM-enhanced linear autoencoder (Moon, Park, Lee, CIKM 2025), exact, out of core.

    Parameters
    ----------
    reg_x, reg_f, reg_e
        The paper's lambda_X (may be negative), lambda_F and lambda_KD; ``reg_x + reg_e > 0``.
    encoder, transform, data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "l3ae"

    def __init__(
        self,
        reg_x: float = 0.0,
        reg_f: float = 5.0,
        reg_e: float = 100.0,
        *,
        encoder: dict[str, Any] | None = None,
        transform: dict[str, Any] | None = None,
        data_options: dict[str, Any] | None = None,
        compute: dict[str, Any] | None = None,
    ) -> None:
        self.reg_x = reg_x
        self.reg_f = reg_f
        self.reg_e = reg_e
        self.encoder = encoder
        self.transform = transform
        self.data_options = data_options
        self.compute = compute

    def _model_section(self) -> dict[str, Any]:
        return {"reg_x": self.reg_x, "reg_f": self.reg_f, "reg_e": self.reg_e}


class EASE(_Estimator):
    """EASE (Steck, WWW 2019): the same system without text.

    Parameters
    ----------
    reg_x
        Ridge, positive.
    data_options, compute
        Sections of the configuration as dictionaries.
    """

    _name = "ease"

    def __init__(
        self,
        reg_x: float = 100.0,
        *,
        data_options: dict[str, Any] | None = None,
        compute: dict[str, Any] | None = None,
    ) -> None:
        self.reg_x = reg_x
        self.data_options = data_options
        self.compute = compute

    def _model_section(self) -> dict[str, Any]:
        return {"reg_x": self.reg_x}
