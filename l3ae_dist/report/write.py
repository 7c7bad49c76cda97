"""Making the report of a run and keeping it in its workspace."""

from pathlib import Path
from typing import TypedDict

from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import shown
from l3ae_dist.pipeline.copies_elsewhere import note_copy
from l3ae_dist.pipeline.model_document import ModelDocument
from l3ae_dist.pipeline.named_models import read_model
from l3ae_dist.report.cautions import cautions
from l3ae_dist.report.run import RunRecord, find_run, read_run
from l3ae_dist.report.run_page import run_page
from l3ae_dist.runtime.event_store import attempts
from l3ae_dist.storage import layout
from l3ae_dist.storage.output_files import PAGE, check_output, write_output
from l3ae_dist.storage.workspace import Workspace


class WrittenReport(TypedDict):
    """Place of a report, and the state of the run that it is of."""

    workspace: str
    run: str
    report: str
    """Path or URL of the page."""
    outcome: str
    warnings: list[str]


def write_report(
    workspace: str | Path,
    run: str | None = None,
    output: str | Path | None = None,
    *,
    model: str | None = None,
) -> WrittenReport:
    """Make the report of a run from its workspace alone: no engine is started, no source is read.

    Parameters
    ----------
    workspace
        Path or URL.
    run
        Id of the run or the beginning of it; the latest when None.
    output
        Where to write it, an HTML file; into the workspace when None.
    model
        Name of the model whose run it is, instead of ``run``.

    Returns
    -------
    WrittenReport
        ``{"workspace", "run", "report", "outcome", "warnings"}``; ``report`` is the path or URL of the page.

    Raises
    ------
    StageMissingError
        When the workspace holds no run.
    ConfigError
        For a run or a model that is not there, for both of them, and an output that cannot be written.
    """
    if output is not None:
        check_output(output, PAGE)
    opened = Workspace.open(workspace)
    if model is not None:
        if run is not None:
            raise ConfigError(f"name a run ({shown(run)}) or a model ({shown(model)}), not both.")
        run = read_model(opened, model).run
    record = read_run(opened, find_run(opened, run))
    page = run_page(record).encode()
    if output is None:
        key = layout.run_report(record.name)
        opened.blobs.put(key, [page])
        where = f"{opened.url}/{key}"
    else:
        note_report(record, str(output))
        where = save_page(page, output)
    return {
        "workspace": opened.url,
        "run": record.run,
        "report": where,
        "outcome": record.outcome,
        "warnings": cautions(record),
    }


def kept_report(workspace: str | Path, run: str) -> str | None:
    """Return the path or URL of the report of a run's latest execution; None when it has none."""
    opened = Workspace.open(workspace)
    names = [attempt.name for attempt in attempts(opened) if attempt.run == run][-1:] or [run]
    key = layout.run_report(names[0])
    return f"{opened.url}/{key}" if opened.blobs.size(key) is not None else None


def note_report(record: RunRecord, place: str) -> None:
    """Note in the workspace of a run, before it is done, that a report of it is written elsewhere.

    Parameters
    ----------
    record
        The run; of one that fitted no model nothing is noted.
    place
        Path or URL of the report.
    """
    if record.fitted is not None:
        note_copy(record.workspace, ModelDocument.from_document(record.fitted), "report", place)


def save_page(page: bytes, output: str | Path) -> str:
    """Write a page to a file and return its path.

    Raises
    ------
    ConfigError
        When the file cannot be written, or anything but a page of this package is there.
    """
    return write_output(output, page, PAGE)
