"""``l3ae-dist update``: new interactions for the model of a workspace, without solving its system again."""

from typing import Annotated

import typer

from l3ae_dist.cli.append import NewData
from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import (
    AsJson,
    ComputeOptions,
    Memory,
    ModelOption,
    NameOption,
    Workers,
    WorkspaceArgument,
)
from l3ae_dist.cli.output import print_json, screen


@command
def update(
    workspace: WorkspaceArgument,
    data: NewData,
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Values of compute and data.options; encoder.trust_remote_code.",
        ),
    ] = [],  # noqa: B006  (typer copies it)
    memory_budget: Memory = None,
    workers: Workers = None,
    model: ModelOption = None,
    name: NameOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell whether the system would be solved, and why.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add interactions to a fitted model by changing its inverse: one pass over it instead of a solve."""
    config = ComputeOptions(None, memory_budget, workers, None).configure(workspace, data.settings(settings))
    from l3ae_dist.pipeline.update import foreseen, update_named

    if dry_run:
        told = data.grow(foreseen, workspace, config, model, name)
        if as_json:
            print_json(told)
        else:
            from l3ae_dist.cli.views.appended import foreseen_sentence

            screen().print(foreseen_sentence(told), soft_wrap=True, markup=False)
        return
    result = data.grow(update_named, workspace, config, model, name)
    if as_json:
        print_json(result)
        return
    from l3ae_dist.cli.views.appended import update_sentence
    from l3ae_dist.cli.views.result import print_result

    sentence = update_sentence(result["append"], result["update"])
    screen().print(sentence, soft_wrap=True, markup=False)
    print_result(screen(), result)
