"""``l3ae-dist append``: new interactions for the model of a workspace."""

from dataclasses import dataclass
from typing import Annotated

import typer

from l3ae_dist.cli.command import command
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
    from l3ae_dist.pipeline.inputs import Inputs

    new = Inputs(data.interactions, data.items, data.embeddings)
    result = run_with_progress(
        lambda on_event: append_named(
            workspace,
            new,
            options=config.data.options.model_dump(exclude_unset=True),
            compute=config.compute.model_dump(exclude_unset=True),
            model=model,
            name=name,
            trust_remote_code=config.encoder.trust_remote_code,
            on_event=on_event,
        )
    )
    if as_json:
        print_json(result)
        return
    from l3ae_dist.cli.views.appended import append_sentence
    from l3ae_dist.cli.views.result import print_result

    screen().print(append_sentence(result["append"]), soft_wrap=True, markup=False)
    print_result(screen(), result)
