"""Errors of a command as one paragraph on standard error and a documented exit code."""

import functools
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from l3ae_dist.errors import L3AEError

P = ParamSpec("P")
R = TypeVar("R")
INTERRUPTED = 130
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
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except L3AEError as error:
            _report(str(error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            _report("interrupted; what was finished is kept, the same command continues from there.")
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError:
            raise
        except Exception as error:
            name = type(error).__name__
            _report(f"internal error, {name}: {error}; repeat with `l3ae-dist --debug` for the traceback.")
            raise typer.Exit(1) from error

    return run


def _report(message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    if _debug:
        traceback.print_exc(file=sys.stderr)
    console = Console(stderr=True, highlight=False)
    console.print(Text(f"error: {message}", style="bold red"), soft_wrap=True)
