"""Paths of what is kept beside the arrays: documents, completion records, marks, events, reports, headers.

Documents go by their *key*, a path without ``meta/`` and ``.json``. Nothing here reads or writes.
"""

import re
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

from l3ae_dist.storage.stages import Stage

CURRENT_MODEL = "model"
"""Document of the model that calls use."""
LAST_RUN = "last_run"
"""Document that names the dataset of the latest run."""
FITTED_MODELS = "fitted"
NAMED_MODELS = "models"
RESULTS = "results"
COMPLETED_STAGES = "stages"
UNFINISHED_COPY = "unfinished_copy"
"""Document of a saved model while its copy goes on: which model of which workspace it is."""
CALIBRATION = "calibration"
"""Document of the rates that were measured on a cluster."""
FORGOTTEN = "forgotten"
"""Document of the users who are kept out of the data, by keyed digests of their ids."""
SPECTRA = "spectra"
ADDED = "added"
COPIES = "copies"
"""Folder of documents that name what was made of a workspace's models elsewhere."""
SINGLE_DOCUMENTS = (CURRENT_MODEL, LAST_RUN, CALIBRATION, UNFINISHED_COPY, FORGOTTEN)
"""Keys of the documents of which there is one."""
DOCUMENT_FOLDERS = (FITTED_MODELS, NAMED_MODELS, RESULTS, COMPLETED_STAGES, SPECTRA, ADDED, COPIES)
"""Folders of all other documents."""
META = "meta"
DONE_MARKS = f"{META}/done"
DAMAGE_NOTES = f"{META}/bad"
EVENTS = f"{META}/events"
REPORTS = f"{META}/reports"
PLOTS = f"{META}/plots"
LOCK = f"{META}/lock.json"
SCRATCH = "scratch"
"""Folder of what a stage keeps while it runs."""
GROUP_HEADER = "zarr.json"
"""Header of the workspace itself, a Zarr group."""
NEW_WORKSPACE = {GROUP_HEADER, f"{META}/{GROUP_HEADER}", LOCK, f"{LOCK}.swap"}
"""All that lies in a workspace to which nothing was written yet."""

_CHUNK = re.compile(r"(\d+)(?:/(\d+))?")
_MARK = re.compile(r"(\d+)\.(\d+)\.([0-9a-f]{8})([0-9a-f]{8})?")


def document(key: str) -> str:
    """Return the path of the JSON document ``key``."""
    return f"{META}/{key}.json"


def document_key(path: str) -> str:
    """Return the key of the JSON document at ``path``."""
    return path.removeprefix(f"{META}/").removesuffix(".json")


def document_remedy(path: str) -> str:
    """Say what to do about a damaged document at ``path``, as the end of a sentence."""
    key, run = document_key(path), "`l3ae-dist run` with the configuration"
    folder = key.partition("/")[0]
    if path.endswith(GROUP_HEADER):
        return "`l3ae-dist run` writes it again"
    if key == CALIBRATION:
        return "`l3ae-dist run` takes it out; `l3ae-dist calibrate` measures the cluster again"
    if key == FORGOTTEN:
        return (
            "it keeps forgotten users out, so that nothing is written without it: restore it from a backup, "
            "or delete it and forget the users again"
        )
    if folder == COPIES:
        return "`l3ae-dist run` takes it out; the copy that it named is not told of any more"
    if folder == ADDED:
        return "the next `l3ae-dist run` takes the added items out; add them again"
    if folder == COMPLETED_STAGES:
        return f"{run} checks what the stage made and writes it again; append again what was appended"
    if folder == RESULTS:
        return f"{run} computes it again"
    return f"{run} writes it again"


def ingest_scratch(dataset: str) -> str:
    """Return the folder of what the passes of an ingest hand on; it is deleted when the ingest ends."""
    return f"{SCRATCH}/{dataset}"


def scratch_of(key: str) -> str:
    """Return the folder of one stage's run that an object below :data:`SCRATCH` belongs to."""
    return "/".join(key.split("/")[:2])


def probe(name: str) -> str:
    """Return the folder of a probe of the store, beside the other bookkeeping of a workspace."""
    return f"{META}/{name}"


def copy_elsewhere(name: str) -> str:
    """Return the key of the document of a copy elsewhere, named by a fingerprint of its place."""
    return f"{COPIES}/{name}"


def fitted_model(run: str) -> str:
    """Return the key of the document of the model that a run fitted."""
    return f"{FITTED_MODELS}/{run}"


def named_model(name: str) -> str:
    """Return the key of the document of the model with that name."""
    return f"{NAMED_MODELS}/{name}"


def result(run: str) -> str:
    """Return the key of the document with the result of a run."""
    return f"{RESULTS}/{run}"


def run_of(key: str) -> str:
    """Return the run whose result, or fitted model, has the document key ``key``."""
    return key.partition("/")[2]


def completed_stage(stage: Stage, identifier: str) -> str:
    """Return the key of the completion record of an artifact."""
    return f"{COMPLETED_STAGES}/{stage}/{identifier}"


def tells_epoch(key: str) -> bool:
    """Tell whether a document names the epoch of the run that wrote it: models and completion records."""
    return key == CURRENT_MODEL or key.startswith(
        (f"{FITTED_MODELS}/", f"{NAMED_MODELS}/", f"{COMPLETED_STAGES}/")
    )


def spectrum(matrix: str) -> str:
    """Return the key of the document with the largest eigenvalue of the matrix with that id."""
    return f"{SPECTRA}/{matrix}"


def added_items(features: str) -> str:
    """Return the key of the document of the items that were added to models on these features."""
    return f"{ADDED}/{features}"


def events(execution: str, form: Literal["jsonl", "parquet"]) -> str:
    """Return the path of all events of a finished execution."""
    return f"{EVENTS}/{execution}.{form}"


def event_segments(execution: str) -> str:
    """Return the folder of the events of an execution that goes on, or was killed."""
    return f"{EVENTS}/{execution}"


def event_segment(execution: str, number: int) -> str:
    """Return the path of one segment of events."""
    return f"{event_segments(execution)}/{number:06}.jsonl"


def is_event_segment(path: str) -> bool:
    """Tell whether ``path`` is one of several segments of events, not all of an execution's."""
    return "/" in path.removeprefix(f"{EVENTS}/")


def execution_of(path: str) -> str:
    """Return the execution to which a file of events, or a report, belongs."""
    return path.split("/")[2].partition(".")[0]


def dask_report(execution: str) -> str:
    """Return the path of Dask's own report of an execution."""
    return f"{REPORTS}/{execution}.html"


def run_report(execution: str) -> str:
    """Return the path of the report of an execution."""
    return f"{REPORTS}/{execution}.report.html"


def sweep_plot(run: str) -> str:
    """Return the path of the page that plots a sweep."""
    return f"{PLOTS}/sweep-{run}.html"


# ---- Zarr's keys of an array, and its marks


def header(path: str) -> str:
    """Return the key of Zarr's description of the array or group at ``path``; of the workspace for ``""``."""
    return f"{path}/{GROUP_HEADER}" if path else GROUP_HEADER


def described_by(header: str) -> str:
    """Return the path of the array or group that has the header at that key."""
    return header.rpartition("/")[0]


def groups_above(path: str) -> list[str]:
    """Return the groups that an array lies in, the outermost first, without the workspace itself."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def chunks(path: str) -> str:
    """Return the folder of the chunks of the array at ``path``."""
    return f"{path}/c"


def chunk_of(path: str, key: str) -> tuple[int, int] | None:
    """Return the coordinates of the chunk of an array that has the key; None for what is no chunk."""
    matched = _CHUNK.fullmatch(key.removeprefix(f"{chunks(path)}/"))
    return None if matched is None else (int(matched[1]), int(matched[2] or 0))


def chunk(path: str, i: int, j: int, *, flat: bool = False) -> str:
    """Return the key of chunk (i, j) of the array at ``path``.

    Parameters
    ----------
    path
        Of the array.
    i, j
        Coordinates of the chunk.
    flat
        True for an array of one dimension, whose ``j`` is 0.
    """
    return f"{chunks(path)}/{i}" if flat else f"{chunks(path)}/{i}/{j}"


def done_marks(path: str) -> str:
    """Return the folder of the done-marks of the array, or of all arrays below ``path``."""
    return f"{DONE_MARKS}/{path}"


@dataclass(frozen=True, slots=True)
class MarkName:
    """The content of a done-mark's name: chunk, CRC32C of its bytes, and if an older version wrote it."""

    i: int
    j: int
    crc: int
    old: bool = False


def done_mark(path: str, i: int, j: int, crc: int, *, old: bool = False) -> str:
    """Return the key of the mark that chunk (i, j) with this CRC32C is finished.

    Parameters
    ----------
    path
        Of the array.
    i, j
        Coordinates of the chunk.
    crc
        Of the bytes of the chunk.
    old
        True for the name that older versions gave it, without the digest that binds it to its place.
    """
    name = f"{i}.{j}.{crc:08x}"
    digest = "" if old else f"{crc32(f'{path}/{name}'.encode()):08x}"
    return f"{done_marks(path)}/{name}{digest}"


def mark_name(key: str) -> MarkName | None:
    """Return what the name of a done-mark tells; None for one of another array or chunk, and for no mark."""
    matched = _MARK.fullmatch(key.rpartition("/")[2])
    if matched is None:
        return None
    i, j, crc = int(matched[1]), int(matched[2]), int(matched[3], 16)
    old = matched[4] is None
    return MarkName(i, j, crc, old) if key == done_mark(array_of_mark(key), i, j, crc, old=old) else None


def is_mark_of(key: str, i: int, j: int) -> bool:
    """Tell whether a done-mark names chunk (i, j), be it of its array or not.

    Parameters
    ----------
    key
        Of the mark.
    i, j
        Coordinates of the chunk.
    """
    return key.rpartition("/")[2].startswith(f"{i}.{j}.")


def array_of_mark(key: str) -> str:
    """Return the path of the array to which a done-mark belongs."""
    return key.removeprefix(f"{DONE_MARKS}/").rpartition("/")[0]


def damage_notes(path: str) -> str:
    """Return the folder of the notes on damaged chunks of the array, or of all arrays below ``path``."""
    return f"{DAMAGE_NOTES}/{path}"


def damage_note(path: str, i: int, j: int) -> str:
    """Return the key of the note that chunk (i, j) is damaged; -1, -1 is the whole array.

    Parameters
    ----------
    path
        Of the array.
    i, j
        Coordinates of the chunk.
    """
    return f"{damage_notes(path)}/{i}.{j}"


def damaged_chunk(key: str) -> tuple[str, int, int]:
    """Return the path of the array and the coordinates of the chunk that a damage note is on."""
    path, _, coordinates = key.removeprefix(f"{DAMAGE_NOTES}/").rpartition("/")
    i, j = coordinates.split(".")
    return path, int(i), int(j)
