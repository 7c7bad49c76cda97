"""Chunks that a workspace must hold: a completed stage implies all of its arrays.

A chunk that is gone together with its done-mark leaves no trace of its own. That it is missing follows from
the completion record, which names the arrays of its stage, and from the document of the current model.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from l3ae_dist.errors import DamagedDocumentError, DamagedTileError, StageMissingError
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.damage_notes import DamagedChunk
from l3ae_dist.storage.done_marks import marked_chunks
from l3ae_dist.storage.workspace import Workspace

Chunks = set[tuple[int, int]]


def lost_chunks(workspace: Workspace, models: Iterable[str] = (layout.CURRENT_MODEL,)) -> list[DamagedChunk]:
    """Return the chunks that completed stages and models imply and that are not there or not marked.

    Costs listings, the completion records and the headers of the arrays; no chunk is read. ``models`` are
    the keys of their documents.
    """
    marked = marked_chunks(workspace.blobs, old_names=not workspace.has_digests)
    claimed = _claimed(workspace, marked) | _named([workspace.read_doc(model) for model in models])
    with ThreadPoolExecutor(workspace.blobs.concurrency) as pool:
        found = pool.map(lambda path: _lost(workspace, path, marked.get(path, set())), sorted(claimed))
        return [chunk for chunks in found for chunk in chunks]


def lost_of_models(workspace: Workspace) -> list[DamagedChunk]:
    """Return what is not there of the arrays that models with a name need to answer, the current one or not.

    Arrays that only a later fit would use are left out: a later run may have dropped them.
    """
    marked = marked_chunks(workspace.blobs, old_names=not workspace.has_digests)
    found = []
    for key in workspace.list_docs(layout.NAMED_MODELS):
        paths = _named((workspace.read_doc(key) or {}).get("terms"))
        lost = (one for path in sorted(paths) for one in _lost(workspace, path, marked.get(path, set())))
        found += [replace(one, problem=_of_model(one, key)) for one in lost]
    return found


def _of_model(lost: DamagedChunk, key: str) -> str:
    name, what = key.rpartition("/")[2], lost.problem.removesuffix(f"; {layout.remedy(lost.array)}.")
    return (
        f"{what}; the model {name} needs it: fit it again, or give it up with `l3ae-dist gc --drop {name}`."
    )


def damaged_chunks(array: ChunkArray) -> list[DamagedChunk]:
    """Read every marked chunk of an array in full and return those that are damaged."""
    return list(_damaged(array))


def _damaged(array: ChunkArray) -> Iterator[DamagedChunk]:
    buffer = array.buffer()
    for i, j in sorted(array.marked()):
        try:
            array.read(i, j, buffer)
        except DamagedTileError as error:
            yield DamagedChunk(array.path, i, j, str(error))


def unsound_chunks(workspace: Workspace, paths: Iterable[str]) -> list[DamagedChunk]:
    """Return the chunks of some arrays whose size or trailing CRC32C is not that of their mark.

    Costs a small read of every chunk. Arrays that are not there are left out: see :func:`lost_chunks`.
    """
    found, what = [], "has not the size and checksum of its done-mark"
    for path in sorted(set(paths)):
        try:
            array = ChunkArray.open(workspace, path)
        except (StageMissingError, DamagedDocumentError):
            continue
        stored = array.marked() & array.stored()
        found += [_chunk(array, i, j, what) for i, j in sorted(stored - array.done())]
    return found


def arrays_of_model(workspace: Workspace, model: str) -> set[str]:
    """Return the arrays that a model, its dataset and its features consist of, by the key of its document."""
    document = workspace.read_doc(model)
    if document is None:
        return set()
    folders = map(layout.done_marks, layout.DatasetPaths(str(document.get("dataset"))).folders)
    marks = (key for folder in folders for key in workspace.blobs.list(folder))
    return set(map(layout.array_of_mark, marks)) | _named(document)


def _named(document: object) -> set[str]:
    """Return every array that a document names, wherever in it."""
    if isinstance(document, dict):
        document = list(document.values())
    if isinstance(document, list):
        return {path for one in document for path in _named(one)}
    if not isinstance(document, str) or "/" not in document or layout.kind_of(document) is None:
        return set()
    return {layout.first_array(document)}


def _claimed(workspace: Workspace, there: Iterable[str]) -> set[str]:
    """Return the arrays that must be whole by the completion records; of those that are there, all."""
    claimed, done = set(), set()
    for record in workspace.stage_records():
        done.add((record.stage, record.id))
        arrays = record.arrays
        if arrays is None:  # written by an older version
            arrays = layout.arrays_of_stage(record.stage, record.id, record.params)
        claimed |= set(arrays)
    return claimed | {path for path in there if not done.isdisjoint(layout.makers(path))}


def _lost(workspace: Workspace, path: str, marked: Chunks) -> list[DamagedChunk]:
    try:
        array = ChunkArray.open(workspace, path)
    except StageMissingError:
        return [_whole(workspace, path, "is missing")]
    except DamagedDocumentError:  # it is among the documents
        return []
    cells, stored = array.cells(), array.stored()
    lost = [cell for cell in cells if cell not in marked or cell not in stored]
    if len(lost) == len(cells) > 1:
        return [_whole(workspace, path, "has lost its chunks")]
    said = {True: "has no done-mark of its own", False: "is missing"}
    return [_chunk(array, *cell, said[cell in stored]) for cell in lost]


def _whole(workspace: Workspace, path: str, what: str) -> DamagedChunk:
    return DamagedChunk(path, -1, -1, f"{path} in {workspace.url} {what}; {layout.remedy(path)}.")


def _chunk(array: ChunkArray, i: int, j: int, what: str) -> DamagedChunk:
    return DamagedChunk(array.path, i, j, array.sentence(i, j, what))
