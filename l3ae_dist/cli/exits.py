"""Errors of a command as one paragraph on standard error and a documented exit code."""

import errno
import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from l3ae_dist.cli.signals import Terminated, interruptions
from l3ae_dist.errors import L3AEError, WorkspaceError
from l3ae_dist.messages import paragraph, shown
from l3ae_dist.runtime.streams import NeutralStream, neutral_streams
from l3ae_dist.storage.kept import kept_words

P = ParamSpec("P")
R = TypeVar("R")
INTERRUPTED, TERMINATED = 130, 143
EXIT_CODES = {
    0: "success",
    1: "any other error",
    2: "wrong usage or configuration, or too small a memory budget",
    3: "the data cannot be used as they are",
    4: "the workspace cannot be opened, read or written, or a stage is missing",
    5: "another run holds the workspace",
    6: "damaged tiles",
    7: "the system cannot be solved to the tolerance",
    8: "the Dask or Ray cluster failed",
    INTERRUPTED: "interrupted",
    TERMINATED: "ended by SIGTERM",
}
# What to do about errors of the operating system.
_STEPS = {
    errno.EMFILE: "this process may open no more files: raise the limit (ulimit -n), 1024 is enough",
    errno.ENFILE: "this machine may open no more files: end other programs, or raise fs.file-max",
    errno.EFBIG: "no file may be so large here: raise the limit (ulimit -f), or write to another place",
    errno.ENOSPC: "free some space where the output, the workspace or TMPDIR is, and repeat the command",
    errno.EDQUOT: "free some space within your quota, and repeat the command",
    errno.ENOMEM: "there is no memory left: end other programs, or lower compute.memory_budget",
    errno.EAGAIN: "no more processes or threads may be started: raise the limit (ulimit -u)",
    errno.EACCES: "check the permissions",
    errno.EROFS: "choose a place that can be written",
}
_debug = False


def show_tracebacks(shown: bool) -> None:
    """Print the traceback of an error before its paragraph, or do not."""
    global _debug
    _debug = shown


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors of a command into one paragraph on standard error and an exit code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with neutral_streams():
                return command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except L3AEError as error:
            _report(str(error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            ended = isinstance(error, Terminated)
            what = "ended by a signal (SIGTERM)" if ended else "interrupted"
            _report(f"{what}; {_kept_at(error)}, and the same command continues from there.")
            code = TERMINATED if ended else INTERRUPTED
            if interruptions() > 1:  # the last one ended the tidying up
                sys.stderr.flush()
                os._exit(code)
            raise typer.Exit(code) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            _report(_of_the_system(error))
            raise typer.Exit(WorkspaceError.exit_code) from error
        except Exception as error:
            name = type(error).__name__
            told = f"internal error, {name}: {error}; repeat with `l3ae-dist --debug` for the traceback."
            _report(paragraph(told))
            raise typer.Exit(1) from error

    return run


def _kept_at(interruption: BaseException) -> str:
    """Say what is kept, as the run noted on an interruption, or on the one that ended its tidying up."""
    error: BaseException | None = interruption
    while error is not None:
        if isinstance(error, KeyboardInterrupt) and hasattr(error, "__notes__"):
            return error.__notes__[-1]
        error = error.__context__
    return kept_words()


def _of_the_system(error: OSError) -> str:
    """Say in a sentence what the system refused: a disk that fails, a limit, a forbidden file."""
    where = "" if error.filename is None else f" {shown(error.filename)}"
    other = "check disk, rights, network and limits (ulimit -a), then run the same command again"
    step = _STEPS.get(error.errno or 0, other)
    return paragraph(f"the system refused a file or a connection{where}: {error.strerror or error}; {step}.")


def _report(message: str) -> None:
    from rich.text import Text

    from l3ae_dist.runtime.watch.terminal import PlainConsole

    if _debug:
        traceback.print_exc(file=NeutralStream(sys.stderr))
    PlainConsole(sys.stderr).print(Text(f"error: {message}", style="bold red"), soft_wrap=True)
