"""``l3ae-dist append``: new interactions for the model of a workspace."""

from typing import Annotated, Any

import typer

from l3ae_dist.cli.common import build_config, guarded, print_json, run_with_progress


@guarded
def append(
    workspace: Annotated[str, typer.Argument(metavar="WORKSPACE", help="Path or URL of the workspace.")],
    interactions: Annotated[str, typer.Argument(metavar="INTERACTIONS", help="The new log: path or URL.")],
    items: Annotated[
        str | None, typer.Option("--items", help="Catalog rows of new items, put at the end.")
    ] = None,
    embeddings: Annotated[
        str | None, typer.Option("--embeddings", help="Embeddings of the new items, where they are given.")
    ] = None,
    unknown_items: Annotated[
        str | None, typer.Option("--unknown-items", help="error or drop: interactions with unknown items.")
    ] = None,
    settings: Annotated[
        list[str],
        typer.Option("--set", metavar="KEY=VALUE", help="Values of compute and data.options."),
    ] = [],  # noqa: B006  (typer copies it)
    memory_budget: Annotated[
        str | None, typer.Option("--memory-budget", help="Bytes per Dask worker, such as 2GiB.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Dask worker processes.")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="auto, float32 or float64.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Add interactions to a fitted model: only what they touch is computed again."""
    if unknown_items is not None:
        settings = [*settings, f"data.options.unknown_items={unknown_items}"]
    config = build_config(workspace, settings, memory_budget=memory_budget, workers=workers, dtype=dtype)
    from l3ae_dist.pipeline.append import append as append_to

    result = run_with_progress(
        lambda on_event: append_to(
            workspace,
            interactions,
            items,
            embeddings=embeddings,
            options=config.data.options.model_dump(exclude_unset=True),
            compute=config.compute.model_dump(exclude_unset=True),
            on_event=on_event,
        )
    )
    if as_json:
        print_json(result)
        return
    from rich.console import Console

    from l3ae_dist.cli.views.tables import print_result

    console = Console(highlight=False)
    console.print(_sentence(result["append"]), soft_wrap=True, markup=False)
    print_result(console, result)


def _sentence(report: dict[str, Any]) -> str:
    """What was new, in words."""
    if report["already"]:
        return "This log was appended before; nothing was done."
    return (
        f"Appended {report['interactions']:,} new interactions ({report['known']:,} were known, "
        f"{report['held_out']:,} are held out and stay so), {report['users']:,} new users and "
        f"{report['items']:,} new items; {report['gram_tiles_computed']:,} of {report['gram_tiles']:,} "
        "Gram tiles were computed."
    )
