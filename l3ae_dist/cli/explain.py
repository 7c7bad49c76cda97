"""``l3ae-dist explain``: what a score is made of."""

from typing import Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.ids import call_with_ids
from l3ae_dist.cli.options import AsJson, ModelOption, WorkspaceArgument
from l3ae_dist.cli.output import output_to_stderr, print_json, screen


@command
def explain(
    workspace: WorkspaceArgument,
    user: Annotated[str, typer.Argument(metavar="USER", help="A known user's id.")],
    item: Annotated[str, typer.Argument(metavar="ITEM", help="The item's id.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Items of the history that are listed.")] = 20,
    model: ModelOption = None,
    as_json: AsJson = False,
) -> None:
    """Split a user's score of an item over the user's history, collaborative and semantic."""
    from l3ae_dist.model.fitted import load_model

    with output_to_stderr():
        opened = load_model(workspace, model)
        parts = call_with_ids(lambda users, items: opened.explain(users[0], items[0]), [user], [item])
    if as_json:
        print_json({"explanation": parts.to_dict("records")})
        return
    from l3ae_dist.cli.views.explanation import explanation_table

    screen().print(explanation_table(user, item, parts.to_dict("records"), n))
