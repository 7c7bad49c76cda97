"""Runs the tasks of a stage: what is done is left out, the others go through the window to an executor."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from l3ae_dist.errors import ClusterError, DamagedTileError, L3AEError
from l3ae_dist.graphs.blocks import BlockTask, is_missing
from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.execute import TaskRecord, run_task
from l3ae_dist.graphs.tasks import Graph, Task, TileRef, TileTask
from l3ae_dist.runtime.events import BadTile, OnEvent, StageEnd, StageStart, TileDone, TileMap, ignore
from l3ae_dist.runtime.executors import Executor
from l3ae_dist.runtime.peer_reads import run_among_peers
from l3ae_dist.runtime.submission_window import SubmissionWindow
from l3ae_dist.storage import layout
from l3ae_dist.storage.kept import kept_words


@dataclass
class StageStats:
    """Totals of the tasks of one stage: counts, flops, bytes, and wall time in seconds.

    ``bytes_read`` were read from the workspace, ``bytes_from_peers`` from the memory of other workers,
    ``bytes_from_copies`` from copies on local disks; ``unwritten`` of the tiles that were made stay in memory
    and have no done-mark.
    """

    tasks: int = 0
    written: int = 0
    reused: int = 0
    flops: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    seconds: float = 0.0
    bytes_from_peers: int = 0
    bytes_from_copies: int = 0
    unwritten: int = 0

    def add(self, record: TaskRecord) -> None:
        """Count one finished task."""
        self.written += not record.skipped
        self.reused += record.skipped
        self.flops += record.flops
        self.bytes_read += record.bytes_read
        self.bytes_written += record.bytes_written
        self.bytes_from_peers += record.bytes_from_peers
        self.bytes_from_copies += record.bytes_from_copies
        self.unwritten += record.unwritten


def finished_chunks(context: StageContext, names: set[str]) -> set[TileRef]:
    """Return the chunks of the named arrays that are done, from one listing of each."""
    return {TileRef(name, i, j) for name in names for i, j in context.array(name).done()}


def run_graph(
    graph: Graph,
    context: StageContext,
    executor: Executor,
    *,
    targets: set[str],
    on_event: OnEvent = ignore,
) -> StageStats:
    """Run every task of ``graph`` that is not done.

    Parameters
    ----------
    graph
        Tasks with their dependencies.
    context
        Arrays and numbers of the stage.
    executor
        Runs the tasks.
    targets
        Names of the arrays that the graph writes.
    on_event
        Called with one ``stage_start``, a ``tile`` for each task, and one ``stage_end``.

    Returns
    -------
    Totals of the stage; tasks whose chunk was there already count as reused.

    Raises
    ------
    DamagedTileError
        When an input that this graph does not make is damaged.
    L3AEError
        For every other error of a task.
    """
    started = time.perf_counter()
    done = finished_chunks(context, targets)
    reused = sum(_count_done(task, done) for task in graph.tasks()) if done else 0
    stats = StageStats(tasks=len(graph), reused=reused)
    window = SubmissionWindow(graph.tasks(), done)
    on_event(_start_event(graph, context, targets, done, reused))
    in_flight = 0
    try:
        while not window.finished:
            while in_flight < executor.slots and (task := window.pop()) is not None:
                _submit(executor, task, context)
                in_flight += 1
            task, records, error = executor.wait()
            in_flight -= 1
            if error is not None:
                if workers_gone := _workers_gone(error, task, graph, executor.worker_limit()):
                    kept = kept_words(context.unwritten.names)
                    raise ClusterError(f"{workers_gone}: {kept}.") from error
                _recover(error, task, graph, context, window, on_event)
                continue
            window.complete(task)
            assert isinstance(records, list)
            _note_holders(executor, task, context, records)
            for record in records:
                stats.add(record)
                on_event(_tile_event(graph, record, stats))
    except BaseException:
        executor.cancel()
        raise
    stats.seconds = time.perf_counter() - started
    on_event(StageEnd(stage=graph.stage, **vars(stats)))
    return stats


def _submit(executor: Executor, task: Task, context: StageContext) -> None:
    """Send a task to a worker, with the workers that hold its tiles where they read from each other."""
    holders = executor.holders
    if holders is None:
        executor.submit(run_task, task, context)
    elif isinstance(task, (TileTask, BlockTask)):
        executor.submit(run_among_peers, task, replace(context, holders=holders.of(task, context.paths)))
    else:  # whose worker gives up its tiles
        holders.clear()
        executor.submit(run_task, task, context)


def _note_holders(
    executor: Executor, task: Task, context: StageContext, records: Sequence[TaskRecord]
) -> None:
    if executor.holders is not None and isinstance(task, (TileTask, BlockTask)):
        executor.holders.note(task, context.paths, records)


def _count_done(task: Task, done: set[TileRef]) -> int:
    """Count the chunks of a task that need not be made."""
    parts = task.tiles if isinstance(task, BlockTask) else (task,)
    return sum(not is_missing(part, done) for part in parts)


def _start_event(
    graph: Graph, context: StageContext, targets: set[str], done: set[TileRef], reused: int
) -> StageStart:
    return StageStart(
        stage=graph.stage,
        done=reused,
        total=len(graph),
        map=_tile_map(context, targets, done),
        paths=sorted(context.paths[name] for name in targets),
    )


def _tile_map(context: StageContext, targets: set[str], done: set[TileRef]) -> TileMap:
    """Return the largest chunk grid that the stage writes, and which of its chunks are there."""
    array, (rows, columns) = max(
        ((name, context.array(name).grid) for name in sorted(targets)),
        key=lambda item: item[1][0] * item[1][1],
    )
    return TileMap(
        array=array,
        rows=rows,
        columns=columns,
        lower=layout.is_lower(context.paths[array], (rows, columns)),
        done=sorted((ref.i, ref.j) for ref in done if ref.array == array),
    )


def _tile_event(graph: Graph, record: TaskRecord, stats: StageStats) -> TileDone:
    return TileDone(
        stage=graph.stage,
        array=record.target.array,
        i=record.target.i,
        j=record.target.j,
        done=stats.written + stats.reused,
        total=stats.tasks,
        skipped=record.skipped,
        flops=record.flops,
        bytes=record.bytes_read + record.bytes_written,
        bytes_from_peers=record.bytes_from_peers,
        bytes_from_copies=record.bytes_from_copies,
        started=record.started,
        seconds=record.seconds,
        began=record.timing.began,
        computed=record.timing.computed,
        staged=record.timing.staged,
        loaded=record.timing.loaded,
        stalled=record.timing.stalled,
        pid=record.pid,
        host=record.host,
    )


def _recover(
    error: BaseException,
    task: Task,
    graph: Graph,
    context: StageContext,
    window: SubmissionWindow,
    on_event: OnEvent,
) -> None:
    """Make a damaged input of this graph again, and then the task that read it; raise everything else."""
    if not isinstance(error, DamagedTileError):
        if isinstance(error, L3AEError):
            raise error
        raise ClusterError(
            f"stage {graph.stage} failed at {task.target} ({type(error).__name__}: {error}); run the same "
            f"command again: {kept_words(context.unwritten.names)}."
        ) from error
    names = {path: name for name, path in context.paths.items()}
    if error.path not in names:  # a vector of another stage; it is noted, and the next run takes it out
        raise error
    ref = TileRef(names[error.path], error.i, error.j)
    repair = graph.task_for(ref)
    if repair is not None and _is_sound(context, ref):  # made again since this reader saw it
        window.retry(task)
        return
    context.array(ref.array).discard(ref.i, ref.j)
    if repair is None:
        raise error
    on_event(BadTile(stage=graph.stage, array=ref.array, i=ref.i, j=ref.j))
    # a tile that an earlier try of the same block wrote is made again by the block
    window.retry(task, after=None if ref in task.targets else repair)


def _is_sound(context: StageContext, ref: TileRef) -> bool:
    try:
        context.array(ref.array).read(ref.i, ref.j)
    except DamagedTileError:
        return False
    return True


def _workers_gone(error: BaseException, task: Task, graph: Graph, limit: int | None) -> str | None:
    """Advise what to change when each worker that took a task was killed, or none is left; else None."""
    from distributed.scheduler import KilledWorker, NoValidWorkerError, NoWorkerError

    target = f"tile ({task.target.i}, {task.target.j}) of {task.target.array}"
    if isinstance(error, KilledWorker):
        limit = error.last_worker.memory_limit or limit
        what = f"{error.allowed_failures + 1} worker processes in a row were killed while they made {target}"
    elif isinstance(error, (NoWorkerError, NoValidWorkerError)):
        what = f"no worker process stayed alive to make {target}"
    else:
        return None
    bound = f" (their memory limit is {limit / 2**20:,.0f} MiB)" if limit else ""
    return (
        f"stage {graph.stage} failed: {what}{bound}; raise compute.memory_budget or lower compute.tile_size "
        "or compute.workers, and run the same command again"
    )
