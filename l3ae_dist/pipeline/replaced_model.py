"""A current model that another takes the place of: it is kept, and what it alone knows is told."""

from dataclasses import dataclass

from l3ae_dist.pipeline.model_document import ModelDocument
from l3ae_dist.storage.records import JsonObject
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

_GROWN = {"append": "an append to", "update": "an update of", "forget": "forgetting users of"}
_MAKERS = {
    "fit": "was fitted",
    "run": "was made by a run",
    "sweep": "was picked by a sweep",
}


@dataclass(frozen=True, slots=True)
class Replaced:
    """A model that is no longer the current one: it is kept under its name.

    Parameters
    ----------
    name, by
        Its name, and what made it.
    dropped
        Numbers of appended ``interactions``, ``users`` and ``items`` that the new model was not fitted on.
    message
        All of it as a sentence.
    """

    name: str
    by: str
    dropped: dict[str, int]
    message: str


def replacement(workspace: Workspace, old: ModelDocument, new: ModelDocument) -> Replaced:
    """Say which model was replaced by which, and what was appended to the old one alone.

    Parameters
    ----------
    workspace
        That of both models.
    old, new
        The model that was the current one, and the one that is.
    """
    if new.by == "forget" and new.parent == old.label:
        return Replaced(old.label, old.by, {}, _without_users(workspace, old, new))
    dropped = _appended_since(workspace, old.dataset, new.dataset)
    sentence = f"{new.label} is the current model now, in the place of {old.label}, which {_maker(old)}"
    if any(dropped.values()):
        counts = ", ".join(f"{number:,} {name}" for name, number in dropped.items() if number)
        sentence += f"; what was appended to its data is not in those of {new.label}: {counts}"
    elif new.parent == old.label:
        sentence = f"{new.label} is the current model now: {old.label} with what was appended"
    sentence += (
        f". {old.label} is kept: name it to a call (--model {old.label}), or make it current again with "
        f"`l3ae-dist use {workspace.url} {old.label}`."
    )
    return Replaced(old.label, old.by, dropped, sentence)


def _without_users(workspace: Workspace, old: ModelDocument, new: ModelDocument) -> str:
    return (
        f"{new.label} is the current model now: {old.label} without the users who were forgotten. "
        f"{old.label} is there until they are erased, with `l3ae-dist forget {workspace.url} --erase`."
    )


def _maker(model: ModelDocument) -> str:
    if model.by in _GROWN:
        return f"was made by {_GROWN[model.by]} {model.parent or 'another model'}"
    return _MAKERS[model.by]


def _appended_since(workspace: Workspace, old: str, new: str) -> dict[str, int]:
    """Sum up what was appended to the data of the old model and is not in those of the new one."""
    names = ("interactions", "users", "items")
    totals = dict.fromkeys(names, 0)
    kept = set(_ancestry(workspace, new))
    for dataset, appended in _ancestry(workspace, old).items():
        if dataset not in kept:
            for name in names:
                totals[name] += int(appended.get(name, 0))
    return totals


def _ancestry(workspace: Workspace, dataset: str) -> dict[str, JsonObject]:
    """Return what was appended to make a dataset, and those that it was made from, by id."""
    found: dict[str, JsonObject] = {}
    name: str | None = dataset
    while name is not None and name not in found:
        record = workspace.stage_done(Stage.INGEST, name)
        stats = {} if record is None else record.stats
        found[name] = dict(stats.get("appended") or {})
        parent = stats.get("parent")
        name = None if parent is None else str(parent)
    return found
