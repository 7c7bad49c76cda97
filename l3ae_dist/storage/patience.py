"""Requests to an object store, repeated while it does not answer, asks for fewer, or cuts answers off."""

import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

from l3ae_dist.errors import ConfigError, WorkspaceError
from l3ae_dist.messages import shown

R = TypeVar("R")

DEFAULT_SECONDS = 300.0
VARIABLE = "L3AE_STORE_PATIENCE"
"""Environment variable with the seconds for which requests are repeated, on workers too."""
# Pauses grow from the first to the last of these; a store that asks for fewer requests gets longer ones.
_FIRST_PAUSE, _FIRST_PAUSE_THROTTLED, _LONGEST_PAUSE = 0.1, 0.5, 10.0
# A wait is told when it lasts, and not more often than this by one process.
_TELL_AFTER, _TELL_AGAIN = 2.0, 60.0
_THROTTLED = re.compile(
    "SlowDown|TooManyRequests|ServerBusy|RequestLimitExceeded|rateLimitExceeded|reduce your request rate",
    re.I,
)
_STATUS = re.compile(r"status code: (\d{3})")
_TRANSPORT = re.compile(r"HTTP error|error sending request|body error|TimedOut|timed out|reqwest|hyper")
# The address from which machines in a cloud get their credentials.
_NO_CREDENTIALS = re.compile(r"169\.254\.169\.254|169\.254\.170\.2|metadata\.google\.internal")
_log = logging.getLogger(__name__)


class StoreTroubleError(WorkspaceError):
    """A store did not come back in time."""


class Trouble(Enum):
    """Trouble of a store that passes by itself, in words for people."""

    THROTTLED = "asks for fewer requests (it is throttling)"
    SILENT = "does not answer"
    FAILING = "answers with errors of its own"
    CUT = "cuts its answers off"

    @property
    def advice(self) -> str:
        """The next step when it did not pass."""
        if self is Trouble.THROTTLED:
            return (
                "use fewer workers, or have the store's request rate raised, then run the same command again"
            )
        if self is Trouble.SILENT:
            return "check the endpoint and the network, then run the same command again"
        return "see whether the store is in order, then run the same command again"


def trouble(error: BaseException) -> Trouble | None:
    """Tell what of a store an error of obstore is about; None for what does not pass by itself."""
    kind, text = type(error).__name__, str(error)
    if kind != "GenericError" or _NO_CREDENTIALS.search(text):
        return None
    status = _STATUS.search(text)
    if status is None:
        if not _TRANSPORT.search(text) or "Builder" in text:
            return None
        return Trouble.CUT if "body error" in text and "TimedOut" not in text else Trouble.SILENT
    code = int(status[1])
    # an answer to HEAD has no body that would tell why
    if (
        code == 429
        or (code in (400, 500, 503) and _THROTTLED.search(text))
        or (code == 503 and "HEAD" in text)
    ):
        return Trouble.THROTTLED
    if code >= 500 or code == 408 or (code == 400 and "RequestTimeout" in text):
        return Trouble.FAILING
    return None


def lacks_credentials(error: BaseException) -> bool:
    """Tell whether a request failed since no credentials are given and the machine has no role."""
    return _NO_CREDENTIALS.search(str(error)) is not None


def default_seconds() -> float:
    """Return the seconds for which requests are repeated, of the environment or else five minutes.

    Raises
    ------
    ConfigError
        When the variable is no number of seconds.
    """
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text) if text else DEFAULT_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise ConfigError(f"{VARIABLE} is {shown(text)}; set it to seconds from 0 to 86400, such as 300.")
    return seconds


def set_default_seconds(seconds: float | None) -> None:
    """Set the seconds for stores that this process, and workers that it starts, open from now on.

    None leaves them as they are.
    """
    if seconds is not None:
        os.environ[VARIABLE] = f"{seconds:g}"


class Patience:
    """Repeats requests to one store for a limited time, with growing pauses, and says so once.

    Parameters
    ----------
    url
        Of the store, for people.
    seconds
        How long, from the first failure of a request on.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self.url = url
        self.seconds = seconds
        self._told = -_TELL_AGAIN
        self._telling = threading.Lock()

    def __call__(self, request: Callable[[], R]) -> R:
        """Return what ``request()`` returns; it is called again while its errors may pass.

        Raises
        ------
        WorkspaceError
            When they did not pass in time; every other error is raised as it is.
        """
        wait = Wait(self)
        while True:
            try:
                return request()
            except Exception as error:
                wait.after(error)

    def tell(self, what: Trouble) -> None:
        """Log that the store is waited for, unless that was told just now."""
        with self._telling:
            now = time.monotonic()
            if now - self._told < _TELL_AGAIN:
                return
            self._told = now
        _log.warning(
            "the store %s %s; trying again for up to %s", self.url, what.value, _minutes(self.seconds)
        )


class Wait:
    """The wait of one request for its store.

    Parameters
    ----------
    patience
        For how long.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._pauses = 0
        self._began: float | None = None
        self.failed = False
        """True once a request may have been carried out without an answer."""

    def progressed(self) -> None:
        """Begin anew: the store has answered in part."""
        self._pauses, self._began = 0, None

    def after(self, error: Exception) -> None:
        """Pause after a failure, or raise it when it will not pass or lasted too long."""
        what = trouble(error)
        if what is None:
            raise error
        self.failed = True
        now = time.monotonic()
        began = self._began = now if self._began is None else self._began
        left = began + self._patience.seconds - now
        if left <= 0:
            raise _exhausted(self._patience, what) from error
        if now - began >= min(_TELL_AFTER, self._patience.seconds / 4):
            self._patience.tell(what)
        first = _FIRST_PAUSE_THROTTLED if what is Trouble.THROTTLED else _FIRST_PAUSE
        longest = min(_LONGEST_PAUSE, first * 2.0 ** min(self._pauses, 20))
        self._pauses += 1
        time.sleep(min(left, longest * random.uniform(0.5, 1)))  # noqa: S311 - no secret: many must not come at once


def _exhausted(patience: Patience, what: Trouble) -> StoreTroubleError:
    tried = f" (tried for {_minutes(patience.seconds)})" if patience.seconds else ""
    return StoreTroubleError(f"the store {patience.url} {what.value}{tried}: {what.advice}.")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
