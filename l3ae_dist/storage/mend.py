"""Documents and headers of a workspace that are damaged, and what a run makes of them.

What can be derived is written again: a header of Zarr from any done-mark of its array. Everything else is
taken out, so that what made it makes it again: a stage is reopened and finds its chunks finished, a result
is computed anew.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from l3ae_dist.errors import DamagedDocumentError
from l3ae_dist.storage import layout
from l3ae_dist.storage.documents import DocumentProblem, opened_header
from l3ae_dist.storage.headers import HEADER_IN_MARK, bookkeeping_header, group_header
from l3ae_dist.storage.lock import WorkspaceLock
from l3ae_dist.storage.records import JsonObject
from l3ae_dist.storage.repair import reopen
from l3ae_dist.storage.workspace import Workspace

# What the document of the current model tells of its place alone.
_OF_THE_CURRENT = ("since", "replaced", "epoch")


@dataclass(frozen=True, slots=True)
class DamagedDocument:
    """A document at ``path`` in the workspace, and in a sentence what is wrong with it."""

    path: str
    problem: str


def damaged_documents(workspace: Workspace) -> list[DamagedDocument]:
    """Read every document, and every header of an array with finished chunks; return the damaged ones.

    Costs one small request for each, and a listing of the done-marks.
    """
    # the folders of all marks, also of those that were copied there and mark nothing
    arrays = {layout.array_of_mark(key) for key in workspace.blobs.list(layout.DONE_MARKS)}
    arrays |= {other for path in arrays if (other := layout.stored_with(path)) is not None}
    groups = {group for array in arrays for group in layout.groups_above(array)}
    headers = sorted({layout.META, *arrays, *groups})
    with ThreadPoolExecutor(workspace.blobs.concurrency) as pool:
        found = [
            *pool.map(lambda key: _document_problem(workspace, key), _document_keys(workspace)),
            *pool.map(lambda path: _header_problem(workspace, path), headers),
        ]
    return [one for one in found if one is not None]


def _document_keys(workspace: Workspace) -> Iterator[str]:
    yield from layout.SINGLE_DOCUMENTS
    for folder in layout.DOCUMENT_FOLDERS:
        yield from workspace.list_docs(folder)


def _document_problem(workspace: Workspace, key: str) -> DamagedDocument | None:
    try:
        workspace.read_doc(key)
        if key == layout.CURRENT_MODEL:
            workspace.refuse_lost_model()
    except DamagedDocumentError as error:
        return DamagedDocument(error.path, str(error))
    return None


def _header_problem(workspace: Workspace, path: str) -> DamagedDocument | None:
    try:
        header = workspace.read_header(path)
    except DamagedDocumentError as error:
        return DamagedDocument(error.path, str(error))
    if header is not None or not workspace.has_digests:  # copies of older versions lack some
        return None
    key = layout.header(path)
    return DamagedDocument(key, str(workspace.damaged_document(key, "is missing")))


def mend_documents(workspace: Workspace) -> list[DamagedDocument]:
    """Write damaged documents again or take them out, under the lock of the workspace; return them."""
    damaged = damaged_documents(workspace)
    if damaged:
        with WorkspaceLock(workspace, "repair") as lock:
            for one in damaged:
                lock.check()
                _mend(workspace, one.path)
    return damaged


def _mend(workspace: Workspace, path: str) -> None:
    if not path.endswith(layout.GROUP_HEADER):
        _take_out(workspace, layout.document_key(path))
        return
    described = layout.described_by(path)
    if described == layout.META:
        workspace.write_header(described, bookkeeping_header(), replace=True)
    elif layout.stored_with(described) is not None or any(True for _ in _marks(workspace, described)):
        _mend_array(workspace, described)
    else:
        workspace.write_header(described, group_header(), replace=True)


def _take_out(workspace: Workspace, key: str) -> None:
    """Delete a document; that of a model is written again from another of the same model, where one is.

    The document that keeps forgotten users out is not deleted: to read it raises.
    """
    if key == layout.FORGOTTEN:
        workspace.read_doc(key)
    for other in _documents_of_models(workspace) if key != layout.CURRENT_MODEL else ():
        if key in (layout.fitted_model(str(other.get("run"))), layout.named_model(str(other.get("label")))):
            workspace.write_doc(key, other)
            return
    workspace.delete_doc(key)


def _documents_of_models(workspace: Workspace) -> Iterator[JsonObject]:
    """Yield the documents of models that are sound, without what the current one tells of its place."""
    keys = [layout.CURRENT_MODEL]
    for folder in (layout.NAMED_MODELS, layout.FITTED_MODELS):
        keys += workspace.list_docs(f"{folder}/")
    for key in keys:
        document = _sound(workspace, key)
        if document is not None:
            yield {name: value for name, value in document.items() if name not in _OF_THE_CURRENT}


def _sound(workspace: Workspace, key: str) -> JsonObject | None:
    try:
        return workspace.read_doc(key)
    except DamagedDocumentError:
        return None


def _mend_array(workspace: Workspace, path: str) -> None:
    """Write the header of an array from a done-mark; without one its stage is reopened, which knows it."""
    for key in _marks(workspace, path):
        header = _header_of_mark(path, workspace.blobs.get(key) or b"")
        if header is not None:
            workspace.write_header(path, header, replace=True)
            return
    reopen(workspace, path)


def _marks(workspace: Workspace, path: str) -> Iterator[str]:
    """Yield the done-marks of the array at ``path`` alone, not those of arrays below it."""
    marks = workspace.blobs.list(layout.done_marks(path))
    return (key for key in marks if layout.array_of_mark(key) == path)


def _header_of_mark(path: str, mark: bytes) -> JsonObject | None:
    """Return the header that a done-mark holds; None for marks of older versions, and damaged ones."""
    try:
        return opened_header(path, json.dumps(json.loads(mark)[HEADER_IN_MARK]).encode())
    except (DocumentProblem, ValueError, KeyError, TypeError):
        return None
