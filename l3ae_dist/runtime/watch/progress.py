"""Progress for people: bars on a terminal, sparse plain lines elsewhere; used as an ``on_event`` callback."""

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from l3ae_dist.runtime.events import (
    BadTile,
    ChunkDone,
    Event,
    Message,
    PlanMade,
    StageEnd,
    StageStart,
    TileDone,
    WorkerLost,
)
from l3ae_dist.runtime.watch.run_view import RunView
from l3ae_dist.runtime.watch.stage_progress import StageProgress, clock
from l3ae_dist.runtime.watch.terminal import PlainConsole, plain_text

LINE_SECONDS = 5.0
# Between two looks at the progress of the whole run, which goes through all stages.
_LOOK_SECONDS = 0.5
# Stages that took less are not told of, and those that are expected to are not announced.
_FOLDED_SECONDS = 0.5


@dataclass
class _Shown(StageProgress):
    """A stage with its bar, or the time of its last line."""

    printed: float = float("-inf")
    task: TaskID | None = None


class ProgressPrinter:
    """Shows the progress of a run; an ``on_event`` callback, to be used in a ``with`` statement.

    Parameters
    ----------
    stream
        Where to print. On a terminal there is a bar of the run and one of the stage at work, elsewhere a line
        every 5 s at most; what took half a second or more stays as a line.
    """

    def __init__(self, stream: TextIO) -> None:
        # in a notebook it writes to the stream too, and shows no line as HTML of its own
        self._console = PlainConsole(stream)
        self._stages: dict[str, _Shown] = {}
        self._run = RunView()
        self._whole: TaskID | None = None
        self._looked = float("-inf")
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __call__(self, event: Event) -> None:
        """Show one event; kinds that say nothing to people are ignored."""
        self._run.take(event)
        match event:
            case PlanMade():
                self._show_whole(event.time)
            case StageStart():
                self._start(event.stage, event.done, event.total)
            case TileDone() | ChunkDone():
                self._advance(event)
            case StageEnd():
                self._end(event)
            case Message():
                self._line(event.message)
            case BadTile():
                self._line(
                    f"{event.stage}: tile ({event.i}, {event.j}) of {event.array} is damaged; made again"
                )
            case WorkerLost():
                lost = f"{event.stage}: worker {event.worker} was lost"
                self._line(f"{lost}; its {len(event.tasks)} tasks go to the others")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._whole is not None:  # what it said last is not what came of the run
            self._bars.remove_task(self._whole)
            self._whole = None
        self._bars.stop()

    def _start(self, name: str, done: int, total: int) -> _Shown:
        stage = self._stages[name] = _Shown(name, done=done, total=total, already=done)
        label = self._label(name)
        if self._console.is_terminal:
            stage.task = self._bars.add_task(
                label, total=stage.total or None, completed=stage.done, rate="", left=""
            )
        elif stage.total and stage.done < stage.total and (done or not self._is_quick(name)):
            kept = f", {stage.done} done before" if stage.done else ""
            self._line(f"{label}: started, {stage.total} to do{kept}")
        return stage

    def _is_quick(self, name: str) -> bool:
        """Tell whether the plan expects a stage to end before there is anything to say of it."""
        plan = self._run.plan
        if plan is None or not plan.work:
            return False
        if name not in plan.work:  # parts of what is planned, of seconds mostly
            return True
        return plan.work[name] / plan.repeats.get(name, 1) < LINE_SECONDS

    def _label(self, name: str) -> str:
        """Return the name of a stage, with its number where there are several."""
        stages = [stage for stage in self._run.stages if stage.name == name]
        return self._run.stage_name(stages[-1]) if stages else name

    def _advance(self, event: TileDone | ChunkDone) -> None:
        stage = self._stages.get(event.stage) or self._start(event.stage, max(0, event.done - 1), event.total)
        stage.update(event)
        now = time.monotonic()
        if stage.task is not None:
            self._bars.update(
                stage.task,
                completed=stage.done,
                total=stage.total or None,
                rate=stage.rate(now),
                left=stage.time_left(now),
            )
            self._show_whole(event.time)
        elif now - max(stage.printed, stage.started) >= LINE_SECONDS:
            stage.printed = now
            parts = [f"{stage.done}/{stage.total}", stage.rate(now), stage.time_left(now)]
            whole = self._run.progress(event.time)
            told = "" if whole is None else f"; whole run: {whole}"
            self._line(f"{self._label(stage.name)}: {', '.join(part for part in parts if part)}{told}")

    def _end(self, event: StageEnd) -> None:
        stage = self._stages.pop(event.stage, None) or self._start(event.stage, 0, 0)
        now = time.monotonic()
        if stage.task is not None:
            self._bars.remove_task(stage.task)
            self._show_whole(event.time)
        seconds = now - stage.started if event.seconds is None else event.seconds
        if stage.total and stage.already >= stage.total:
            self._line(f"{self._label(stage.name)}: complete, reused")
        elif seconds >= _FOLDED_SECONDS:
            parts = [f"done in {seconds:.1f} s", stage.rate(now)]
            self._line(f"{self._label(stage.name)}: {', '.join(part for part in parts if part)}")

    def _show_whole(self, now: float) -> None:
        """Show the progress of the whole run as the last of the bars."""
        passed = time.monotonic() - self._looked >= _LOOK_SECONDS
        if not (passed and self._console.is_terminal) or (whole := self._run.progress(now)) is None:
            return
        self._looked = time.monotonic()
        if self._whole is None:
            self._whole = self._bars.add_task("whole run (%)", total=100, rate="", left="")
        left = f"about {clock(whole.seconds_left)} left"
        self._bars.update(self._whole, completed=int(100 * whole.done), left=left)

    def _line(self, text: str) -> None:
        self._console.print(plain_text(text), soft_wrap=True)


def progress_printer(stream: TextIO) -> ProgressPrinter:
    """Make a printer of progress, to be given as ``on_event``.

    >>> import sys
    >>> from l3ae_dist.runtime.events import Message
    >>> with progress_printer(sys.stdout) as on_event:
    ...     on_event(Message(message="hello"))
    hello
    """
    return ProgressPrinter(stream)
