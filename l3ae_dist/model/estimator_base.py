"""The base class of the estimators: they are fitted, loaded and refitted by scikit-learn's conventions."""

from pathlib import Path
from typing import ClassVar, Self

from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from l3ae_dist.config.members import MEMBERS
from l3ae_dist.config.section import SectionValues
from l3ae_dist.data.tables import Table, Vectors
from l3ae_dist.errors import ConfigError
from l3ae_dist.model.fitted import FittedModel, load_model
from l3ae_dist.model.lifecycle import ModelLifecycle
from l3ae_dist.pipeline.result import ResultDocument
from l3ae_dist.runtime.events import OnEvent

_FEATURE_SECTIONS = ("encoder", "transform", "words")


class Estimator(ModelLifecycle, BaseEstimator):  # type: ignore[misc]
    """Base class of the family, by scikit-learn's conventions.

    Attributes
    ----------
    model_
        The :class:`~l3ae_dist.model.fitted.FittedModel`; ``model_.dataset`` has the ids and counts.
    certificate_, n_items_
        Residual, tolerance and condition number of the solve; items of the catalog.
    result_
        What :func:`l3ae_dist.run` returned; an estimator that was loaded has none.
    """

    _name: ClassVar[str]
    data_options: SectionValues | None
    compute: SectionValues | None

    def fit(
        self,
        interactions: Table,
        items: "Table | None" = None,
        *,
        workspace: str | Path,
        embeddings: "Vectors | None" = None,
        on_event: OnEvent | None = None,
    ) -> Self:
        """Fit the model and keep everything in ``workspace``; what is there already is reused.

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

        Raises
        ------
        ConfigError
            For a parameter out of range, or an unknown option.
        DataError
            For interactions, items or embeddings that cannot be used.
        BudgetError
            When the plan does not fit ``compute["memory_budget"]``, with the smallest change that does.
        NumericalError
            When the system cannot be solved to the tolerance.
        WorkspaceLockedError
            While another run writes to the workspace.
        """
        from l3ae_dist.config.load import make_config
        from l3ae_dist.pipeline.run import run

        values: dict[str, object] = {
            "workspace": str(workspace),
            "model": {"name": self._name, **self._model_section()},
            "data": {"options": {"split": "none", **(self.data_options or {})}},
            "compute": self.compute or {},
            **{name: getattr(self, name, None) or {} for name in _FEATURE_SECTIONS},
        }
        self.result_ = run(
            make_config(values),
            interactions=interactions,
            items=items,
            embeddings=embeddings,
            on_event=on_event,
            until="fit",
        )
        return self._with(load_model(workspace))

    @classmethod
    def load(
        cls, workspace: str | Path, *, memory_budget: int | str = "2GiB", threads: int | None = None
    ) -> Self:
        """Open the fitted model of a workspace as an estimator, from any process.

        Parameters
        ----------
        workspace
            Path or URL.
        memory_budget
            Bytes of arrays that a call may hold beside the interpreter (such as ``"2GiB"``); half of it is
            for what is kept between calls.
        threads
            Threads of a call; all cores when None.

        Raises
        ------
        ConfigError
            When the workspace holds another member of the family, or ``memory_budget`` is no size.
        WorkspaceError
            When there is no workspace.
        WorkspaceVersionError
            When another version of the format wrote it.
        StageMissingError
            When the workspace holds no model.
        """
        model = load_model(workspace, memory_budget=memory_budget, threads=threads)
        if model.name != MEMBERS[cls._name].title:
            raise ConfigError(
                f"{workspace} holds {model.name}, not {cls.__name__}; use {model.name}.load, or load_model."
            )
        return cls(**model.params)._with(model)

    def _model_section(self) -> dict[str, object]:
        """The parameters of the member and, where it has a choice, its features."""
        names = (*MEMBERS[self._name].params, "features")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def _with(self, model: FittedModel) -> Self:
        self.model_ = model
        self.certificate_ = model.certificate
        self.n_items_ = model.n_items
        return self

    def _fitted(self) -> FittedModel:
        if not hasattr(self, "model_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit first.")
        return self.model_

    def _refitted(self, result: ResultDocument) -> Self:
        self.result_ = result
        return self._with(self._fitted().reopened())

    def _compute(self) -> SectionValues | None:
        return self.compute
