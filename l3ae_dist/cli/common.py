"""What every command shares: errors to exit codes, JSON on standard output, options to a configuration."""

import functools
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from l3ae_dist.errors import ConfigError, L3AEError, UnknownIdError

if TYPE_CHECKING:
    from l3ae_dist.config.run_config import RunConfig
    from l3ae_dist.runtime.events import OnEvent

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
WorkspaceArgument = Annotated[str, typer.Argument(metavar="WORKSPACE", help="Path or URL of the workspace.")]
Insecure = Annotated[bool, typer.Option("--insecure", help="Allow tcp:// to a scheduler off this machine.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
_debug = False


def set_debug(debug: bool) -> None:
    """Whether errors show their traceback."""
    global _debug
    _debug = debug


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


def plain(value: Any) -> Any:
    """A result as JSON can hold it: NumPy values as Python's, NaN and infinity as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (str, int, bool)) or value is None else str(value)


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(plain(value), indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


@contextmanager
def output_to_stderr() -> Iterator[None]:
    """Send everything written to standard output to standard error, child processes included."""
    stdout = sys.stdout
    stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stdout = stdout
        os.dup2(saved, 1)
        os.close(saved)


def run_with_progress(job: Callable[["OnEvent"], R]) -> R:
    """Call ``job(on_event)`` with progress on standard error and nothing on standard output."""
    from l3ae_dist.runtime.watch.progress import progress_printer

    with output_to_stderr(), progress_printer(sys.stderr) as on_event:
        return job(on_event)


def build_config(
    target: str | None,
    settings: Sequence[str],
    *,
    workspace: str | None = None,
    memory_budget: str | None = None,
    workers: int | None = None,
    dtype: str | None = None,
    insecure: bool = False,
) -> "RunConfig":
    """The configuration from a YAML file (or a workspace with defaults) and the command line.

    Raises
    ------
    ConfigError
        For a ``--set`` without ``=``, and whatever :func:`l3ae_dist.config.load.load_config` raises.
    """
    from l3ae_dist.config.load import load_config

    overrides: dict[str, Any] = {}
    is_file = target is not None and Path(target).suffix in (".yaml", ".yml", ".json")
    if target is not None and not is_file:
        # quoted, so that a path that looks like a number stays text
        overrides["workspace"] = json.dumps(target)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"--set {setting!r} has no value; write --set KEY=VALUE, such as model.reg_x=-100."
            )
        overrides[key.strip()] = value
    flags = {
        "workspace": None if workspace is None else json.dumps(workspace),
        "compute.memory_budget": memory_budget,
        "compute.workers": workers,
        "compute.dtype": dtype,
        "compute.insecure": "true" if insecure else None,
    }
    overrides.update({key: value for key, value in flags.items() if value is not None})
    return load_config(target if is_file else None, overrides)


def call_with_ids(call: Callable[..., R], *ids: list[str]) -> R:
    """Call with ids from the command line, as integers where the data has integer ids.

    Raises
    ------
    UnknownIdError
        When neither form is known.
    """
    forms: list[list[list[Any]]] = [[list(group) for group in ids]]
    if all(text.lstrip("-").isdecimal() for group in ids for text in group):
        forms.append([[int(text) for text in group] for group in ids])
    first: UnknownIdError | None = None
    for form in forms:
        try:
            return call(*form)
        except UnknownIdError as error:
            first = first or error
    assert first is not None
    raise first
