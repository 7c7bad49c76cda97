"""Signals and standard streams of the command, as the shell or a supervisor hands them over."""

import atexit
import contextlib
import logging
import os
import signal
import sys
from types import FrameType

_count = 0


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as an interruption does."""


def interruptions() -> int:
    """Count the signals so far that asked the command to end."""
    return _count


def _interrupt(number: int, _frame: FrameType | None) -> None:
    global _count
    _count += 1
    logging.disable(logging.CRITICAL)  # what engines log as they are torn down is no news to who ended them
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def end_at_once(code: int) -> None:
    """Let SIGINT and SIGTERM end the process with the exit code of a command that has said its outcome.

    Parameters
    ----------
    code
        Exit code of the command.
    """
    with contextlib.suppress(OSError, ValueError):  # what fails here fails again, and is told, at the end
        sys.stdout.flush()
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, lambda *_: os._exit(code))


def _ignore_interruption() -> None:
    # the interpreter gives signals back to the system before it ends, which would then tell of a kill
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def prepare_process() -> None:
    """Let SIGINT and SIGTERM end the command in order, and open standard streams that were closed.

    A closed standard stream has a number that the next file takes, in which prints would then end up.
    """
    atexit.register(_ignore_interruption)  # first registered, it is the last that is called
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks for
            signal.signal(number, _interrupt)
    if hasattr(signal, "SIGXFSZ"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that grows too large is then an error
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            setattr(sys, name, os.fdopen(descriptor, mode))
