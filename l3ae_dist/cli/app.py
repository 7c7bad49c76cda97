"""The command line ``l3ae-dist``. Heavy packages are imported inside the commands that need them."""

from typing import Annotated, Any

import typer

from l3ae_dist.cli.append import append
from l3ae_dist.cli.cluster import app as cluster_app
from l3ae_dist.cli.common import (
    EXIT_CODES,
    AsJson,
    Insecure,
    WorkspaceArgument,
    build_config,
    call_with_ids,
    guarded,
    output_to_stderr,
    plain,
    print_json,
    run_with_progress,
    set_debug,
)
from l3ae_dist.cli.doctor import doctor
from l3ae_dist.cli.housekeeping import du, gc
from l3ae_dist.cli.plan import calibrate, plan, simulate
from l3ae_dist.cli.report import add_report, compare, report
from l3ae_dist.cli.sweep import sweep
from l3ae_dist.cli.watch import watch

_EPILOG = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."

app = typer.Typer(
    name="l3ae-dist",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Exact L3AE recommenders on catalogs larger than memory: "
    "Ray embeds, Dask solves, Zarr keeps the tiles.",
    epilog=_EPILOG,
)

app.add_typer(cluster_app, name="cluster")

Target = Annotated[
    str, typer.Argument(metavar="CONFIG", help="YAML file, or a workspace to use with defaults.")
]
Settings = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Set any value, as in model.reg_x=-100.")
]
WorkspaceOption = Annotated[str | None, typer.Option("--workspace", help="Path or URL of the workspace.")]
Memory = Annotated[str | None, typer.Option("--memory-budget", help="Bytes per Dask worker, such as 2GiB.")]
Workers = Annotated[int | None, typer.Option("--workers", help="Dask worker processes.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="auto, float32 or float64.")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Options of every command."""
    set_debug(debug)
    if version:
        from l3ae_dist import __version__

        typer.echo(__version__)
        raise typer.Exit


def _show(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    from rich.console import Console

    from l3ae_dist.cli.views.tables import print_result

    print_result(Console(highlight=False), result)


def _show_records(records: list[dict[str, Any]], name: str, as_json: bool) -> None:
    if as_json:
        print_json({name: records})
        return
    from rich.console import Console

    from l3ae_dist.cli.views.tables import record_table

    Console(highlight=False).print(record_table([plain(record) for record in records]))


@app.command()
@guarded
def demo(
    workspace: Annotated[str, typer.Option("--workspace", help="Where the demo keeps its results.")] = (
        "./demo-workspace"
    ),
    as_json: AsJson = False,
) -> None:
    """Run the whole job on MovieLens: embed, solve, compare L3AE with EASE, recommend."""
    from l3ae_dist.model.demo import run_demo

    result = run_with_progress(lambda on_event: run_demo(workspace, on_event=on_event))
    _show(add_report(result), as_json)


def _run(
    target: str,
    settings: list[str] | None,
    flags: dict[str, Any],
    *,
    until: str | None,
    as_json: bool,
) -> None:
    config = build_config(target, settings or [], **flags)
    from l3ae_dist.pipeline.run import run as run_pipeline

    result = run_with_progress(lambda on_event: run_pipeline(config, on_event=on_event, until=until))
    _show(add_report(result, wanted=config.report and until != "embed"), as_json)


def _flags(
    workspace: str | None, memory_budget: str | None, workers: int | None, dtype: str | None, insecure: bool
) -> dict[str, Any]:
    return {
        "workspace": workspace,
        "memory_budget": memory_budget,
        "workers": workers,
        "dtype": dtype,
        "insecure": insecure,
    }


@app.command()
@guarded
def run(
    config: Target,
    settings: Settings = [],  # noqa: B006  (typer copies it)
    workspace: WorkspaceOption = None,
    memory_budget: Memory = None,
    workers: Workers = None,
    dtype: Dtype = None,
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> None:
    """Run every stage of a configuration; what is complete is reused."""
    flags = _flags(workspace, memory_budget, workers, dtype, insecure)
    _run(config, settings, flags, until=None, as_json=as_json)


@app.command()
@guarded
def embed(
    config: Target,
    settings: Settings = [],  # noqa: B006
    workspace: WorkspaceOption = None,
    as_json: AsJson = False,
) -> None:
    """Read the data and embed the item text, no further."""
    _run(config, settings, {"workspace": workspace}, until="embed", as_json=as_json)


@app.command()
@guarded
def fit(
    config: Target,
    settings: Settings = [],  # noqa: B006
    workspace: WorkspaceOption = None,
    memory_budget: Memory = None,
    workers: Workers = None,
    dtype: Dtype = None,
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> None:
    """Run every stage up to the fitted model, without evaluating it."""
    flags = _flags(workspace, memory_budget, workers, dtype, insecure)
    _run(config, settings, flags, until="fit", as_json=as_json)


@app.command()
@guarded
def evaluate(
    config: Target,
    settings: Settings = [],  # noqa: B006
    workspace: WorkspaceOption = None,
    memory_budget: Memory = None,
    workers: Workers = None,
    by: Annotated[
        list[str], typer.Option("--by", help="popularity (of items), activity (of users); repeatable.")
    ] = [],  # noqa: B006
    insecure: Insecure = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate the fitted models of a workspace on its validation and test splits."""
    flags = _flags(workspace, memory_budget, workers, None, insecure)
    groups = [f"evaluate.by=[{', '.join(by)}]"] if by else []
    chosen = build_config(config, [*settings, *groups], **flags)
    from l3ae_dist.pipeline.run import evaluate_workspace

    result = run_with_progress(lambda on_event: evaluate_workspace(chosen, on_event=on_event))
    _show(add_report(result, wanted=chosen.report), as_json)


@app.command()
@guarded
def status(workspace: WorkspaceArgument, as_json: AsJson = False) -> None:
    """Show what a workspace holds; reads storage alone."""
    from l3ae_dist.operations.status import workspace_status

    with output_to_stderr():
        result = workspace_status(workspace)
    if as_json:
        print_json(result)
        return
    from rich.console import Console

    from l3ae_dist.cli.views.tables import print_status

    print_status(Console(highlight=False), result)


Count = Annotated[int, typer.Option("-n", "--n", min=1, help="How many per row.")]


@app.command()
@guarded
def recommend(
    workspace: WorkspaceArgument,
    users: Annotated[
        list[str] | None, typer.Argument(metavar="[USER]...", help="User ids.", show_default=False)
    ] = None,
    n: Count = 20,
    include_liked: Annotated[bool, typer.Option(help="Also recommend what the user has.")] = False,
    output: Annotated[str | None, typer.Option(help="Parquet file or URL to write instead.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="All known users; needs --output.")] = False,
    histories: Annotated[str | None, typer.Option(help="Table user_id, item_id(, weight): fold-in.")] = None,
    allow: Annotated[str | None, typer.Option(help="Table item_id(, user_id): of these items only.")] = None,
    block: Annotated[str | None, typer.Option(help="Table item_id(, user_id): none of these.")] = None,
    reasons: Annotated[int, typer.Option(min=0, help="History items that contribute most, per row.")] = 0,
    memory_budget: Annotated[str, typer.Option(help="Bytes to hold at once.")] = "2GiB",
    as_json: AsJson = False,
) -> None:
    """Recommend items to users: print them, or write Parquet and report users per second."""
    from l3ae_dist.cli.recommend import recommend_to_file, recommend_to_screen
    from l3ae_dist.model.fitted import load_model

    with output_to_stderr():
        model = load_model(workspace, memory_budget=memory_budget)
        options = {"n": n, "filter_already_liked": not include_liked, "return_reasons": reasons}
        whom = (users or [], everyone, histories)
        if output is not None:
            report = recommend_to_file(model, output, whom, allow, block, options)
        else:
            found = recommend_to_screen(model, whom, allow, block, options)
    if output is None:
        _show_records(found.to_dict("records"), "recommendations", as_json)
    elif as_json:
        print_json(report)
    else:
        typer.echo(
            f"{report['rows']:,} rows for {report['users']:,} users in {report['seconds']:.1f} s "
            f"({report['users_per_second']:,.0f} users per second): {report['output']}"
        )


Kind = Annotated[str, typer.Option(help="weights, semantic or collaborative.")]


@app.command()
@guarded
def similar(
    workspace: WorkspaceArgument,
    items: Annotated[list[str], typer.Argument(metavar="ITEM...", help="Item ids.")],
    n: Count = 10,
    kind: Kind = "weights",
    as_json: AsJson = False,
) -> None:
    """Show the items that owning an item speaks most for."""
    from l3ae_dist.model.fitted import load_model

    with output_to_stderr():
        model = load_model(workspace)
        found = call_with_ids(lambda ids: model.similar_items(ids, n=n, kind=kind), items)  # type: ignore[arg-type]
    _show_records(found.to_dict("records"), "similar", as_json)


@app.command()
@guarded
def explain(
    workspace: WorkspaceArgument,
    user: Annotated[str, typer.Argument(metavar="USER", help="A known user's id.")],
    item: Annotated[str, typer.Argument(metavar="ITEM", help="The item's id.")],
    as_json: AsJson = False,
) -> None:
    """Split a user's score of an item over the user's history, collaborative and semantic."""
    from l3ae_dist.model.fitted import load_model

    with output_to_stderr():
        model = load_model(workspace)
        found = call_with_ids(lambda users, items: model.explain(users[0], items[0]), [user], [item])
    if as_json:
        print_json({"explanation": found.to_dict("records")})
        return
    from rich.console import Console

    from l3ae_dist.cli.recommend import explanation_table

    Console(highlight=False).print(explanation_table(user, item, found.to_dict("records")))


@app.command()
@guarded
def export(
    workspace: WorkspaceArgument,
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder to write.")],
    k: Annotated[str, typer.Option("--k", help="Weights kept for each item, or all.")] = "100",
    form: Annotated[str, typer.Option("--format", help="npz, parquet or both.")] = "npz",
    memory_budget: Annotated[str, typer.Option("--memory-budget", help="Bytes it may hold.")] = "2GiB",
    as_json: AsJson = False,
) -> None:
    """Export the largest weights of a model, to serve with NumPy and SciPy alone."""
    from l3ae_dist.model.fitted import load_model

    weights: Any = int(k) if k.isdecimal() else k
    header = run_with_progress(
        lambda on_event: load_model(workspace).export_weights(
            out, weights, format=form, memory_budget=memory_budget, on_event=on_event
        )
    )
    if as_json:
        print_json({**header, "path": out})
    else:
        typer.echo(f"{header['entries']:,} weights of {header['n_items']:,} items in {out}")


@app.command()
@guarded
def unlock(
    workspace: WorkspaceArgument,
    force: Annotated[bool, typer.Option("--force", help="Also when the run looks alive.")] = False,
) -> None:
    """Free a workspace whose run is dead."""
    from l3ae_dist.storage.lock import unlock as free
    from l3ae_dist.storage.workspace import Workspace

    holder = free(Workspace.open(workspace), force)
    typer.echo("the workspace was not locked" if holder is None else f"freed from {holder.describe()}")


@app.command()
@guarded
def verify(workspace: WorkspaceArgument, as_json: AsJson = False) -> None:
    """Read every finished chunk and compare it with its checksum; exit code 6 when any is damaged."""
    from l3ae_dist.operations.verify import damaged_chunks

    arrays, damage = run_with_progress(lambda on_event: damaged_chunks(workspace, on_event))
    if as_json:
        print_json({"workspace": workspace, "arrays": arrays, "damage": damage})
    else:
        for problem in damage:
            typer.echo(problem["problem"])
        typer.echo(f"{arrays} arrays read, {len(damage)} damaged chunks")
    if damage:
        from l3ae_dist.errors import DamagedTileError

        raise typer.Exit(DamagedTileError.exit_code)


app.command()(plan)
app.command()(calibrate)
app.command()(simulate)
app.command()(append)
app.command()(compare)
app.command()(report)
app.command()(sweep)
app.command()(watch)
app.command()(doctor)
app.command()(du)
app.command()(gc)


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="l3ae-dist")
