"""The command line ``l3ae-dist``. Heavy packages are imported inside the commands that need them."""

from typing import Annotated

import typer

from l3ae_dist.cli.append import append
from l3ae_dist.cli.calibrate import calibrate
from l3ae_dist.cli.cluster import app as cluster_app
from l3ae_dist.cli.compare import compare
from l3ae_dist.cli.demo import demo
from l3ae_dist.cli.doctor import doctor
from l3ae_dist.cli.du import du
from l3ae_dist.cli.embed import embed
from l3ae_dist.cli.evaluate import evaluate
from l3ae_dist.cli.exits import EXIT_CODES, show_tracebacks
from l3ae_dist.cli.explain import explain
from l3ae_dist.cli.export import export
from l3ae_dist.cli.fit import fit
from l3ae_dist.cli.gc import gc
from l3ae_dist.cli.plan import plan
from l3ae_dist.cli.recommend import recommend
from l3ae_dist.cli.report import report
from l3ae_dist.cli.run import run
from l3ae_dist.cli.similar import similar
from l3ae_dist.cli.simulate import simulate
from l3ae_dist.cli.status import status
from l3ae_dist.cli.sweep import sweep
from l3ae_dist.cli.unlock import unlock
from l3ae_dist.cli.verify import verify
from l3ae_dist.cli.watch import watch

# In the order in which --help lists them: a run, its outcome, its workspace, what comes before and after.
COMMANDS = (
    demo, run, embed, fit, evaluate, status, recommend, similar, explain, export, unlock, verify,
    plan, calibrate, simulate, append, compare, report, sweep, watch, doctor, du, gc,
)  # fmt: skip

app = typer.Typer(
    name="l3ae-dist",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Exact L3AE recommenders on catalogs larger than memory: "
    "Ray embeds, Dask solves, Zarr keeps the tiles.",
    epilog="Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + ".",
)
app.add_typer(cluster_app, name="cluster")
for _command in COMMANDS:
    app.command()(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from l3ae_dist import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[  # eager: before the command that is missing is missed
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Options of every command."""
    show_tracebacks(debug)


def main() -> None:
    """Start the command line: the entry point of the console script."""
    app(prog_name="l3ae-dist")
