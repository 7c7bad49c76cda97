"""The base class of the estimators: they are fitted, loaded and refitted by scikit-learn's conventions."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from l3ae_dist.config.members import MEMBERS
from l3ae_dist.config.section import SectionValues
from l3ae_dist.data.tables import Items, Table, Vectors
from l3ae_dist.errors import ConfigError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.messages import named, shown
from l3ae_dist.model.card import model_card
from l3ae_dist.model.fitted import FittedModel, load_model
from l3ae_dist.model.lifecycle import ModelLifecycle
from l3ae_dist.pipeline.named_models import known_models
from l3ae_dist.pipeline.result import ResultDocument
from l3ae_dist.runtime.events import OnEvent

if TYPE_CHECKING:
    from sklearn.utils import Tags

_FEATURE_SECTIONS = ("encoder", "transform", "words")


class Estimator(ModelLifecycle, BaseEstimator):  # type: ignore[misc]
    """Base class of the family, by scikit-learn's conventions.

    Attributes
    ----------
    model_
        The :class:`~l3ae_dist.model.fitted.FittedModel`; ``model_.dataset`` has the ids and counts.
    certificate_
        Residual, tolerance and condition number of the solve.
    n_items_, n_users_
        Items of the catalog, and users of the interactions.
    result_
        What :func:`l3ae_dist.run` returned; an estimator that was loaded has none.
    """

    _name: ClassVar[str]
    data_options: SectionValues | None
    compute: SectionValues | None

    def fit(
        self,
        interactions: Table,
        items: "Items | None" = None,
        *,
        workspace: str | Path,
        embeddings: "Vectors | None" = None,
        name: str | None = None,
        on_event: OnEvent | None = None,
    ) -> Self:
        """Fit the model and keep everything in ``workspace``; what is there already is reused.

        Parameters
        ----------
        interactions
            A table with a row for each interaction: paths or URLs, a DataFrame, a sparse matrix, ...
        items
            A table with a row for each item, or texts by id. None takes the items that the interactions name,
            for models without text, or with the embeddings of a table.
        workspace
            Path or URL.
        embeddings
            (n, d) array, .npy, Zarr, or a table with the ids of the items, instead of embedding their text.
        name
            Name of the model in the workspace; its kind, the date and a number when None.
        on_event
            Called with every event; a :func:`~l3ae_dist.runtime.watch.progress.progress_printer` shows them.

        Returns
        -------
        self, with ``model_``, ``certificate_``, ``n_items_``, ``n_users_`` and ``result_``.

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
            "workspace": str(workspace) if isinstance(workspace, Path) else workspace,
            "model": {"name": self._name, **self._model_section()},
            "data": {
                "options": {"split": "none", **self._section("data_options")},
                "core": None if getattr(self, "core", None) is None else self._section("core"),
            },
            "compute": self._section("compute"),
            **{section: self._section(section) for section in _FEATURE_SECTIONS},
            "name": name,
        }
        self.result_ = run(
            make_config(values),
            interactions=interactions,
            items=items,
            embeddings=embeddings,
            on_event=on_event,
            until="fit",
        )
        return self._with(load_model(workspace, str(self.result_["model"]["name"])))

    def _section(self, name: str) -> SectionValues:
        """Return a section of the configuration that the estimator was given; an empty one for none."""
        section = getattr(self, name, None)
        if section is None:
            return {}
        if not isinstance(section, Mapping):
            raise ConfigError(f"{name} is {shown(section)} but must be a mapping of settings.")
        return section

    @classmethod
    def load(
        cls,
        workspace: str | Path,
        model: str | None = None,
        *,
        memory_budget: int | str = "2GiB",
        threads: int | None = None,
    ) -> Self:
        """Open a fitted model of a workspace as an estimator, from any process.

        Parameters
        ----------
        workspace
            Path or URL.
        model
            Name of the model; the current one when None.
        memory_budget
            Bytes of arrays that a call may hold beside the interpreter (such as ``"2GiB"``); half of it is
            for what is kept between calls.
        threads
            Threads of a call; all cores when None.

        Raises
        ------
        ConfigError
            When the model is another member of the family or not there, or ``memory_budget`` is no size.
        WorkspaceError
            When there is no workspace.
        WorkspaceVersionError
            When another version of the format wrote it.
        StageMissingError
            When the workspace holds no model.
        """
        found = load_model(workspace, model, memory_budget=memory_budget, threads=threads)
        if found.name != MEMBERS[cls._name].title:
            others = [one.label for one in known_models(found.workspace) if one.name == cls.__name__]
            raise ConfigError(
                f"{workspace} holds {found.name}, not {cls.__name__}; use {found.name}.load, or load_model"
                + (f", or name one of its models that are: {named(others)}." if others else ".")
            )
        core = found.stored.stats.core
        kept = {} if core is None else {"core": {"min_interactions": core.min_interactions}}
        return cls(**found.params, **kept)._with(found)

    def _model_section(self) -> dict[str, object]:
        """The parameters of the member and, where it has a choice, its features."""
        names = (*MEMBERS[self._name].all_params, "features")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def _with(self, model: FittedModel) -> Self:
        self.model_ = model
        self.certificate_ = model.certificate
        self.n_items_, self.n_users_ = model.n_items, model.dataset.n_users
        return self

    @property
    def item_ids_(self) -> Array:
        """Ids of the items, (n_items,), in the order of the catalog."""
        return self._fitted().dataset.item_ids()

    @property
    def user_ids_(self) -> Array:
        """Ids of the users, (n_users,), sorted."""
        return self._fitted().dataset.user_ids()

    def __sklearn_tags__(self) -> "Tags":
        """Say to scikit-learn that a log is no array of numbers, and that there is no target."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string = False, True
        tags.target_tags.required, tags.no_validation = False, True
        return tags

    def _repr_mimebundle_(self, **_options: object) -> dict[str, str]:
        """Show a card of the fitted model in notebooks, and scikit-learn's of one that is not fitted."""
        if not hasattr(self, "model_"):
            return dict(super()._repr_mimebundle_())
        return {"text/plain": repr(self), "text/html": model_card(self.model_)}

    def _fitted(self) -> FittedModel:
        if not hasattr(self, "model_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit first.")
        return self.model_

    def _refitted(self, result: ResultDocument) -> Self:
        self.result_ = result
        return self._with(self._fitted().reopened(str(result["model"]["name"])))

    def _compute(self) -> SectionValues | None:
        return self.compute

    def _trusts_code(self) -> bool:
        return self._section("encoder").get("trust_remote_code") is True
