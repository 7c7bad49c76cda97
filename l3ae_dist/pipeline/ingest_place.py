"""Decides where an ingest runs: in this process, or on the workers where the interactions are large files."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import cast

from l3ae_dist.config.compute import ComputeConfig
from l3ae_dist.config.data import IngestConfig
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.data.intake.files import FilePart, SourceFile
from l3ae_dist.data.intake.open_table import open_table, paths_of
from l3ae_dist.data.intake.parts import Table
from l3ae_dist.data.published_dataset import is_authors_layout
from l3ae_dist.data.shuffle.each import Each, Execution, InThreads
from l3ae_dist.messages import shown
from l3ae_dist.pipeline.inputs import Inputs
from l3ae_dist.planning.plan_of_config import fill_in
from l3ae_dist.runtime.backends.session import Session, default_threads
from l3ae_dist.runtime.event_log import EventLog
from l3ae_dist.runtime.events import Message
from l3ae_dist.runtime.watched_passes import watched_passes
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace

# Of a file whose rows are not counted, per row: an id of each kind, a time and what separates them.
_BYTES_PER_ROW = 50
# What a process that reads and sorts holds beside its rows, and the bytes of a row of a group that is encoded
# and sorted; measured.
_PROCESS_BYTES = 384 * 2**20
_BYTES_PER_GROUP_ROW = 200
# Threads of this process unless more are asked for: reading and sorting is bound by memory.
_MOST_THREADS = 8
_MOST_ROWS, _FEWEST_ROWS = 1 << 21, 1 << 16
# Bytes of a record of a block while it is sorted and split.
_BYTES_PER_RECORD = 120


def table_for_workers(inputs: Inputs, options: IngestConfig, compute: ComputeConfig) -> Table | None:
    """Return the interactions where the workers ingest them; None where this process does.

    Parameters
    ----------
    inputs
        The sources.
    options
        How text files are read.
    compute
        The workers, and from how many rows on they read.
    """
    source = inputs.interactions
    if compute.one_process or is_authors_layout(source, inputs.items) or paths_of(source) is None:
        return None
    table = open_table(source, "interactions", options.text_options())
    shared = table.shared and table.parts and compute.ingests_on_workers(estimated_rows(table))
    return table if shared else None


def estimated_rows(table: Table) -> int:
    """Add up the rows of a table, those of files that are not counted by their size."""
    return sum(part.size // _BYTES_PER_ROW if part.rows is None else part.rows for part in table.parts)


def rows_per_group(memory_budget: int, threads: int) -> int:
    """Return how many rows each of a process's threads may read at a time.

    >>> rows_per_group(2 * 2**30, 1), rows_per_group(2**30, 4), rows_per_group(2**28, 1)
    (2097152, 838860, 65536)
    """
    rows = (memory_budget - _PROCESS_BYTES) // (threads * _BYTES_PER_GROUP_ROW)
    return max(_FEWEST_ROWS, min(_MOST_ROWS, rows))


def records_per_block(memory_budget: int, threads: int) -> int:
    """Return to how many records a block of each of a process's threads may grow.

    >>> records_per_block(2 * 2**30, 1), records_per_block(2**28, 1)
    (14540253, 0)
    """
    return max(0, (memory_budget - _PROCESS_BYTES) // (threads * _BYTES_PER_RECORD))


@contextlib.contextmanager
def ingest_execution(
    config: RunConfig,
    workspace: Workspace,
    events: EventLog,
    dataset: str,
    inputs: Inputs,
    workers: Callable[[ComputeConfig], contextlib.AbstractContextManager[Session]],
) -> Iterator[Execution]:
    """Provide where the ingest of a run is done; its workers end with it, for the plan counts on fresh ones.

    Parameters
    ----------
    config, workspace, events
        Of the run.
    dataset, inputs
        Id of the dataset, and its sources.
    workers
        Opens the workers.
    """
    compute = config.compute
    table = table_for_workers(inputs, config.data.options, compute)
    if table is None:
        yield watched_passes(in_this_process(compute), events)
        return
    compute = fill_in(compute)
    with spill_folder(workspace, dataset) as url, workers(compute) as session:
        if trouble := reading_trouble(session, table):
            origin = shown(table.parts[0].origin)
            told = f"the workers cannot read {origin} ({shown(trouble)}); this process reads the interactions"
            events(Message(message=told))
            yield watched_passes(in_this_process(compute), events)
        else:
            events(Message(message=f"the workers ingest {len(table.parts):,} parts of files"))
            yield watched_passes(on_workers(session, url, compute), events)


@contextlib.contextmanager
def spill_folder(workspace: Workspace, dataset: str) -> Iterator[str]:
    """Provide the URL of a folder of the workspace for what the passes keep.

    All scratch is deleted before and after: the lock is this run's, and what lies there is a killed one's.
    """
    workspace.blobs.delete_prefix(layout.SCRATCH)
    try:
        yield f"{workspace.url.rstrip('/')}/{layout.ingest_scratch(dataset)}"
    finally:
        workspace.blobs.delete_prefix(layout.SCRATCH)


def in_this_process(compute: ComputeConfig) -> Execution:
    """Return the execution of an ingest in this process, which may hold as much as a worker."""
    threads = compute.threads or min(_MOST_THREADS, os.cpu_count() or 1)
    return _execution(InThreads(threads), None, compute.memory_budget, threads)


def on_workers(session: Session, url: str, compute: ComputeConfig) -> Execution:
    """Return the execution of an ingest on the workers of an open cluster.

    Parameters
    ----------
    session
        The cluster.
    url
        Of the folder that all workers reach.
    compute
        Threads and memory of each worker.
    """
    started_elsewhere = compute.cluster == "address"
    threads = compute.threads or (1 if started_elsewhere else default_threads(compute.workers))
    limit = min(compute.memory_budget, session.memory_limit() or compute.memory_budget)
    here = min(_MOST_THREADS, os.cpu_count() or 1)  # the workers rest while this process works
    return replace(_execution(session.each(threads), url, limit, threads), threads=here)


def _execution(each: Each, url: str | None, limit: int, threads: int) -> Execution:
    return Execution(each, url, rows_per_group(limit, threads), records_per_block(limit, threads), threads)


def reading_trouble(session: Session, table: Table) -> str | None:
    """Return why a worker cannot read the files of a table, such as those of this machine; else None."""
    return session.trouble(partial(_make_ready, cast(FilePart, table.parts[0]).file))


def _make_ready(file: SourceFile) -> None:
    """Open a file, and import in all workers at once what their first tasks would import in turn."""
    import pandas  # noqa: F401  pyarrow imports it with its first array of NumPy

    import l3ae_dist.data.intake.columnar  # noqa: F401

    file.open().close()
