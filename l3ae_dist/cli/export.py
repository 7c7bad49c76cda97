"""``l3ae-dist export``: the largest weights of a model as files."""

from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson, ModelOption, WorkspaceArgument
from l3ae_dist.cli.output import print_json, run_with_progress, tell

if TYPE_CHECKING:
    from l3ae_dist.model.export import Format


@command
def export(
    workspace: WorkspaceArgument,
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder to write.")],
    k: Annotated[str, typer.Option("--k", help="Weights kept for each item, or all.")] = "100",
    form: Annotated[str, typer.Option("--format", help="npz, parquet or both.")] = "npz",
    memory_budget: Annotated[str, typer.Option("--memory-budget", help="Bytes it may hold.")] = "2GiB",
    model: ModelOption = None,
    as_json: AsJson = False,
) -> None:
    """Export the largest weights of a model, to serve with NumPy and SciPy alone."""
    from l3ae_dist.model.fitted import load_model

    weights = int(k) if k.isdecimal() else cast("Literal['all']", k)  # anything else is refused
    header = run_with_progress(
        lambda on_event: load_model(workspace, model).export_weights(
            out, weights, format=cast("Format", form), memory_budget=memory_budget, on_event=on_event
        )
    )
    if as_json:
        print_json({**header, "path": out})
    else:
        tell(f"{header['entries']:,} weights of {header['n_items']:,} items in {out}")
