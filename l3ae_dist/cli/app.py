"""The command line ``l3ae-dist``. Heavy packages are imported inside the commands that need them."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from l3ae_dist.cli.append import append
from l3ae_dist.cli.calibrate import calibrate
from l3ae_dist.cli.check import check
from l3ae_dist.cli.cluster import app as cluster_app
from l3ae_dist.cli.compare import compare
from l3ae_dist.cli.config import app as config_app
from l3ae_dist.cli.demo import demo
from l3ae_dist.cli.doctor import doctor
from l3ae_dist.cli.du import du
from l3ae_dist.cli.embed import embed
from l3ae_dist.cli.evaluate import evaluate
from l3ae_dist.cli.exits import EXIT_CODES, show_tracebacks
from l3ae_dist.cli.explain import explain
from l3ae_dist.cli.export import export
from l3ae_dist.cli.fit import fit
from l3ae_dist.cli.forget import forget
from l3ae_dist.cli.gc import gc
from l3ae_dist.cli.plan import plan
from l3ae_dist.cli.recommend import recommend
from l3ae_dist.cli.report import report
from l3ae_dist.cli.run import run
from l3ae_dist.cli.serve import serve
from l3ae_dist.cli.signals import end_at_once, prepare_process
from l3ae_dist.cli.similar import similar
from l3ae_dist.cli.simulate import simulate
from l3ae_dist.cli.status import status
from l3ae_dist.cli.sweep import sweep
from l3ae_dist.cli.unlock import unlock
from l3ae_dist.cli.update import update
from l3ae_dist.cli.use import use
from l3ae_dist.cli.verify import verify
from l3ae_dist.cli.watch import watch
from l3ae_dist.messages import paragraph

# Commands by the panel of --help that lists them, each with an example.
PANELS: dict[str, dict[Callable[..., None], str]] = {
    "Fit a model": {
        demo: "demo",
        check: "check config.yaml",
        run: "run config.yaml --set model.reg_e=300",
        sweep: "sweep config.yaml",
        embed: "embed config.yaml",
        fit: "fit config.yaml",
        evaluate: "evaluate ./workspace --by popularity",
    },
    "Use it": {
        recommend: "recommend ./workspace 42 -n 10",
        similar: "similar ./workspace 7 -n 5",
        explain: "explain ./workspace 42 7",
        export: "export ./workspace export --k 100",
        serve: "serve export",
        use: "use ./workspace ease-2026-11-28-1",
    },
    "New data": {
        append: "append ./workspace new.parquet",
        update: "update ./workspace new.parquet --dry-run",
        forget: "forget ./workspace --users users.txt --deadline 30",
    },
    "See what happens": {
        status: "status ./workspace",
        watch: "watch ./workspace",
        report: "report ./workspace --output report.html",
        compare: "compare ./workspace",
    },
    "Look ahead": {
        plan: "plan --items 3e5 --users 5e6 --interactions 1e8 --dim 384 --workers 8 --worker-memory 32GiB",
        calibrate: "calibrate config.yaml",
        simulate: "simulate config.yaml --workers 64",
    },
    "Keep a workspace": {
        doctor: "doctor config.yaml",
        verify: "verify ./workspace",
        du: "du ./workspace",
        gc: "gc ./workspace --dry-run",
        unlock: "unlock ./workspace",
    },
}
COMMANDS = tuple(command for panel in PANELS.values() for command in panel)


class _ShortErrors(TyperGroup):
    """Commands whose complaints about arguments are no longer than a paragraph."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Read the options before the command."""
        with _short_complaints():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        """Read the arguments of the command and call it."""
        with _short_complaints():
            return super().invoke(ctx)


@contextlib.contextmanager
def _short_complaints() -> Iterator[None]:
    """Shorten the message of an error of the parser, whose class typer does not export."""
    try:
        yield
    except Exception as complaint:
        if hasattr(complaint, "format_message"):
            text = paragraph(str(vars(complaint)["message"]))
            if re.match("-[0-9]", str(getattr(complaint, "option_name", ""))):
                text += ". An id that begins with a dash follows after --, such as: -- -5"
            vars(complaint)["message"] = text
        raise


app = typer.Typer(
    name="l3ae-dist",
    cls=_ShortErrors,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Exact L3AE recommenders on catalogs larger than memory: "
    "Ray embeds, Dask solves, Zarr keeps the tiles.",
    epilog="Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + ".",
)
for _panel, _commands in PANELS.items():
    for _command, _example in _commands.items():
        app.command(rich_help_panel=_panel, epilog=f"Example: l3ae-dist {_example}")(_command)
app.add_typer(config_app, name="config", rich_help_panel="Fit a model")
app.add_typer(cluster_app, name="cluster", rich_help_panel="Look ahead")


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
    prepare_process()
    try:
        app(prog_name="l3ae-dist")
    except SystemExit as ended:
        end_at_once(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
        raise
