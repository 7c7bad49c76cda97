"""``l3ae-dist serve``: recommendations over HTTP, from an export or a workspace."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import ModelOption
from l3ae_dist.cli.output import tell

if TYPE_CHECKING:
    from l3ae_dist.serve.service import Place


@dataclass(frozen=True, slots=True)
class PlaceOptions:
    """The place at which a service listens, and what it lets requests do."""

    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for a free one.")] = 8000
    certificate: Annotated[Path | None, typer.Option(help="PEM file, for https.")] = None
    key: Annotated[Path | None, typer.Option(help="PEM file of its key.")] = None
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow plain http off this machine.")] = False
    new_items: Annotated[
        bool, typer.Option("--new-items", help="Let requests add items to the workspace by their text.")
    ] = False
    memory_budget: Annotated[str, typer.Option(help="Bytes a call to a workspace may hold.")] = "2GiB"
    connections: Annotated[
        int, typer.Option(min=1, help="Connections at a time; further ones are refused with status 503.")
    ] = 512

    def place(self) -> "Place":
        """Return the place that the options describe."""
        from l3ae_dist.serve.service import Place

        return Place(**{one.name: getattr(self, one.name) for one in fields(self)})


@command
def serve(
    export_or_workspace: Annotated[str, typer.Argument(help="Folder of an export, or a workspace.")],
    options: PlaceOptions,
    model: ModelOption = None,
) -> None:
    """Serve recommendations over HTTP until interrupted; a new export or model takes over by itself."""
    from l3ae_dist.serve.service import serve_until_interrupted

    serve_until_interrupted(export_or_workspace, options.place(), tell, model=model)
