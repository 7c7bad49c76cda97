"""Progress for people: bars on a terminal, sparse plain lines elsewhere. Fed by ``on_event`` dictionaries."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from l3ae_dist.runtime.events import Event
from l3ae_dist.runtime.watch.stage_progress import StageProgress

LINE_SECONDS = 5.0


@dataclass
class _Shown(StageProgress):
    """A stage with its bar, or the time of its last line."""

    printed: float = float("-inf")
    task: TaskID | None = None


class ProgressPrinter:
    """An ``on_event`` callback that shows what a run does. Use it in a ``with`` statement.

    Parameters
    ----------
    stream
        Where to print; bars when it is a terminal, else at most one line per stage every 5 s.
    """

    def __init__(self, stream: TextIO) -> None:
        # in a notebook rich would show every line as HTML of its own instead of writing to the stream
        self._console = Console(file=stream, highlight=False, force_jupyter=False)
        self._stages: dict[str, _Shown] = {}
        self._handlers: dict[str, Callable[[Event], None]] = {
            "stage_start": self._start,
            "tile": self._advance,
            "chunk": self._advance,
            "stage_end": self._end,
            "log": self._log,
            "bad_tile": self._bad_tile,
            "worker_lost": self._worker_lost,
        }
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __call__(self, event: Event) -> None:
        """Show one event; kinds that are not known are ignored."""
        handler = self._handlers.get(event["kind"])
        if handler is not None:
            handler(event)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def _start(self, event: Event) -> None:
        stage = _Shown(str(event["stage"]))
        stage.update(event)
        stage.already = stage.done
        self._stages[stage.name] = stage
        if self._console.is_terminal:
            stage.task = self._bars.add_task(
                stage.name, total=stage.total or None, completed=stage.done, rate="", left=""
            )
        elif stage.total and stage.done < stage.total:
            kept = f", {stage.done} done before" if stage.done else ""
            self._line(f"{stage.name}: started, {stage.total} to do{kept}")

    def _advance(self, event: Event) -> None:
        stage = self._stage(event)
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
        elif now - max(stage.printed, stage.started) >= LINE_SECONDS:
            stage.printed = now
            parts = [f"{stage.done}/{stage.total}", stage.rate(now), stage.time_left(now)]
            self._line(f"{stage.name}: {', '.join(part for part in parts if part)}")

    def _end(self, event: Event) -> None:
        stage = self._stage(event)
        now = time.monotonic()
        if stage.task is not None:
            done = stage.total or stage.done
            self._bars.update(stage.task, completed=done, total=done, rate=stage.rate(now), left="")
        elif stage.done == stage.already and stage.total:
            self._line(f"{stage.name}: complete, reused")
        else:
            seconds = float(event.get("seconds", now - stage.started))
            parts = [f"done in {seconds:.1f} s", stage.rate(now)]
            self._line(f"{stage.name}: {', '.join(part for part in parts if part)}")
        del self._stages[stage.name]

    def _log(self, event: Event) -> None:
        self._line(str(event["message"]))

    def _bad_tile(self, event: Event) -> None:
        self._line(
            f"{event['stage']}: tile ({event['i']}, {event['j']}) of {event['array']} is damaged; made again"
        )

    def _worker_lost(self, event: Event) -> None:
        held = len(event["tasks"])
        self._line(f"{event['stage']}: worker {event['worker']} was lost; its {held} tasks go to the others")

    def _stage(self, event: Event) -> _Shown:
        name = str(event["stage"])
        if name not in self._stages:
            self._start({**event, "done": max(0, int(event.get("done", 0)) - 1)})
        return self._stages[name]

    def _line(self, text: str) -> None:
        # Text, so that brackets in paths and titles are not read as markup
        self._console.print(Text(text), soft_wrap=True)


def progress_printer(stream: TextIO) -> ProgressPrinter:
    """A printer of progress for ``on_event``.

    >>> import sys
    >>> with progress_printer(sys.stdout) as on_event:
    ...     on_event({"kind": "log", "message": "hello"})
    hello
    """
    return ProgressPrinter(stream)
