"""``l3ae-dist evaluate``: the metrics of fitted models."""

from typing import Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import (
    AsJson,
    ComputeOptions,
    Insecure,
    Memory,
    ModelOption,
    Settings,
    Target,
    Workers,
    WorkspaceOption,
)
from l3ae_dist.cli.output import run_with_progress
from l3ae_dist.cli.result import add_report, show_result


@command
def evaluate(
    config: Target,
    settings: Settings = [],  # noqa: B006  (typer copies it)
    workspace: WorkspaceOption = None,
    memory_budget: Memory = None,
    workers: Workers = None,
    by: Annotated[
        list[str], typer.Option("--by", help="popularity (of items), activity (of users); repeatable.")
    ] = [],  # noqa: B006
    insecure: Insecure = False,
    model: ModelOption = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate the fitted models of a workspace on its validation and test splits."""
    groups = [f"evaluate.by=[{', '.join(by)}]"] if by else []
    compute = ComputeOptions(workspace, memory_budget, workers, insecure=insecure)
    chosen = compute.configure(config, [*settings, *groups])
    from l3ae_dist.pipeline.evaluate import evaluate_workspace

    result = run_with_progress(lambda on_event: evaluate_workspace(chosen, model=model, on_event=on_event))
    show_result(add_report(result, wanted=chosen.report), as_json)
