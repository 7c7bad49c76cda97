"""The outcome of a run: its stages with progress, its report, and how it is shown."""

import sys
from typing import TYPE_CHECKING

from l3ae_dist.cli.documents import Document
from l3ae_dist.cli.output import output_to_stderr, print_json, run_with_progress, screen

if TYPE_CHECKING:
    from l3ae_dist.config.run_config import RunConfig
    from l3ae_dist.pipeline.inputs import Until


def run_stages(config: "RunConfig", *, until: "Until | None", as_json: bool) -> None:
    """Run the stages of a configuration, write its report, and show the outcome.

    Parameters
    ----------
    config
        The run.
    until
        Last step, ``"embed"`` or ``"fit"``; None for all of them.
    as_json
        Print one JSON object instead of tables.
    """
    from l3ae_dist.pipeline.run import run

    result = run_with_progress(lambda on_event: run(config, on_event=on_event, until=until))
    show_result(add_report(result, wanted=config.report and until != "embed"), as_json)


def show_result(result: Document, as_json: bool) -> None:
    """Print the outcome of a run as JSON or as tables."""
    if as_json:
        print_json(result)
        return
    from l3ae_dist.cli.views.result import print_result

    print_result(screen(), result)


def add_report(result: Document, *, wanted: bool = True) -> Document:
    """Write the report of a run and add its place to the outcome, under ``report``.

    A run that was reused keeps the report that it has. A report that fails is a sentence on standard error.
    """
    if not wanted or "run" not in result:
        return result
    from l3ae_dist.errors import L3AEError
    from l3ae_dist.report.write import kept_report, write_report

    try:
        with output_to_stderr():
            where = kept_report(result["workspace"], result["run"]) if result.get("reused") else None
            where = where or write_report(result["workspace"], result["run"])["report"]
    except Exception as error:  # the run is complete, and its result more than its report
        reason = str(error) if isinstance(error, L3AEError) else f"{type(error).__name__}: {error}"
        print(f"The run is complete, but its report could not be made: {reason}", file=sys.stderr)
        return result
    return {**result, "report": where}
