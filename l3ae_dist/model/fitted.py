"""A fitted model is its workspace: opened in no time, asked for recommendations, neighbours and reasons."""

from pathlib import Path
from typing import Self

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
        When ``memory_budget`` is no size.

    Attributes
    ----------
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

    def _fitted(self) -> ModelArrays:
        return self

    def _refitted(self, result: ResultDocument) -> Self:
        return self.reopened()

    def reopened(self) -> Self:
        """Open the model that the workspace holds now, within the same budget and with the same threads."""
        workspace = Workspace.open(self.workspace.url)
        return type(self)(workspace, memory_budget=self.memory_budget, threads=self.threads)


def load_model(
    workspace: str | Path, *, memory_budget: int | str = "2GiB", threads: int | None = None
) -> FittedModel:
    """Open the fitted model of a workspace, from any process; nothing is read before it is needed.

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
    StageMissingError
        When the workspace holds no model.
    WorkspaceError
        When there is no workspace.
    WorkspaceVersionError
        When another version of the format wrote it.
    ConfigError
        When ``memory_budget`` is no size.
    """
    return FittedModel(Workspace.open(workspace), memory_budget=memory_budget, threads=threads)
