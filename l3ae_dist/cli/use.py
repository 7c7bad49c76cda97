"""``l3ae-dist use``: another model of a workspace answers."""

from typing import Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson, NameOption, WorkspaceArgument
from l3ae_dist.cli.output import output_to_stderr, print_json, screen


@command
def use(
    workspace: WorkspaceArgument,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model, as status lists them.")],
    name: NameOption = None,
    as_json: AsJson = False,
) -> None:
    """Make a model the current one, which every call uses that names none."""
    from l3ae_dist.pipeline.named_models import use_model

    with output_to_stderr():
        told = use_model(workspace, model, name=name)
    if as_json:
        print_json(told)
        return
    from l3ae_dist.cli.views.models import model_lines

    for line in model_lines(told):
        screen().print(line, soft_wrap=True)
