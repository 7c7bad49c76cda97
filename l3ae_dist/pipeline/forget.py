"""Users who are taken out of a model, of the data of its workspace, and at last of all that it keeps.

The scores forget at once: the inverse is changed by the rows of the users, as an update changes it. Then the
workspace says ``pending erasure`` until everything that still holds them is made again or deleted.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from operator import index
from typing import ClassVar

from l3ae_dist.config.data import CoreConfig
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.forgotten import Forgotten
from l3ae_dist.data.tables import Id
from l3ae_dist.data.without_users import without_users
from l3ae_dist.embed.core_order import in_catalog_order
from l3ae_dist.embed.stored_transform import kept_transform
from l3ae_dist.errors import ConfigError, DamagedTileError, StageMissingError
from l3ae_dist.messages import shown
from l3ae_dist.pipeline.erasure import ErasureJob, erase, is_free
from l3ae_dist.pipeline.evaluate import solve_of
from l3ae_dist.pipeline.inputs import Inputs, Source
from l3ae_dist.pipeline.job import Job
from l3ae_dist.pipeline.model_document import MadeBy, ModelDocument, config_of_model, raw_embeddings
from l3ae_dist.pipeline.named_models import (
    check_appended_name,
    known_models,
    name_is_taken,
    read_model,
    use_model,
)
from l3ae_dist.pipeline.result import ResultDocument
from l3ae_dist.pipeline.run import run_job
from l3ae_dist.pipeline.update import UpdateJob, update_report
from l3ae_dist.runtime.event_log import told_as_events
from l3ae_dist.runtime.events import OnEvent
from l3ae_dist.runtime.main_guard import end_if_imported_by_worker
from l3ae_dist.storage import layout
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.os_errors import storage_errors
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


def forget(
    workspace: str,
    users: Sequence[Id] = (),
    *,
    erase: bool = False,
    deadline: "str | int | date | None" = None,
    compute: Mapping[str, object] | None = None,
    name: str | None = None,
    on_event: OnEvent | None = None,
) -> ResultDocument:
    """Take users out of the current model of a workspace, and keep them out of data that are read later.

    Without ``erase`` the model forgets at once, by a change of its inverse; the data and models before it
    stay, and the workspace says ``pending erasure``. With ``erase`` the system is solved without the users,
    and everything that may hold them is deleted.

    Parameters
    ----------
    workspace
        Path or URL; it holds a fitted model.
    users
        Their ids, as the log has them. None where users who were named before are to be erased.
    erase
        Whether to erase at once all users who are forgotten.
    deadline
        Day by which they are to be erased: ISO date or number of days from today. From then on the next
        append, update or forget erases them.
    compute
        Section of the configuration.
    name
        Name of the new model; its kind, the date and a number when None.
    on_event
        Called with every event.

    Returns
    -------
    The result of the fit, with ``update`` as :func:`l3ae_dist.update` has it and ``forget``: the ``state``
    (``"pending erasure"`` or ``"erased"``), numbers of users, the deadline, and after an erasure what was
    deleted and which copies ``elsewhere`` are out of reach.

    Raises
    ------
    UnknownIdError
        For an id that no data of the workspace hold; nothing is forgotten then.
    ConfigError
        For a deadline that has passed, a name that stands for another model, or no users at all.
    DataError
        When no training interaction would be left.
    WorkspaceLockedError
        While another run writes to the workspace.
    StageMissingError
        Without a fitted model.

    Notes
    -----
    Cost: O(nnz) for the data without the users and one pass over the inverse; with ``erase`` a solve.
    """
    how = Forgetting(erase, deadline, compute, name, on_event)
    return forget_named(workspace, users, how)


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Options of :func:`forget`."""

    erase: bool = False
    deadline: "str | int | date | None" = None
    compute: Mapping[str, object] | None = None
    name: str | None = None
    on_event: OnEvent | None = None


def forget_named(workspace: str, users: Sequence[Id], how: Forgetting) -> ResultDocument:
    """Forget as :func:`forget` does, with the options as one argument.

    Parameters
    ----------
    workspace, users
        As :func:`forget` takes them.
    how
        The options.
    """
    end_if_imported_by_worker()
    opened = Workspace.open(workspace)
    named, by = _ids(users), _day(how.deadline)
    if not named and not Forgotten.read(opened).pending:
        raise ConfigError(
            f"no users are given, and nobody's erasure is pending in {opened.url}; name the users to forget."
        )
    with storage_errors(opened.url), WorkspaceLock(opened, "forget", told_as_events(how.on_event)):
        document = read_model(opened)
        check_appended_name(opened, how.name, document.label)
        config = _config(opened, document, how)
        before = Forgotten.read(opened)
        _refuse_unknown(opened, document, before, named)
        if not before.key:  # with another one an attempt that was killed would be made once more
            (before := before.keyed()).write(opened)
        forgotten = before.with_users(named, by)
        data = _catalog_order(opened, document)
        source = _source(opened, document, without_users(data, forgotten))
        erases = how.erase or forgotten.due
        stays = source.dataset == data.id and (not erases or is_free(opened, document, forgotten))
        if not stays:
            _refuse_used_name(opened, how.name, document.label)
        if forgotten != before:
            forgotten.write(opened)
        if source.dataset != data.id:  # nothing goes on with the others from here on
            last = {"dataset": source.dataset, "embedding": source.embedding}
            opened.write_doc(layout.LAST_RUN, last)
    if stays:
        result = _as_it_is(opened, document, how.name)
    else:
        job: type[Job] = ErasureJob if erases else ForgetJob
        result = run_job(job, config, Inputs(), source=source, until="fit", on_event=how.on_event)
    made = read_model(opened, str(result["model"]["name"]))
    told: ResultDocument = {}
    if erases:
        told = erase(opened, how.on_event).told()
        result.pop("replaced", None)  # that model is gone
    state = Forgotten.read(opened).told() or {}
    return result | {"forget": {**state, **told}, "update": update_report(opened, made)}


class ForgetJob(UpdateJob):
    """A fit that changes the inverse of a model by the rows of forgotten users."""

    made_by: ClassVar[MadeBy] = "forget"


def _ids(users: object) -> list[Id]:
    """Return ids as a list; raise :class:`ConfigError` for a single one."""
    if isinstance(users, str | bytes) or not isinstance(users, Iterable):
        raise ConfigError(f"users is the single id {shown(users)}; give a list of ids.")
    found = users.tolist() if hasattr(users, "tolist") else users
    return list(found)


def _refuse_used_name(workspace: Workspace, name: str | None, parent: str) -> None:
    """Refuse the name of a model that is there, unless an earlier attempt of the same call made it."""
    for one in known_models(workspace) if name is not None else ():
        again = one.by == "forget" and one.parent == parent
        if one.label.lower() == str(name).lower() and not again:
            raise name_is_taken(one)


def _day(deadline: "str | int | date | None") -> str | None:
    """Read a deadline, which must not have passed."""
    if deadline is None:
        return None
    today = datetime.now(UTC).date()
    try:
        if isinstance(deadline, bool):
            raise TypeError("a switch is no number of days")
        if isinstance(deadline, date):
            day = date(deadline.year, deadline.month, deadline.day)
        elif isinstance(deadline, str) and not deadline.isdigit():
            day = date.fromisoformat(deadline)
        else:
            day = today + timedelta(days=int(deadline) if isinstance(deadline, str) else index(deadline))
    except (ValueError, OverflowError, TypeError) as error:
        raise ConfigError(
            f"the deadline is {shown(deadline)} but must be a date such as {today + timedelta(30)}, or a "
            "number of days."
        ) from error
    if day < today:
        raise ConfigError(
            f"the deadline {day} has passed (today is {today}, UTC); give a later one, or erase."
        )
    return day.isoformat()


def _config(workspace: Workspace, document: ModelDocument, how: Forgetting) -> RunConfig:
    """Make the configuration that fits the model again, of a core too."""
    compute = {**(how.compute or {}), **solve_of(document, how.compute or {})}
    config = config_of_model(workspace, document, compute=compute)
    core = Dataset(workspace, document.dataset).stats.core
    changes: dict[str, object] = {"name": how.name}
    if core is not None:
        again = CoreConfig(min_interactions=core.min_interactions)
        changes["data"] = config.data.model_copy(update={"core": again})
    return config.model_copy(update=changes)


def _catalog_order(workspace: Workspace, document: ModelDocument) -> Dataset:
    """Return the data of a model in the order of their catalog.

    Raises
    ------
    StageMissingError
        Where a saved copy has them with their core first alone.
    """
    data = Dataset(workspace, document.dataset)
    if data.stats.core is None:
        return data
    if workspace.stage_done(Stage.INGEST, data.stats.core.of) is None:
        raise StageMissingError(
            f"{workspace.url} has the data of the model {document.label} with their core first alone, as a "
            "saved copy has them; forget the users in the workspace it was saved from, and save it again."
        )
    return Dataset(workspace, data.stats.core.of)


def _source(workspace: Workspace, document: ModelDocument, data: Dataset) -> Source:
    """Name the data and features that a model is fitted on again."""
    embedding = raw_embeddings(workspace, document.embedding)
    if Dataset(workspace, document.dataset).stats.core is not None:
        return Source(data.id, in_catalog_order(workspace, embedding), document.label)
    return Source(data.id, embedding, document.label, kept_transform(workspace, document.embedding))


def _refuse_unknown(
    workspace: Workspace, document: ModelDocument, forgotten: Forgotten, users: Sequence[Id]
) -> None:
    """Raise :class:`UnknownIdError` for users whom no data of the workspace hold and nobody forgot."""
    new = [one for one in users if not forgotten or forgotten.digest(one) not in forgotten.digests]
    if not new:
        return
    current = Dataset(workspace, document.dataset)
    missing = _missing(current, new)
    for record in workspace.stage_records() if missing else ():
        if record.stage is Stage.INGEST and record.id != current.id:
            with contextlib.suppress(StageMissingError, DamagedTileError):  # one that cannot be read
                missing = _missing(Dataset(workspace, record.id), missing)
    if missing:
        current.user_index(missing)


def _missing(dataset: Dataset, users: Sequence[Id]) -> list[Id]:
    """Return those of some users whom a dataset lacks."""
    rows = dataset.find_users(users).tolist()
    return [one for one, row in zip(users, rows, strict=True) if row < 0]


def _as_it_is(workspace: Workspace, document: ModelDocument, name: str | None) -> ResultDocument:
    """Return the result of the model that has forgotten the users already, under the name asked for."""
    result = workspace.read_doc(layout.result(document.run)) or {"workspace": workspace.url}
    result.pop("replaced", None)
    told = {"workspace": workspace.url, "model": document.summary()}
    result |= told | {"reused": True, "tiles_written": 0}
    if name in (None, document.label):
        return result
    return result | use_model(workspace.url, document.label, name=name)
