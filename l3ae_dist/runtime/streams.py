"""Standard output and standard error of commands and workers: they carry data, and no secrets."""

import contextlib
import logging
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TextIO, cast

from l3ae_dist.messages import neutral, redacted

if TYPE_CHECKING:
    from distributed import Worker


class NeutralStream:
    """A text stream that escapes what a terminal would obey, and leaves secrets out.

    Parameters
    ----------
    stream
        Where the text goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self.terminal = stream

    def write(self, text: str) -> int:
        """Write text, and return its length."""
        self.terminal.write(neutral(redacted(text)))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines, which bring their ends."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self.terminal, name)


@contextlib.contextmanager
def neutral_streams() -> Iterator[None]:
    """Let nothing reach standard output or standard error as it is for the ``with`` block."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", NeutralStream(stream)) for stream in (out, err))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


def neutralise_streams() -> None:
    """Let nothing reach standard output or standard error as it is from now on, log lines included.

    For processes that are this package's own: workers and actors. What is written past Python is not seen.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, NeutralStream):
            continue
        neutral_one = cast("TextIO", NeutralStream(stream))
        setattr(sys, name, neutral_one)
        for handler in _handlers():
            if isinstance(handler, logging.StreamHandler) and handler.stream is stream:
                handler.setStream(neutral_one)


def _handlers() -> Iterator[logging.Handler]:
    """Yield every handler of every logger of this process."""
    yield from logging.root.handlers
    for logger in tuple(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            yield from logger.handlers


def dask_setup(worker: "Worker") -> None:
    """Begin a Dask worker that preloads this module, as with ``--preload l3ae_dist.runtime.streams``."""
    neutralise_streams()
