"""Calls that may hang: with an end, or in the background and asked again and again."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

R = TypeVar("R")
_log = logging.getLogger(__name__)


def in_background(call: Callable[[], R]) -> Future[R]:
    """Call in a daemon thread of its own, which the end of the process does not wait for."""
    future: Future[R] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # raised again by whoever takes the result
            future.set_exception(error)

    threading.Thread(target=run, name="l3ae-background", daemon=True).start()
    return future


def bounded(call: Callable[[], R], seconds: float, what: str) -> R:
    """Call in a thread of its own; after ``seconds`` the thread is left to itself.

    Parameters
    ----------
    call
        What may hang.
    seconds
        How long to wait for it.
    what
        What is waited for, in words, for the error.

    Raises
    ------
    TimeoutError
        Naming ``what``; or whatever ``call`` raises in time.
    """
    future = in_background(call)
    wait([future], timeout=seconds)
    if not future.done():
        raise TimeoutError(f"{what} did not answer within {seconds:.0f} s")
    return future.result()


class Inquiry(Generic[R]):
    """A question that is asked again and again in the background, however long its answer takes.

    Parameters
    ----------
    ask
        Gets the answer; it may hang. An error of it counts as an answer.

    Attributes
    ----------
    answered
        Whether an answer has come between the last two looks.
    """

    def __init__(self, ask: Callable[[], R]) -> None:
        self._ask = ask
        self._pending: Future[R] | None = None
        self.answered = False

    def look(self) -> R | None:
        """Return the answer that has come since the last look, if any, and ask again; never waits."""
        pending = self._pending
        self.answered = pending is not None and pending.done()
        if pending is None or self.answered:
            self._pending = in_background(self._ask)
        if pending is None or not self.answered:
            return None
        if (error := pending.exception()) is not None:
            _log.debug("no answer", exc_info=error)
            return None
        return pending.result()
