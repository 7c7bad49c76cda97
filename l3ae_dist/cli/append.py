"""``l3ae-dist append``: new interactions for the model of a workspace."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.documents import Document
from l3ae_dist.cli.options import (
    AsJson,
    ComputeOptions,
    Dtype,
    Memory,
    ModelOption,
    NameOption,
    Workers,
    WorkspaceArgument,
)
from l3ae_dist.cli.output import print_json, run_with_progress, screen

if TYPE_CHECKING:
    from l3ae_dist.config.run_config import RunConfig
    from l3ae_dist.pipeline.append import Growth
    from l3ae_dist.pipeline.inputs import Inputs


@dataclass(frozen=True, slots=True)
class NewData:
    """The new log, and what comes with it."""

    interactions: Annotated[str, typer.Argument(metavar="INTERACTIONS", help="The new log: path or URL.")]
    items: Annotated[
        str | None, typer.Option("--items", help="Catalog rows of new items, put at the end.")
    ] = None
    embeddings: Annotated[
        str | None, typer.Option("--embeddings", help="Embeddings of the new items, where they are given.")
    ] = None
    unknown_items: Annotated[
        str | None, typer.Option("--unknown-items", help="error or drop: interactions with unknown items.")
    ] = None

    def settings(self, settings: list[str]) -> list[str]:
        """Return the settings of the command with what the options say of the data."""
        if self.unknown_items is None:
            return settings
        return [*settings, f"data.options.unknown_items={self.unknown_items}"]

    def grow(
        self,
        call: "Callable[[str, Inputs, Growth], Document]",
        workspace: str,
        config: "RunConfig",
        model: str | None,
        name: str | None,
    ) -> Document:
        """Append or update with a progress bar; return the result.

        Parameters
        ----------
        call
            ``append_named`` or ``update_named``.
        workspace
            Path or URL.
        config, model, name
            Of the command: its settings, the model that grows, and the name of the new one.
        """
        from l3ae_dist.pipeline.append import Growth
        from l3ae_dist.pipeline.inputs import Inputs

        new = Inputs(self.interactions, self.items, self.embeddings)
        options = config.data.options.model_dump(exclude_unset=True)
        compute = config.compute.model_dump(exclude_unset=True)
        trusts = config.encoder.trust_remote_code
        return run_with_progress(
            lambda told: call(workspace, new, Growth(options, compute, model, name, trusts, told))
        )


@command
def append(
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
    dtype: Dtype = None,
    model: ModelOption = None,
    name: NameOption = None,
    as_json: AsJson = False,
) -> None:
    """Add interactions to a fitted model: only what they touch is computed again."""
    config = ComputeOptions(None, memory_budget, workers, dtype).configure(workspace, data.settings(settings))
    from l3ae_dist.pipeline.append import append_named

    result = data.grow(append_named, workspace, config, model, name)
    if as_json:
        print_json(result)
        return
    from l3ae_dist.cli.views.appended import append_sentence
    from l3ae_dist.cli.views.result import print_result

    screen().print(append_sentence(result["append"]), soft_wrap=True, markup=False)
    print_result(screen(), result)
