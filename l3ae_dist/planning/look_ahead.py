"""Public calls that look ahead at a run: the forecast and the simulation of a configuration."""

import os
from collections.abc import Mapping
from math import isfinite

import psutil

from l3ae_dist.config.compute import ComputeConfig
from l3ae_dist.config.load import make_config
from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import named
from l3ae_dist.planning.data_size import given_size
from l3ae_dist.planning.forecast import forecast
from l3ae_dist.planning.intermediates import rates_of_run
from l3ae_dist.planning.known_data import ingested_size
from l3ae_dist.planning.model_cluster import Trouble
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.plan_of_config import planned_device
from l3ae_dist.planning.rates import Rates, assumed_rates, stored_rates
from l3ae_dist.planning.resources import Resources
from l3ae_dist.planning.simulated_solve import simulate_solve
from l3ae_dist.runtime.backends.session import default_threads
from l3ae_dist.storage.records import JsonObject
from l3ae_dist.units import parse_bytes

# Threads of a worker of other machines, where neither configuration nor option gives them.
_THREADS = 8
Size = Mapping[str, int]


def plan(
    config: "RunConfig | Mapping[str, object]",
    *,
    size: "Size | None" = None,
    actors: int = 1,
    network: int | str | None = None,
    disk: int | str | None = None,
) -> JsonObject:
    """Tell what a run takes before it runs: tasks, bytes, memory and time of every stage.

    Parameters
    ----------
    config
        The run, as :func:`l3ae_dist.make_config` makes or takes it.
    size
        ``items``, ``users``, ``interactions`` and, for models with embeddings, ``dim`` of data that are not
        there yet; None for the data of the workspace.
    actors
        Embedding actors.
    network
        Bytes a second of a worker's network, such as ``"3GB"``; None for no bound.
    disk
        Bytes that the workspace may take, such as ``"2TiB"``; None for no bound.

    Returns
    -------
    What ``l3ae-dist plan --json`` prints.

    Raises
    ------
    BudgetError
        When the run does not fit the workers' memory or the disk, with the smallest change that does.
    ConfigError
        When the size of the data is not known, or numbers of it do not go together.
    """
    checked = _checked(config)
    resources = resources_of(checked, actors=actors, network=network, disk=disk)
    return forecast(checked, _size(checked, size), resources).summary()


def simulate(
    config: "RunConfig | Mapping[str, object]",
    *,
    size: "Size | None" = None,
    network: int | str | None = None,
    mtbf_hours: float | None = None,
    seed: int = 0,
) -> JsonObject:
    """Simulate factor and inverse: the real task graph and submission window on modelled workers.

    Parameters
    ----------
    config, size, network
        As :func:`plan` takes them.
    mtbf_hours
        Hours between failures of one worker, on average; None for none.
    seed
        Of the failures.

    Returns
    -------
    What ``l3ae-dist simulate --json`` prints.

    Raises
    ------
    BudgetError, ConfigError
        As :func:`plan` does.
    """
    checked = _checked(config)
    if mtbf_hours is not None and not (mtbf_hours > 0 and isfinite(mtbf_hours)):
        raise ConfigError(f"mtbf_hours is {mtbf_hours} but must be a positive number of hours.")
    trouble = Trouble(mtbf_seconds=None if mtbf_hours is None else 3600 * mtbf_hours, seed=seed)
    resources = resources_of(checked, network=network)
    return simulate_solve(checked, _size(checked, size), resources, trouble).summary()


def resources_of(
    config: RunConfig,
    *,
    rates: Rates | None = None,
    actors: int = 1,
    network: int | str | None = None,
    disk: int | str | None = None,
) -> Resources:
    """Describe what a run has: given rates, those of the workspace's calibration, or assumed ones.

    Parameters
    ----------
    config
        The run.
    rates
        Of a worker; None for those of the workspace.
    actors, network, disk
        As :func:`plan` takes them.
    """
    threads = config.compute.threads
    found = stored_rates(config.workspace) if rates is None else rates
    if found is None:
        found = assumed_rates(threads or _threads_of(config.compute), planned_device(config))
    elif threads is not None:
        found = found.scaled(threads)
    return Resources(
        rates=found,
        actors=actors,
        network_bytes_s=_network(network),
        peers=config.compute.reads_from_peers,
        disk_bytes=None if disk is None else parse_bytes(disk),
        run_rates=lambda: rates_of_run(config.compute, config.workspace),
    )


def _threads_of(compute: ComputeConfig) -> int:
    """Return the threads of a worker: its share of this machine's cores where all workers fit on it."""
    here = compute.cluster in ("local", "synchronous") and compute.workers <= (os.cpu_count() or 1)
    here = here and compute.workers * compute.memory_budget <= psutil.virtual_memory().total
    return default_threads(compute.workers) if here else _THREADS


def _network(rate: int | str | None) -> float:
    """Return the bytes a second of a network; without bound for None."""
    found = float("inf") if rate is None else float(parse_bytes(rate))
    if found < 1:
        raise ConfigError(f"network is {rate} but must be greater than 0; write it like 3GB.")
    return found


def _checked(config: "RunConfig | Mapping[str, object]") -> RunConfig:
    return config if isinstance(config, RunConfig) else make_config(config)


def _size(config: RunConfig, size: "Size | None") -> DataSize:
    """Return the size of the data: as given, else of the ingested dataset."""
    numbers, names = {} if size is None else dict(size), ("items", "users", "interactions", "dim")
    if other := sorted(set(numbers) - set(names)):
        raise ConfigError(f"size has {named(other)}, which is none of {named(names)}; leave it out.")
    given = (numbers.get(name) for name in names)
    return given_size(config, *given) or ingested_size(config, numbers.get("dim"))
