"""Options that several commands share, one by one and in groups; a group is a dataclass."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l3ae_dist.cli.configuration import build_config, quoted

if TYPE_CHECKING:
    from l3ae_dist.config.run_config import RunConfig

WorkspaceArgument = Annotated[str, typer.Argument(metavar="WORKSPACE", help="Path or URL of the workspace.")]
Target = Annotated[
    str, typer.Argument(metavar="CONFIG", help="YAML file, or a workspace to use with defaults.")
]
Settings = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Set any value, as in model.reg_x=-100.")
]
AnySettings = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Set any value.")]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Name of a model; else the current one."),
]
NameOption = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name for the model.")]
WorkspaceOption = Annotated[str | None, typer.Option("--workspace", help="Path or URL of the workspace.")]
Memory = Annotated[str | None, typer.Option("--memory-budget", help="Bytes per Dask worker, such as 2GiB.")]
Workers = Annotated[int | None, typer.Option("--workers", help="Dask worker processes.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="auto, float32 or float64.")]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", help="Allow tcp:// to a scheduler, and a dashboard, off this machine."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Count = Annotated[int, typer.Option("-n", "--n", min=1, help="How many per row.")]
RatesFile = Annotated[
    Path | None,
    typer.Option("--rates", help="File of a calibration; the workspace's, or assumed rates, if not given."),
]
Network = Annotated[
    str | None, typer.Option("--network", help="Bytes a second of a worker's network, such as 3GB.")
]
PlannedWorkers = Annotated[int | None, typer.Option("--workers", min=1, help="Dask workers.")]
WorkerMemory = Annotated[
    str | None, typer.Option("--worker-memory", help="Bytes of a worker, such as 64GiB.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="BLAS threads of a worker.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, or cuda for a GPU in each worker.")]


@dataclass(frozen=True, slots=True)
class ComputeOptions:
    """The options of a command that runs stages: where, and on what."""

    workspace: WorkspaceOption = None
    memory_budget: Memory = None
    workers: Workers = None
    dtype: Dtype = None
    insecure: Insecure = False
    name: NameOption = None

    def configure(self, target: str, settings: list[str]) -> "RunConfig":
        """Build the configuration of a file or workspace with these options."""
        return build_config(
            target,
            settings,
            {
                "workspace": quoted(self.workspace),
                "name": quoted(self.name),
                "compute.memory_budget": self.memory_budget,
                "compute.workers": self.workers,
                "compute.dtype": self.dtype,
                "compute.insecure": "true" if self.insecure else None,
            },
        )
