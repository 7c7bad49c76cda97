"""New interactions for a fitted model, whose inverse is changed by their users in place of a solve.

The scores are those of a fit of all interactions, as far as the certificate says, at the price of one pass
over the tiles of the inverse. Where that is not possible, or too many users changed, the system is solved,
and the log says why.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from l3ae_dist.config.members import Route
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.changes import changed_rows
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.forgotten import Forgotten
from l3ae_dist.pipeline.append import AppendJob, Growth, grown, trial_data
from l3ae_dist.pipeline.corrections import (
    change_of,
    changed_by,
    inverse_of,
    most_rows,
    update_base,
    why_solved,
)
from l3ae_dist.pipeline.evaluate import solve_of
from l3ae_dist.pipeline.inputs import Inputs
from l3ae_dist.pipeline.model_document import MadeBy, ModelDocument
from l3ae_dist.pipeline.model_search import Specs
from l3ae_dist.pipeline.named_models import read_model
from l3ae_dist.pipeline.result import ResultDocument
from l3ae_dist.planning.plan import Plan
from l3ae_dist.runtime.events import Message, OnEvent
from l3ae_dist.runtime.executors import Executor
from l3ae_dist.solve.artifact_store import SolveSettings
from l3ae_dist.storage.workspace import Workspace


def update(
    workspace: str,
    interactions: object,
    items: object = None,
    *,
    embeddings: object = None,
    options: Mapping[str, object] | None = None,
    compute: Mapping[str, object] | None = None,
    model: str | None = None,
    name: str | None = None,
    trust_remote_code: bool = False,
    on_event: OnEvent | None = None,
    dry_run: bool = False,
) -> ResultDocument:
    """Add interactions to the data of a workspace's model, and change its inverse by their users.

    The new model becomes the current one; the old one is kept under its name, and shares the tiles of the
    inverse with it.

    Parameters
    ----------
    workspace, interactions, items, embeddings, options, compute, model, name, trust_remote_code, on_event
        As :func:`l3ae_dist.append` takes them; dtype and route are the model's.
    dry_run
        Only tell whether the inverse would be changed or the system solved, and why: ``changes``, ``reason``,
        ``rank``, ``users``, ``most_rows``, ``bytes``, ``flops`` and ``solve_flops``. Nothing is kept.

    Returns
    -------
    The result of the fit, with ``append`` (what was new) and ``update``: whether the inverse was ``changed``,
    by how many rows (``rank``) of how many ``users``, and how many times its errors may grow
    (``amplification``).

    Raises
    ------
    DataError, ConfigError, WorkspaceLockedError, StageMissingError
        As :func:`l3ae_dist.append` does.

    Notes
    -----
    Cost: one pass over the tiles of the inverse, ``4 n r^2`` flops for r changed rows, and O(nnz) for the new
    dataset and the certificate. New items, members with dropout or weights of users, the direct route, and
    more changed rows than a tenth of the items make it solve the system, as an append does.
    """
    call = foreseen if dry_run else update_named
    how = Growth(options, compute, model, name, trust_remote_code, on_event)
    return call(workspace, Inputs(interactions, items, embeddings), how)


def update_named(workspace: str, new: Inputs, how: Growth) -> ResultDocument:
    """Update as :func:`update` does, with the new data and the options as one argument each.

    Parameters
    ----------
    workspace
        Path or URL.
    new
        The new log, catalog rows and embeddings.
    how
        Options of :func:`l3ae_dist.append`.
    """
    opened = Workspace.open(workspace)
    document = read_model(opened, how.model)
    compute = {**(how.compute or {}), **solve_of(document, how.compute or {})}
    result = grown(workspace, new, replace(how, compute=compute, job=UpdateJob))
    made = read_model(opened, str(result["model"]["name"]))
    return result | {"update": update_report(opened, made)}


def foreseen(workspace: str, new: Inputs, how: Growth) -> dict[str, object]:
    """Tell whether an update would change the inverse or solve, and at what cost; nothing is kept.

    Parameters
    ----------
    workspace, new, how
        As :func:`update_named` takes them.

    Returns
    -------
    ``already`` for a log that is part of the data; ``changes``; ``reason`` where the system would be solved;
    ``rank`` and ``users`` that differ from
    the data of the inverse, where counted; ``most_rows`` that are changed at most; ``bytes`` and ``flops`` of
    a change, and ``solve_flops`` of a solve. Whether its certificate holds is seen when it is made.
    """
    opened = Workspace.open(workspace)
    document = read_model(opened, how.model)
    compute = {**(how.compute or {}), **solve_of(document, how.compute or {})}
    with trial_data(workspace, new, replace(how, compute=compute)) as (model, config, after):
        if after is None:
            return {"changes": False, "reason": None, "already": True}
        n = after.n_items
        most = most_rows(n, model.tile, config.compute.memory_budget)
        found: dict[str, object] = {"most_rows": most, "solve_flops": float(n) ** 3}
        base, reason = inverse_of(opened, model), _reason(opened, config, UpdateJob.models(config))
        if reason is None and base is None:
            reason = _NO_INVERSE
        if reason is None and base is not None:
            before = Dataset(opened, base[0])
            same = before.n_items == n
            changed = changed_rows(before, after, most) if same else None
            reason = None if same else "the catalog has new items"
            if same and changed is None:
                reason = f"more than {most:,} rows changed"
            if changed is not None:
                rank = changed.rows.shape[0]
                found |= {"rank": rank, "users": changed.users}
                found |= {"bytes": n * n // 2 * np.dtype(model.dtype).itemsize}
                found |= {"flops": 2.0 * n * changed.rows.nnz + 4.0 * n * rank**2}
    return {"changes": reason is None, "reason": reason, "already": False, **found}


_NO_INVERSE = "the model before it has no inverse, or no record of what it is made from"


def _reason(workspace: Workspace, config: RunConfig, specs: Specs) -> str | None:
    """Say why the system is solved whatever changed; None where it need not be."""
    if Forgotten.read(workspace).due:
        return "forgotten users are to be erased by now"
    return why_solved(config, specs)


class UpdateJob(AppendJob):
    """A fit that changes the inverse of the model before it."""

    made_by: ClassVar[MadeBy] = "update"
    takes_updates = True

    def _settings(self, plan: Plan, executor: Executor) -> SolveSettings:
        settings = super()._settings(plan, executor)
        reason, base = self._why_solved, None
        if reason is None:
            base = update_base(self.workspace, read_model(self.workspace, self._parent), plan)
            reason = None if base else _NO_INVERSE
        if reason is not None:
            self.events(Message(message=f"the system is solved anew: {reason}"))
        return replace(settings, update=base)

    @property
    def _why_solved(self) -> str | None:
        return _reason(self.workspace, self.config, self.models(self.config))

    def _storage(
        self, plan: Plan, route: Route, dataset: Dataset, embedding: str | None, specs: Specs
    ) -> dict[str, object]:
        """Tell what a solve takes where there is one for certain; a change takes n r numbers."""
        if self._why_solved is None:
            return {}
        return super()._storage(plan, route, dataset, embedding, specs)


def update_report(workspace: Workspace, document: ModelDocument) -> dict[str, object]:
    """Tell by what the inverse of a model is changed; ``changed`` is false for one of its own."""
    if changed_by(document) is None:
        return {"changed": False}
    record = change_of(workspace, document)
    if record is None:  # as in a saved copy
        return {"changed": True}
    told = {key: record.stats[key] for key in ("rank", "users", "amplification")}
    return {"changed": True, "since": record.params["dataset"], **told}
