"""Paths of what is kept beside the arrays: documents, completion records, marks, events, reports, headers.

Documents go by their *key*, a path without ``meta/`` and ``.json``. Nothing here reads or writes.
"""

from typing import Literal

from l3ae_dist.storage.stages import Stage

CURRENT_MODEL = "model"
"""Document of the model that calls use."""
LAST_RUN = "last_run"
"""Document that names the dataset of the latest run."""
FITTED_MODELS = "fitted"
RESULTS = "results"
COMPLETED_STAGES = "stages"
META = "meta"
DONE_MARKS = f"{META}/done"
DAMAGE_NOTES = f"{META}/bad"
EVENTS = f"{META}/events"
REPORTS = f"{META}/reports"
LOCK = f"{META}/lock.json"
GROUP_HEADER = "zarr.json"
"""Header of the workspace itself, a Zarr group."""


def document(key: str) -> str:
    """Return the path of the JSON document ``key``."""
    return f"{META}/{key}.json"


def document_key(path: str) -> str:
    """Return the key of the JSON document at ``path``."""
    return path.removeprefix(f"{META}/").removesuffix(".json")


def probe(name: str) -> str:
    """Return the folder of a probe of the store, beside the other bookkeeping of a workspace."""
    return f"{META}/{name}"


def fitted_model(run: str) -> str:
    """Return the key of the document of the model that a run fitted."""
    return f"{FITTED_MODELS}/{run}"


def result(run: str) -> str:
    """Return the key of the document with the result of a run."""
    return f"{RESULTS}/{run}"


def run_of(key: str) -> str:
    """Return the run whose result, or fitted model, has the document key ``key``."""
    return key.partition("/")[2]


def completed_stage(stage: Stage, identifier: str) -> str:
    """Return the key of the completion record of an artifact."""
    return f"{COMPLETED_STAGES}/{stage}/{identifier}"


def spectrum(matrix: str) -> str:
    """Return the key of the document with the largest eigenvalue of the matrix with that id."""
    return f"spectra/{matrix}"


def added_items(features: str) -> str:
    """Return the key of the document of the items that were added to models on these features."""
    return f"added/{features}"


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
    return f"{META}/plots/sweep-{run}.html"


# ---- Zarr's keys of an array, and its marks


def header(path: str) -> str:
    """Return the key of Zarr's description of the array or group at ``path``."""
    return f"{path}/{GROUP_HEADER}"


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
    return f"{path}/c/{i}" if flat else f"{path}/c/{i}/{j}"


def done_marks(path: str) -> str:
    """Return the folder of the done-marks of the array, or of all arrays below ``path``."""
    return f"{DONE_MARKS}/{path}"


def done_mark(path: str, i: int, j: int, crc: int) -> str:
    """Return the key of the mark that chunk (i, j) with this CRC32C is finished.

    Parameters
    ----------
    path
        Of the array.
    i, j
        Coordinates of the chunk.
    crc
        Of the bytes of the chunk.
    """
    return f"{done_marks(path)}/{i}.{j}.{crc:08x}"


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
