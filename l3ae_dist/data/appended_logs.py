"""Names of the logs that were appended to make a dataset, and of the datasets that they make."""

from collections.abc import Iterator

from l3ae_dist.config.data import IngestConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.dataset_stats import DatasetStats
from l3ae_dist.data.forgotten import Forgotten
from l3ae_dist.data.intake.identity import identity
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace


def log_id(interactions: object, items: object, options: IngestConfig) -> str:
    """Name a log with its new items, by the content of objects in memory, or name, size and time of files.

    Parameters
    ----------
    interactions, items
        Tables; None for no new items.
    options
        Names of the columns of tables that have none.
    """
    log = identity(interactions, "interactions", options.names())
    return fingerprint([log, identity(items, "items", options.catalog_names())])


def appended_id(parent: Dataset, log: str, options: IngestConfig) -> str:
    """Name the dataset that a log makes of a parent, without the users whom the workspace forgot.

    Parameters
    ----------
    parent
        What is there.
    log
        Name of the log, :func:`log_id`.
    options
        Those that it is appended with.
    """
    without = Forgotten.read(parent.workspace).name
    named = [without] if without else []
    return fingerprint(["append", parent.id, log, options.model_dump(), *named])


def appended_before(workspace: Workspace, dataset: str, log: str) -> bool:
    """Tell whether a log is part of a dataset or of one that it was made from.

    Parameters
    ----------
    workspace
        That of the dataset.
    dataset
        Its id.
    log
        Name of the log, :func:`log_id`.
    """
    return log in _logs(workspace, dataset)


def logs_of(dataset: Dataset) -> tuple[str, ...]:
    """Name the logs that were appended to make a dataset, the latest first."""
    return tuple(_logs(dataset.workspace, dataset.id))


def _logs(workspace: Workspace, dataset: str) -> Iterator[str]:
    name: str | None = dataset
    while name is not None:
        record = workspace.stage_done(Stage.INGEST, name)
        if record is None:
            return
        stats = DatasetStats.of_record(record.stats)
        yield from (stats.log,) if stats.log else ()
        yield from stats.logs
        name = stats.parent
