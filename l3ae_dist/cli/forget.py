"""``l3ae-dist forget``: users who are taken out of a model, and erased from its workspace."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.ids import call_with_ids
from l3ae_dist.cli.options import (
    AsJson,
    ComputeOptions,
    Memory,
    NameOption,
    Settings,
    Workers,
    WorkspaceArgument,
)
from l3ae_dist.cli.output import print_json, run_with_progress, screen
from l3ae_dist.errors import ConfigError


@dataclass(frozen=True, slots=True)
class WhoIsForgotten:
    """Users, and when they are erased."""

    users: Annotated[
        list[str] | None, typer.Argument(metavar="[USER]...", help="User ids.", show_default=False)
    ] = None
    file: Annotated[
        Path | None, typer.Option("--users", metavar="FILE", help="Text file with a user id in each line.")
    ] = None
    erase: Annotated[
        bool, typer.Option("--erase", help="Solve anew, and delete all that may hold them, at once.")
    ] = False
    deadline: Annotated[
        str | None, typer.Option(metavar="DATE|DAYS", help="When they are erased at the latest.")
    ] = None

    def ids(self) -> list[str]:
        """Return the ids of the command and of its file."""
        if self.file is None:
            return self.users or []
        try:
            lines = self.file.read_text("utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the user ids in {self.file} cannot be read ({error}).") from error
        ids = (line.removesuffix("\r") for line in lines)
        return [*(self.users or []), *(one for one in ids if one)]


@command
def forget(
    workspace: WorkspaceArgument,
    who: WhoIsForgotten,
    settings: Settings = [],  # noqa: B006  (typer copies it)
    memory_budget: Memory = None,
    workers: Workers = None,
    name: NameOption = None,
    as_json: AsJson = False,
) -> None:
    """Take users out of the fitted model at once, and out of all that the workspace keeps with --erase."""
    config = ComputeOptions(None, memory_budget, workers, None).configure(workspace, settings)
    from l3ae_dist.pipeline.forget import Forgetting, forget_named

    compute = config.compute.model_dump(exclude_unset=True)
    result = run_with_progress(
        lambda told: call_with_ids(
            lambda ids: forget_named(
                workspace, ids, Forgetting(who.erase, who.deadline, compute, name, told)
            ),
            who.ids(),
        )
    )
    if as_json:
        print_json(result)
        return
    from l3ae_dist.cli.views.forgotten import forgotten_lines
    from l3ae_dist.cli.views.result import print_result

    for line in forgotten_lines(result):
        screen().print(line, soft_wrap=True, markup=False)
    print_result(screen(), result)
