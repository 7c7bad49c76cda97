"""What every member of the family shares as a scikit-learn estimator, and the two that lead it."""

from collections.abc import Iterator, Sequence
from typing import Any, Self

from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from l3ae_dist.config.members import MEMBERS
from l3ae_dist.errors import ConfigError
from l3ae_dist.model.fitted import FittedModel, Kind, load_model
from l3ae_dist.runtime.events import OnEvent


class Estimator(BaseEstimator):  # type: ignore[misc]
    """What the members of the family share; scikit-learn's conventions."""

    _name = "l3ae"

    def _model_section(self) -> dict[str, Any]:
        raise NotFittedError("use a member of the family")

    def fit(
        self,
        interactions: Any,
        items: Any = None,
        *,
        workspace: str,
        embeddings: Any = None,
        on_event: OnEvent | None = None,
    ) -> Self:
        """Fit and keep everything in ``workspace``; what is there already is reused.

        Parameters
        ----------
        interactions, items
            DataFrames, paths or URLs.
        workspace
            Path or URL.
        embeddings
            (n, d) array, .npy, Parquet or Zarr, instead of embedding the items' text.
        on_event
            Called with every event; a :func:`~l3ae_dist.runtime.watch.progress.progress_printer` shows them.

        Returns
        -------
        self, with ``model_``, ``certificate_``, ``n_items_`` and ``result_``.
        """
        from l3ae_dist.config.load import make_config
        from l3ae_dist.pipeline.run import run

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
            make_config(values),
            interactions=interactions,
            items=items,
            embeddings=embeddings,
            on_event=on_event,
            until="fit",
        )
        return self._with(load_model(str(workspace)))

    @classmethod
    def load(cls, workspace: str, *, memory_budget: int | str = "2GiB", threads: int | None = None) -> Self:
        """Open the fitted model of a workspace, by path or URL, as an estimator; lazy, from any process.

        Raises
        ------
        ConfigError
            When the workspace holds another member of the family.
        """
        model = load_model(str(workspace), memory_budget=memory_budget, threads=threads)
        if model.name != MEMBERS[cls._name].title:
            raise ConfigError(
                f"{workspace} holds {model.name}, not {cls.__name__}; use {model.name}.load, or load_model."
            )
        return cls(**model.params)._with(model)

    def _with(self, model: FittedModel) -> Self:
        self.model_ = model
        self.certificate_ = model.certificate
        self.n_items_ = model.grid.n
        return self

    def _fitted(self) -> FittedModel:
        if not hasattr(self, "model_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit first.")
        model: FittedModel = self.model_
        return model

    def save(self, url: str) -> None:
        """See :meth:`FittedModel.save`."""
        self._fitted().save(url)

    def recommend(self, users: Any, n: int = 20, **options: Any) -> Any:
        """See :meth:`FittedModel.recommend`."""
        return self._fitted().recommend(users, n, **options)

    def recommend_batches(self, users: Any = None, n: int = 20, **options: Any) -> Iterator[Any]:
        """See :meth:`FittedModel.recommend_batches`."""
        return self._fitted().recommend_batches(users, n, **options)

    def similar_items(
        self, item_ids: Sequence[Any], n: int = 10, *, kind: Kind = "weights", cold_items: bool = True
    ) -> Any:
        """See :meth:`FittedModel.similar_items`."""
        return self._fitted().similar_items(item_ids, n, kind=kind, cold_items=cold_items)

    def weights(self, item_ids: Sequence[Any]) -> Any:
        """See :meth:`FittedModel.weights`."""
        return self._fitted().weights(item_ids)

    def evaluate(self, *, on_event: OnEvent | None = None, **options: Any) -> dict[str, Any]:
        """See :meth:`FittedModel.evaluate`; with the ``compute`` of this estimator."""
        return self._fitted().evaluate(compute=self.compute, on_event=on_event, **options)

    def add_items(self, items: Any, *, ids: Sequence[Any] | None = None, embeddings: Any = None) -> Any:
        """See :meth:`FittedModel.add_items`."""
        return self._fitted().add_items(items, ids=ids, embeddings=embeddings)

    def explain(self, user: Any, item_id: Any) -> Any:
        """See :meth:`FittedModel.explain`."""
        return self._fitted().explain(user, item_id)

    def append(self, interactions: Any, items: Any = None, *, embeddings: Any = None) -> Self:
        """Add interactions to those of the fit and fit again, as :func:`l3ae_dist.append` does.

        Returns
        -------
        self, with the fitted attributes renewed; ``result_["append"]`` says what was new.
        """
        from l3ae_dist.pipeline.append import append

        where = self._fitted().workspace.url
        self.result_ = append(where, interactions, items, embeddings=embeddings, compute=self.compute)
        return self._with(load_model(where))

    def export_weights(self, path: Any, k: Any = 100, **options: Any) -> dict[str, Any]:
        """See :meth:`FittedModel.export_weights`."""
        return self._fitted().export_weights(path, k, **options)


class L3AE(Estimator):
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


class EASE(Estimator):
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
