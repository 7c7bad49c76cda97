"""The options of ``plan``, ``simulate`` and ``calibrate``: a run that is not there yet, and its machines."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from l3ae_dist.cli.configuration import build_config
from l3ae_dist.cli.options import (
    AnySettings,
    Device,
    Dtype,
    Network,
    PlannedWorkers,
    RatesFile,
    Threads,
    WorkerMemory,
)
from l3ae_dist.cli.output import output_to_stderr
from l3ae_dist.errors import ConfigError

if TYPE_CHECKING:
    from l3ae_dist.config.run_config import RunConfig
    from l3ae_dist.planning.core_prices import CorePrice
    from l3ae_dist.planning.plan_inputs import DataSize
    from l3ae_dist.planning.resources import Resources

Number = str | None  # read by parse_count, which takes 1e6 too


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run to look ahead at: its configuration, or the size of its data, and what replaces values of it."""

    config: Annotated[
        str | None,
        typer.Argument(metavar="[CONFIG]", help="YAML file, or a workspace; not needed with --items."),
    ] = None
    settings: AnySettings = field(default_factory=list)
    items: Annotated[Number, typer.Option("--items", metavar="N", help="Items, such as 1000000 or 1e6.")] = (
        None
    )
    users: Annotated[Number, typer.Option("--users", metavar="N", help="Users.")] = None
    interactions: Annotated[
        Number, typer.Option("--interactions", metavar="N", help="Training interactions, such as 5e9.")
    ] = None
    dim: Annotated[
        Number,
        typer.Option("--dim", metavar="N", help="Columns of the item features, before a transformation."),
    ] = None
    workers: PlannedWorkers = None
    worker_memory: WorkerMemory = None
    threads: Threads = None
    tile: Annotated[
        int | None, typer.Option("--tile", min=1, help="Rows of a tile; chosen if not given.")
    ] = None
    dtype: Dtype = None
    device: Device = None

    def configure(self) -> "RunConfig":
        """Build the configuration.

        Raises
        ------
        ConfigError
            When neither a configuration nor a number of items is given.
        """
        if self.config is None and self.items is None:
            raise ConfigError("give a configuration, a workspace, or --items, --users and --interactions.")
        target = "./workspace" if self.config is None else self.config
        worker = WorkerOptions(self.workers, self.worker_memory, self.threads, self.dtype, self.device)
        return worker.configure(target, self.settings, tile=self.tile)

    def size(self, config: "RunConfig") -> "DataSize":
        """Return the size of the data: as given, else of the ingested dataset."""
        from l3ae_dist.planning.data_size import given_size
        from l3ae_dist.planning.known_data import ingested_size
        from l3ae_dist.units import parse_count

        given = (self.items, self.users, self.interactions, self.dim)
        counts = [None if text is None else parse_count(text) for text in given]
        with output_to_stderr():
            return given_size(config, *counts) or ingested_size(config, counts[3])

    def core_prices(
        self, config: "RunConfig", size: "DataSize", resources: "Resources"
    ) -> "tuple[CorePrice, ...]":
        """Return what the run takes with each core; nothing without the data, or for a model without one.

        Parameters
        ----------
        config, size, resources
            The run, the size of its data, and what it has.
        """
        from l3ae_dist.config.members import LINEAR, MEMBERS
        from l3ae_dist.planning.core_prices import core_prices
        from l3ae_dist.planning.known_data import ingested_dataset

        if self.items is not None or MEMBERS[config.model.name].title not in LINEAR:
            return ()
        with output_to_stderr():
            return core_prices(config, ingested_dataset(config), size, resources)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The Dask workers of a run that is planned: number, memory, threads, precision, device."""

    workers: PlannedWorkers = None
    worker_memory: WorkerMemory = None
    threads: Threads = None
    dtype: Dtype = None
    device: Device = None

    def configure(self, target: str, settings: list[str], *, tile: int | None = None) -> "RunConfig":
        """Build the configuration of a file or workspace with these workers.

        Parameters
        ----------
        target
            Path of a configuration, or path or URL of a workspace.
        settings
            Texts of the form ``KEY=VALUE``.
        tile
            Rows of a tile; None leaves it to the configuration.
        """
        given = {
            "compute.threads": self.threads,
            "compute.tile_size": tile,
            "compute.device": self.device,
        }
        extra = [f"{key}={value}" for key, value in given.items() if value is not None]
        return build_config(
            target,
            [*settings, *extra],
            {
                "compute.memory_budget": self.worker_memory,
                "compute.workers": self.workers,
                "compute.dtype": self.dtype,
            },
        )


@dataclass(frozen=True, slots=True)
class SpeedOptions:
    """The speed of the machines: rates of a calibration, and the network."""

    rates: RatesFile = None
    network: Network = None

    def resources(self, config: "RunConfig", actors: int = 1, disk: str | None = None) -> "Resources":
        """Describe what a run has: rates of the file, of the workspace's calibration, or assumed ones.

        Parameters
        ----------
        config
            The run.
        actors
            Embedding actors.
        disk
            Bytes that the workspace may take, such as ``"2TiB"``; None for no bound.
        """
        from l3ae_dist.planning.look_ahead import resources_of
        from l3ae_dist.planning.rates import read_rates

        rates = None if self.rates is None else read_rates(self.rates)
        return resources_of(config, rates=rates, actors=actors, network=_bandwidth(self.network), disk=disk)


def _bandwidth(text: str | None) -> int | None:
    """Return the bytes a second of a network; None when it is not given."""
    from l3ae_dist.units import parse_bytes

    if text is None:
        return None
    rate = parse_bytes(text)
    if rate < 1:
        raise ConfigError(f"--network is {text} but must be greater than 0; write it like 3GB.")
    return rate
