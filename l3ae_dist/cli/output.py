"""One JSON document, or tables for people, on standard output; everything else on standard error."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from l3ae_dist.messages import inline

if TYPE_CHECKING:
    from rich.console import Console

    from l3ae_dist.runtime.events import OnEvent

R = TypeVar("R")


def plain(value: object) -> object:
    """Make a value what JSON can hold: NumPy's values Python's, NaN and infinity null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (str, int, bool)) or value is None else str(value)


def print_json(value: object) -> None:
    """Print one JSON document on standard output."""
    written = json.dumps(plain(value), indent=2, allow_nan=False).replace("\x7f", "\\u007f")
    sys.stdout.write(written + "\n")
    sys.stdout.flush()


def screen() -> "Console":
    """Return a console on standard output to which everything that it prints is data."""
    from l3ae_dist.runtime.watch.terminal import PlainConsole

    return PlainConsole()


def tell(*lines: str) -> None:
    """Print lines on standard output, each as one line."""
    for line in lines:
        sys.stdout.write(inline(line) + "\n")
    sys.stdout.flush()


def show_records(records: Sequence[Mapping[str, object]], name: str, as_json: bool) -> None:
    """Print records as a table, or as one JSON object that holds them under ``name``.

    Parameters
    ----------
    records
        Rows with equal keys.
    name
        Key of the JSON object.
    as_json
        Print JSON instead of a table.
    """
    if as_json:
        print_json({name: records})
        return
    from l3ae_dist.cli.views.records import record_table

    screen().print(record_table([{key: plain(value) for key, value in row.items()} for row in records]))


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


def run_with_progress(job: "Callable[[OnEvent], R]") -> R:
    """Call ``job(on_event)`` with progress on standard error and nothing on standard output."""
    from l3ae_dist.runtime.watch.progress import progress_printer

    with output_to_stderr(), progress_printer(sys.stderr) as on_event:
        return job(on_event)
