"""The models of a workspace: each has a name, and one of them is the current one, which calls use.

Every model is a document below ``meta/models``, named by its name; ``meta/model.json`` is a copy of that of
the current one, with when it became so and what it replaced. A model is written under its name first and
made current last, so that whatever is killed in between, the current model is whole, and the one that it
replaces has a name.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from l3ae_dist.config.members import MEMBERS
from l3ae_dist.config.model_name import checked_name
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.data.forgotten import Forgotten
from l3ae_dist.embed.core_order import in_catalog_order
from l3ae_dist.errors import ConfigError, StageMissingError
from l3ae_dist.messages import named, shown
from l3ae_dist.pipeline.model_document import ModelDocument, is_whole, raw_embeddings
from l3ae_dist.pipeline.replaced_model import Replaced, replacement
from l3ae_dist.storage import layout
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.records import JsonObject
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Current:
    """The current model of a workspace, since when it is, and what it replaced then."""

    model: ModelDocument
    since: str = ""
    replaced: Replaced | None = None

    def document(self) -> JsonObject:
        """Return the document of the current model."""
        replaced = None if self.replaced is None else asdict(self.replaced)
        return {**self.model.document(), "since": self.since, "replaced": replaced}

    def told(self) -> dict[str, object]:
        """Return what a result tells of it: the model, and what it replaced where it did."""
        told: dict[str, object] = {"model": self.model.summary()}
        return told if self.replaced is None else {**told, "replaced": asdict(self.replaced)}


# ---- reading


def read_current(workspace: Workspace) -> Current | None:
    """Read the current model; None when there is none."""
    document = workspace.read_doc(layout.CURRENT_MODEL)
    if document is None:
        return None
    model = ModelDocument.from_document(document)
    if not model.label:
        model = _labelled(workspace, model)
    replaced = document.get("replaced")
    return Current(
        model, str(document.get("since") or ""), None if replaced is None else Replaced(**replaced)
    )


def read_model(workspace: Workspace, name: str | None = None) -> ModelDocument:
    """Read a model by its name; the current one when None.

    Raises
    ------
    StageMissingError
        When the workspace holds no model.
    ConfigError
        When it holds none of that name.
    """
    if name is not None:
        document = workspace.read_doc(layout.named_model(checked_name(name)))
        if document is not None:
            return ModelDocument.from_document(document)
    current = read_current(workspace)
    if current is None:
        raise workspace.no_model()
    if name is None or name == current.model.label:
        return current.model
    names = [one.label for one in known_models(workspace)]
    raise ConfigError(
        f"{workspace.url} has no model {shown(name)}; its models: {named(names)} "
        f"(the current one is {current.model.label})."
    )


def known_models(workspace: Workspace) -> list[ModelDocument]:
    """List the models of a workspace, the oldest first."""
    documents = (workspace.read_doc(key) for key in workspace.list_docs(f"{layout.NAMED_MODELS}/"))
    models = [ModelDocument.from_document(document) for document in documents if document is not None]
    current = read_current(workspace)
    if current is not None and all(one.label != current.model.label for one in models):
        models.append(current.model)
    return sorted(models, key=lambda one: (one.made, one.label))


def paths_of_models(workspace: Workspace) -> frozenset[str]:
    """Return the arrays that the models of a workspace read."""
    return frozenset(path for model in known_models(workspace) for path in model.terms.paths())


def models(workspace: str | Path) -> list[dict[str, object]]:
    """List the models of a workspace, the oldest first.

    Parameters
    ----------
    workspace
        Path or URL.

    Returns
    -------
    For each model ``name``, ``member``, ``params``, ``made`` (ISO 8601), ``by`` (``"fit"``, ``"run"``,
    ``"sweep"``, ``"append"``, ``"update"`` or ``"forget"``), ``parent`` (the name of the model that it grew
    from) and ``current``.
    """
    opened = Workspace.open(workspace)
    current = read_current(opened)
    name = None if current is None else current.model.label
    return [{**one.summary(), "current": one.label == name} for one in known_models(opened)]


def refuse_forgotten(workspace: Workspace, dataset: str, what: str) -> None:
    """Raise :class:`ConfigError` for data with users who were forgotten since, unless they are not there.

    Parameters
    ----------
    workspace, dataset
        The data.
    what
        What the message calls them, such as ``the model monday``.
    """
    forgotten = Forgotten.read(workspace)
    if not forgotten or workspace.stage_done(Stage.INGEST, dataset) is None:
        return
    count = int(forgotten.users_of(Dataset(workspace, dataset)).sum())
    if count:
        raise ConfigError(
            f"{what} was fitted on {count:,} user(s) who were forgotten since; use the current model, or "
            f"repeat `l3ae-dist forget {workspace.url} --erase` where this is it."
        )


# ---- names


def _labelled(workspace: Workspace, model: ModelDocument) -> ModelDocument:
    """Name a model of an earlier version by the day on which its run finished."""
    finished = str((workspace.read_doc(layout.result(model.run)) or {}).get("finished") or "")
    documents = (workspace.read_doc(key) for key in workspace.list_docs(f"{layout.NAMED_MODELS}/"))
    known = [ModelDocument.from_document(document) for document in documents if document is not None]
    return replace(model, label=_free_name(model, finished, known), made=finished)


def _free_name(model: ModelDocument, made: str, known: Iterable[ModelDocument]) -> str:
    """Return the next name of a model's kind and day; a model that is known keeps the name that it has."""
    kind = next(key for key, member in MEMBERS.items() if member.title == model.name).replace("_", "-")
    begin, numbers = f"{kind}-{made[:10] or 'undated'}-", [0]
    for one in known:
        number = one.label.removeprefix(begin)
        if one.label.startswith(begin) and number.isdecimal():
            if one.is_model(model):
                return one.label
            numbers.append(int(number))
    return f"{begin}{max(numbers) + 1}"


def name_is_taken(model: ModelDocument) -> ConfigError:
    """Return the error that says that another model has a name."""
    return ConfigError(
        f"the name {shown(model.label)} is taken by another model ({model.name}, made "
        f"{model.made or 'earlier'}), and a name stands for one model for ever; choose another name, or "
        f"give that model up with `l3ae-dist gc WORKSPACE --drop {model.label}`."
    )


def check_appended_name(workspace: Workspace, name: str | None, parent: str) -> None:
    """Refuse the name of another model for what is appended to a model, before anything is computed.

    Parameters
    ----------
    workspace, name
        Where, and the name that the new model is to have; None is always free.
    parent
        Name of the model that is appended to.
    """
    if name is None:
        return
    checked_name(name)
    for one in known_models(workspace):
        if one.label.lower() == name.lower() and parent not in (one.parent, one.label):
            raise name_is_taken(one)


def _check_name(name: str, model: ModelDocument, known: Iterable[ModelDocument]) -> None:
    """Raise :class:`ConfigError` when another model has the name, or one that differs in case alone."""
    for one in known:
        if one.label.lower() == name.lower() and not one.is_model(model):
            raise name_is_taken(one)


# ---- writing


def keep_model(workspace: Workspace, model: ModelDocument, name: str | None = None) -> Current:
    """Write a model under its name, make it the current one, and say what it replaced.

    Parameters
    ----------
    workspace
        Locked by the caller.
    model
        What was fitted: a model that is known keeps its name and date.
    name
        Name that the user wants for it.

    Raises
    ------
    ConfigError
        When another model has that name.
    """
    known, before = known_models(workspace), read_current(workspace)
    kept = _named(model, name, known, None if before is None else before.model.label)
    if before is not None:
        _write(workspace, before.model)
    _write(workspace, kept)
    workspace.write_doc(layout.fitted_model(model.run), replace(kept, run=model.run).document())
    current = _make_current(workspace, kept, before)
    # what a repeated run is told is what this run has replaced, and not another that made the same model
    return current if kept.run == model.run or current is not before else replace(current, replaced=None)


def measured_model(workspace: Workspace, model: ModelDocument, label: str) -> Current:
    """Note that a run has made again the arrays of a model that it measures, whose name and place it keeps.

    Parameters
    ----------
    workspace
        Locked by the caller.
    model
        As the run made it.
    label
        Name of the model.
    """
    known = read_model(workspace, label)
    if known.is_model(model):  # terms of earlier versions may be written otherwise
        model = replace(model.told_as(known), run=model.run)
    workspace.write_doc(layout.fitted_model(model.run), model.document())
    return Current(known)


def go_on_with(workspace: Workspace, model: ModelDocument) -> None:
    """Let runs without sources go on with the data of a model."""
    before, dataset = workspace.read_doc(layout.LAST_RUN) or {}, model.dataset
    embedding = raw_embeddings(workspace, model.embedding)
    record = workspace.stage_done(Stage.INGEST, dataset)
    core = None if record is None else DatasetStats.of_record(record.stats).core
    if core is not None and workspace.stage_done(Stage.INGEST, core.of) is not None:
        dataset, embedding = core.of, in_catalog_order(workspace, embedding)
    same = before.get("embedding") if before.get("dataset") == dataset else None
    last = {"dataset": dataset, "embedding": embedding or same}
    if any(before.get(name) != value for name, value in last.items()):
        workspace.write_doc(layout.LAST_RUN, last)


def answers_already(workspace: Workspace, model: ModelDocument, name: str | None) -> Current | None:
    """Return the current model when it is this one, under this name if one is given; else None.

    Parameters
    ----------
    workspace, model
        Where, and which model.
    name
        Name that it must have; None for whichever it has.
    """
    current = read_current(workspace)
    if current is None or not current.model.is_model(model) or name not in (None, current.model.label):
        return None
    return current if workspace.read_doc(layout.named_model(current.model.label)) is not None else None


def use_model(workspace: str | Path, model: str, *, name: str | None = None) -> dict[str, object]:
    """Make a model of a workspace the current one, which calls that name none use.

    Parameters
    ----------
    workspace
        Path or URL.
    model
        Its name.
    name
        Another name for it.

    Returns
    -------
    ``model`` (as :func:`models` tells it) and ``replaced`` where another was current.

    Raises
    ------
    ConfigError
        When there is no such model, another one has the new name, or users of its data were forgotten.
    StageMissingError
        When its arrays have been deleted.
    WorkspaceLockedError
        While a run writes to the workspace.
    """
    opened = Workspace.open(workspace)
    new = None if name is None else checked_name(name)
    with WorkspaceLock(opened, f"use {model}") as lock:
        chosen = read_model(opened, model)
        if not is_whole(opened, chosen):
            raise StageMissingError(
                f"arrays of the model {shown(model)} are gone from {opened.url}; run its configuration again "
                "to make them."
            )
        refuse_forgotten(opened, chosen.dataset, f"the model {chosen.label}")
        lock.renew()
        if new is not None and new != chosen.label:
            _check_name(new, chosen, known_models(opened))
            chosen = replace(chosen, label=new, given=True)
        before = read_current(opened)
        if before is not None:
            _write(opened, before.model)
        _write(opened, chosen)
        go_on_with(opened, chosen)
        return _make_current(opened, chosen, before).told()


def forget_model(workspace: Workspace, name: str) -> None:
    """Delete the documents of a model that is not the current one; its arrays are the caller's."""
    workspace.delete_doc(layout.named_model(name))
    for key in workspace.list_docs(f"{layout.FITTED_MODELS}/"):
        if (workspace.read_doc(key) or {}).get("label") == name:
            workspace.delete_doc(key)


def _named(
    model: ModelDocument, name: str | None, known: list[ModelDocument], current: str | None
) -> ModelDocument:
    """Return a fitted model under its name: the wanted one, the one that it has, or a new one."""
    made = datetime.now(UTC).isoformat(timespec="seconds")
    same = [one for one in known if one.is_model(model)]
    if name is not None:
        _check_name(name, model, known)
    same.sort(key=lambda one: one.label != (name or current))
    if not same and model.label and name is None:
        return model
    if not same:
        label = name or _free_name(model, made, known)
        return replace(model, label=label, given=name is not None, made=made)
    kept = model.told_as(same[0])
    if model.by == "sweep":
        kept = replace(kept, by="sweep")
    return kept if name in (None, kept.label) else replace(kept, label=name or "", given=True)


def _write(workspace: Workspace, model: ModelDocument) -> None:
    """Write the document of a model under its name, unless it is there."""
    key = layout.named_model(model.label)
    document = workspace.read_doc(key)
    if document is None or ModelDocument.from_document(document) != model:
        workspace.write_doc(key, model.document())


def _make_current(workspace: Workspace, model: ModelDocument, before: Current | None) -> Current:
    """Write the document of the current model, last of all, unless it says so already."""
    if before is not None and before.model == model and before.since:
        return before
    replaced = before.replaced if before is not None else None
    if before is not None and not before.model.is_model(model):
        replaced = replacement(workspace, before.model, model)
    current = Current(model, datetime.now(UTC).isoformat(timespec="seconds"), replaced)
    workspace.write_doc(layout.CURRENT_MODEL, current.document())
    return current
