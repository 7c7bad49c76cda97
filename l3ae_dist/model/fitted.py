"""A fitted model is its workspace: opened in no time, asked for recommendations, neighbours and reasons."""

import contextlib
from pathlib import Path
from typing import Self

from l3ae_dist.errors import ConfigError, StageMissingError
from l3ae_dist.messages import shown
from l3ae_dist.model.card import model_card
from l3ae_dist.model.lifecycle import ModelLifecycle
from l3ae_dist.model.model_arrays import ModelArrays
from l3ae_dist.pipeline.result import ResultDocument
from l3ae_dist.storage.workspace import Workspace


class FittedModel(ModelLifecycle, ModelArrays):
    """A model in a workspace: tiles are read as they are needed, and kept within the memory budget.

    Parameters
    ----------
    workspace
        A workspace in which a fit has finished.
    model
        Name of the model; the current one when None.
    memory_budget
        Bytes of arrays that a call may hold beside the interpreter (such as ``"2GiB"``); half of it is
        for what is kept between calls.
    threads
        Threads of a call; all cores when None.

    Raises
    ------
    StageMissingError
        When the workspace holds no model.
    ConfigError
        When there is no such model, or ``memory_budget`` is no size.

    Notes
    -----
    A model can be used in a child of a fork, and pickled: a pickle holds where the model is and which one of
    that workspace, and neither its arrays nor what is read of them.

    Attributes
    ----------
    label
        Its name in the workspace, by which other calls find it.
    name
        The member of the family, such as ``"L3AE"``.
    params
        Its hyper-parameters by name.
    certificate
        Residual, tolerance and condition number of the solve.
    dataset
        The :class:`~l3ae_dist.data.dataset.Dataset` of the fit: ``user_ids()``, ``item_ids()``, ``stats``.
    workspace
        Where all of it is stored.
    """

    def __reduce__(self) -> tuple[object, ...]:
        return _opened_again, (
            self.workspace.url,
            self.label,
            self.document.run,
            self.memory_budget,
            self.threads,
        )

    def _repr_html_(self) -> str:
        """Show a card of the model in notebooks."""
        return model_card(self)

    def _fitted(self) -> ModelArrays:
        return self

    def _refitted(self, result: ResultDocument) -> Self:
        return self.reopened(str(result["model"]["name"]))

    def reopened(self, model: str | None = None) -> Self:
        """Open a model of the workspace, the current one for None, within the same budget and threads."""
        workspace = Workspace.open(self.workspace.url)
        return type(self)(workspace, model, memory_budget=self.memory_budget, threads=self.threads)


def _opened_again(url: str, model: str, run: str, memory_budget: int, threads: int | None) -> FittedModel:
    """Open the model that a pickle names, whichever is the current one of its workspace now.

    Parameters
    ----------
    url
        Of the workspace.
    model, run
        Its name, and the id of the run that made it: names alone may be those of models elsewhere, too.
    memory_budget, threads
        As for :class:`FittedModel`.

    Raises
    ------
    StageMissingError
        When the workspace no longer holds that model.
    """
    workspace, found = Workspace.open(url), None
    with contextlib.suppress(ConfigError):  # there is none of that name
        found = FittedModel(workspace, model, memory_budget=memory_budget, threads=threads)
    if found is None or found.document.run != run:
        raise StageMissingError(
            f"{url} no longer holds the model {shown(model)} of run {shown(run)}, which was pickled; fit it "
            "once more, or open the model that is there with load_model."
        )
    return found


def load_model(
    workspace: str | Path,
    model: str | None = None,
    *,
    memory_budget: int | str = "2GiB",
    threads: int | None = None,
) -> FittedModel:
    """Open a fitted model of a workspace, from any process; nothing is read before it is needed.

    Parameters
    ----------
    workspace
        Path or URL.
    model
        Name of the model, as :func:`l3ae_dist.models` lists them; the current one when None.
    memory_budget
        Bytes of arrays that a call may hold beside the interpreter (such as ``"2GiB"``); half of it is
        for what is kept between calls.
    threads
        Threads of a call; all cores when None.

    Raises
    ------
    StageMissingError
        When the workspace holds no model.
    WorkspaceError
        When there is no workspace.
    WorkspaceVersionError
        When another version of the format wrote it.
    ConfigError
        When there is no such model, or ``memory_budget`` is no size.
    """
    return FittedModel(Workspace.open(workspace), model, memory_budget=memory_budget, threads=threads)
