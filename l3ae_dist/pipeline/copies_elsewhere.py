"""Notes on what was made of a workspace's models in other places: exports, copies, lists for users.

They say where to look when users are to be forgotten; the places themselves are out of reach.
"""

import contextlib
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from l3ae_dist.errors import WorkspaceError
from l3ae_dist.pipeline.model_document import ModelDocument
from l3ae_dist.storage import layout
from l3ae_dist.storage.credentials import without_secrets
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.workspace import Workspace


@dataclass(frozen=True, slots=True)
class CopyElsewhere:
    """Something that was made of a model.

    Parameters
    ----------
    kind, place
        What it is, and its path or URL.
    model, dataset
        Name of the model, and id of its data.
    made
        When, ISO 8601 in UTC.
    """

    kind: str
    place: str
    model: str
    dataset: str
    made: str


def note_copy(
    workspace: Workspace,
    model: ModelDocument,
    kind: Literal["export", "saved model", "recommendations", "report"],
    place: str,
) -> None:
    """Note that something was made of a model elsewhere; a workspace that cannot be written stays as it is.

    Parameters
    ----------
    workspace, model
        The model.
    kind, place
        What was made, and where.
    """
    is_url = "://" in place or place.startswith("mlflow:")
    where = str(without_secrets(place if is_url else os.path.abspath(place)))
    made = datetime.now(UTC).isoformat(timespec="seconds")
    note = CopyElsewhere(kind, where, model.label, model.dataset, made)
    with contextlib.suppress(OSError, WorkspaceError):
        workspace.write_doc(layout.copy_elsewhere(fingerprint([kind, where, model.dataset])), asdict(note))


def copies_of_others(workspace: Workspace, datasets: set[str], models: set[str]) -> list[dict[str, str]]:
    """List what was made of other models, or of other datasets, than these, the oldest first.

    Parameters
    ----------
    workspace, datasets, models
        Where, and the ids and names of what is left out.
    """
    documents = (workspace.read_doc(key) for key in workspace.list_docs(f"{layout.COPIES}/"))
    found = [
        one
        for one in documents
        if one is not None and not (one["dataset"] in datasets and one["model"] in models)
    ]
    return sorted(({str(key): str(one[key]) for key in one} for one in found), key=lambda one: one["made"])
