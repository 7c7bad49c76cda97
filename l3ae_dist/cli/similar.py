"""``l3ae-dist similar``: the neighbours of items."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.ids import call_with_ids
from l3ae_dist.cli.options import AsJson, Count, ModelOption, WorkspaceArgument
from l3ae_dist.cli.output import output_to_stderr, show_records

if TYPE_CHECKING:
    from l3ae_dist.model.neighbours import WeightPart


@command
def similar(
    workspace: WorkspaceArgument,
    items: Annotated[list[str], typer.Argument(metavar="ITEM...", help="Item ids.")],
    n: Count = 10,
    kind: Annotated[str, typer.Option(help="weights, semantic or collaborative.")] = "weights",
    model: ModelOption = None,
    as_json: AsJson = False,
) -> None:
    """Show the items that owning an item speaks most for."""
    from l3ae_dist.model.fitted import load_model

    chosen = cast("WeightPart", kind)  # similar_items refuses any other
    with output_to_stderr():
        opened = load_model(workspace, model)
        neighbours = call_with_ids(lambda ids: opened.similar_items(ids, n=n, kind=chosen), items)
    show_records(neighbours.to_dict("records"), "similar", as_json)
