"""Processes that everything else waits for, and that stand still: a scheduler, or a server of Ray."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from l3ae_dist.errors import ClusterError
from l3ae_dist.runtime.backends.frozen import STOPPED_SECONDS, is_stopped
from l3ae_dist.runtime.bounded import Inquiry
from l3ae_dist.runtime.events import Message, OnEvent
from l3ae_dist.storage.kept import Kept

R = TypeVar("R")
# The kernel says that a process is stopped; one that does not answer may be busy, or its network slow.
_STOPPED_UNTIL_SECONDS = 30.0
_UNANSWERED_SECONDS, _UNANSWERED_UNTIL_SECONDS = 15.0, 45.0
# Between two looks a process that runs does not wait longer than this.
_LONGEST_LOOK_SECONDS = 3.0


class Needed(Generic[R]):
    """A process without which nothing goes on: says that it stands still, and after a while ends the run.

    Parameters
    ----------
    what
        Its name in a sentence.
    pid
        Its id, where it is a process of this machine.
    ask
        Asks it something, and returns the answer; it may hang. None for a process that is not asked.
    report
        Takes a ``log`` event when it stands still, and when it goes on.

    Attributes
    ----------
    kept
        What the run keeps when it ends.
    """

    def __init__(
        self, what: str, *, pid: int | None, ask: Callable[[], R] | None = None, report: OnEvent
    ) -> None:
        self._what = what
        self.pid = pid
        self._report = report
        self.kept = Kept()
        self._inquiry = None if ask is None else Inquiry(ask)
        self._looked = time.monotonic()
        self._stopped = self._silent = 0.0
        self._told = False

    def look(self) -> R | None:
        """Look at the process; to be called every second or so. Never waits.

        Returns
        -------
        What it has answered since the last look; None without an answer.

        Raises
        ------
        ClusterError
            When it has stood still for too long.
        """
        # a process that was stopped itself, or whose machine slept, has not waited meanwhile
        passed = min(time.monotonic() - self._looked, _LONGEST_LOOK_SECONDS)
        self._looked = time.monotonic()
        self._stopped = self._stopped + passed if self.pid is not None and is_stopped(self.pid) else 0.0
        answer = None if self._inquiry is None else self._inquiry.look()
        self._silent = 0.0 if self._inquiry is None or self._inquiry.answered else self._silent + passed
        self._judge()
        return answer

    def _judge(self) -> None:
        if self._stopped >= STOPPED_SECONDS:
            self._stands(self._stopped, _STOPPED_UNTIL_SECONDS)
        elif self._silent >= _UNANSWERED_SECONDS:
            self._stands(self._silent, _UNANSWERED_UNTIL_SECONDS)
        elif self._told:
            self._told = False
            self._report(Message(message=f"{self._what} goes on"))

    def _stands(self, seconds: float, limit: float) -> None:
        what = f"{self._what} {self._words(seconds)}"
        if seconds >= limit:
            raise ClusterError(
                f"{what}; see what stopped it, continue it or start it anew, and run the same command again: "
                f"{self.kept}."
            )
        if not self._told:
            self._told = True
            by = f" (kill -CONT {self.pid})" if self._stopped else ""
            self._report(
                Message(message=f"{what}; the run ends in {limit - seconds:.0f} s, unless it goes on{by}")
            )

    def _words(self, seconds: float) -> str:
        since = time.strftime("%H:%M:%S", time.localtime(time.time() - seconds))
        here = f"(pid {self.pid} of this machine) " if self.pid is not None else ""
        if self._stopped:
            return f"{here}has stood still since {since}, stopped by a signal"
        return f"{here}has not answered since {since}"
