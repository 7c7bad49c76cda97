"""``plan``, ``simulate`` and ``calibrate``: what a run takes, before it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l3ae_dist.cli.common import (
    AsJson,
    build_config,
    guarded,
    output_to_stderr,
    print_json,
    run_with_progress,
)

if TYPE_CHECKING:
    from l3ae_dist.config.run_config import RunConfig
    from l3ae_dist.planning.plan_inputs import DataSize
    from l3ae_dist.planning.resources import Resources

Config = Annotated[
    str | None, typer.Argument(metavar="[CONFIG]", help="YAML file, or a workspace; not needed with --items.")
]
Settings = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Set any value.")]
Items = Annotated[str | None, typer.Option("--items", metavar="N", help="Items, such as 1000000 or 1e6.")]
Users = Annotated[str | None, typer.Option("--users", metavar="N", help="Users.")]
Interactions = Annotated[
    str | None, typer.Option("--interactions", metavar="N", help="Training interactions, such as 5e9.")
]
Dim = Annotated[str | None, typer.Option("--dim", metavar="N", help="Columns of the item features.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Dask workers.")]
Memory = Annotated[str | None, typer.Option("--worker-memory", help="Bytes of a worker, such as 64GiB.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="BLAS threads of a worker.")]
Tile = Annotated[int | None, typer.Option("--tile", min=1, help="Rows of a tile; chosen if not given.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="auto, float32 or float64.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, or cuda for a GPU in each worker.")]
Actors = Annotated[int, typer.Option("--actors", min=1, help="Embedding actors.")]
RatesFile = Annotated[
    Path | None,
    typer.Option("--rates", help="File of a calibration; the workspace's, or assumed rates, if not given."),
]
Network = Annotated[
    str | None, typer.Option("--network", help="Bytes a second of a worker's network, such as 3GB.")
]

# What a worker is taken to have where neither configuration nor option tells.
_THREADS = 8


@guarded
def plan(
    config: Config = None,
    settings: Settings = [],  # noqa: B006  (typer copies it)
    items: Items = None,
    users: Users = None,
    interactions: Interactions = None,
    dim: Dim = None,
    workers: Workers = None,
    worker_memory: Memory = None,
    threads: Threads = None,
    tile: Tile = None,
    dtype: Dtype = None,
    device: Device = None,
    actors: Actors = 1,
    rates: RatesFile = None,
    network: Network = None,
    disk: Annotated[str | None, typer.Option("--disk", help="Bytes that the workspace may take.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the formulas with their numbers.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what a run takes before it runs: tasks, bytes, memory, time; refuse what cannot run."""
    chosen = _config(config, settings, items, workers, worker_memory, threads, tile, dtype, device)
    from l3ae_dist.planning.explain import explanation
    from l3ae_dist.planning.forecast import forecast

    size = _size(chosen, items, users, interactions, dim)
    found = forecast(chosen, size, _resources(chosen, rates, actors, network, disk))
    lines = explanation(found) if explain else []
    if as_json:
        print_json({**found.summary(), **({"explanation": lines} if explain else {})})
        return
    from rich.console import Console

    from l3ae_dist.cli.views.plan import print_forecast

    print_forecast(Console(highlight=False), found, lines)


@guarded
def simulate(
    config: Config = None,
    settings: Settings = [],  # noqa: B006
    items: Items = None,
    users: Users = None,
    interactions: Interactions = None,
    dim: Dim = None,
    workers: Workers = None,
    worker_memory: Memory = None,
    threads: Threads = None,
    tile: Tile = None,
    dtype: Dtype = None,
    device: Device = None,
    rates: RatesFile = None,
    network: Network = None,
    lookahead: Annotated[int, typer.Option(min=1, help="Tasks held by the submission window.")] = 2000,
    mtbf: Annotated[
        float | None, typer.Option(min=1e-6, help="Hours between failures of one worker, on average.")
    ] = None,
    restart: Annotated[float, typer.Option(min=0, help="Seconds until a failed worker is back.")] = 60.0,
    stragglers: Annotated[float, typer.Option(min=0, max=1, help="Share of slow workers.")] = 0.0,
    slowness: Annotated[float, typer.Option(min=1, help="How many times longer they take.")] = 2.0,
    seed: Annotated[int, typer.Option(min=0, help="Of failures and slow workers.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Simulate factor and inverse: the real task graph and submission window on modelled workers."""
    chosen = _config(config, settings, items, workers, worker_memory, threads, tile, dtype, device)
    from l3ae_dist.planning.simulated_solve import simulate_solve
    from l3ae_dist.planning.simulator import Trouble

    _require_numbers(mtbf=mtbf, restart=restart, stragglers=stragglers, slowness=slowness)
    size = _size(chosen, items, users, interactions, dim)
    trouble = Trouble(
        lookahead=lookahead,
        mtbf_seconds=None if mtbf is None else 3600 * mtbf,
        restart_seconds=restart,
        straggler_share=stragglers,
        straggler_factor=slowness,
        seed=seed,
    )
    found = simulate_solve(chosen, size, _resources(chosen, rates, 1, network, None), trouble)
    if as_json:
        print_json(found.summary())
        return
    from rich.console import Console

    from l3ae_dist.cli.views.plan import print_simulation

    print_simulation(Console(highlight=False), found)


@guarded
def calibrate(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="YAML file, or a workspace with defaults.")],
    settings: Settings = [],  # noqa: B006
    workers: Workers = None,
    worker_memory: Memory = None,
    threads: Threads = None,
    dtype: Dtype = None,
    device: Device = None,
    texts: Annotated[bool, typer.Option(help="Embed some texts too, which loads the encoder.")] = True,
    output: Annotated[Path | None, typer.Option("--output", help="File for the rates too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure this cluster's kernels, storage, tasks and texts per second, for plan and simulate."""
    chosen = _config(config, settings, None, workers, worker_memory, threads, None, dtype, device)
    from l3ae_dist.planning.calibrate import calibrate

    rates = run_with_progress(lambda on_event: calibrate(chosen, texts=texts, on_event=on_event))
    if output is not None:
        _write(output, rates.model_dump_json(indent=1))
    if as_json:
        print_json(rates.model_dump(mode="json"))
        return
    from rich.console import Console

    from l3ae_dist.cli.views.plan import print_rates

    print_rates(Console(highlight=False), rates)


def _config(
    target: str | None,
    settings: list[str],
    items: str | None,
    workers: int | None,
    memory: str | None,
    threads: int | None,
    tile: int | None,
    dtype: str | None,
    device: str | None,
) -> "RunConfig":
    from l3ae_dist.errors import ConfigError

    if target is None and items is None:
        raise ConfigError("give a configuration, a workspace, or --items, --users and --interactions.")
    given = {"compute.threads": threads, "compute.tile_size": tile, "compute.device": device}
    extra = [f"{key}={value}" for key, value in given.items() if value is not None]
    return build_config(
        "./workspace" if target is None else target,
        [*settings, *extra],
        memory_budget=memory,
        workers=workers,
        dtype=dtype,
    )


def _size(
    config: "RunConfig", items: str | None, users: str | None, interactions: str | None, dim: str | None
) -> "DataSize":
    from l3ae_dist.planning.data_size import given_size, ingested_size
    from l3ae_dist.planning.forecast import parse_count

    counts = [None if text is None else parse_count(text) for text in (items, users, interactions, dim)]
    with output_to_stderr():
        return given_size(config, *counts) or ingested_size(config, counts[3])


def _resources(
    config: "RunConfig", rates: Path | None, actors: int, network: str | None, disk: str | None
) -> "Resources":
    """Rates of the file, of the workspace's calibration, or assumed ones."""
    from l3ae_dist.planning.forecast import uses_gpu
    from l3ae_dist.planning.rates import assumed_rates, read_rates, stored_rates
    from l3ae_dist.planning.resources import Resources
    from l3ae_dist.units import parse_bytes

    threads = config.compute.threads
    found = read_rates(rates) if rates is not None else stored_rates(config.workspace)
    if found is None:
        found = assumed_rates(threads or _THREADS, "cuda" if uses_gpu(config) else "cpu")
    elif threads is not None:
        found = found.scaled(threads)
    return Resources(
        rates=found,
        actors=actors,
        network_bytes_s=_bandwidth(network),
        disk_bytes=None if disk is None else parse_bytes(disk),
    )


def _require_numbers(**options: float | None) -> None:
    """Refuse NaN and infinity, which pass every bound."""
    from math import isfinite

    from l3ae_dist.errors import ConfigError

    for name, value in options.items():
        if value is not None and not isfinite(value):
            raise ConfigError(f"--{name} is {value} but must be a finite number.")


def _bandwidth(text: str | None) -> float:
    """Bytes a second of a network; without bound when it is not given."""
    from l3ae_dist.errors import ConfigError
    from l3ae_dist.units import parse_bytes

    if text is None:
        return float("inf")
    found = parse_bytes(text)
    if found < 1:
        raise ConfigError(f"--network is {text} but must be greater than 0; write it like 3GB.")
    return float(found)


def _write(path: Path, text: str) -> None:
    from l3ae_dist.errors import ConfigError

    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error}; choose another path.") from error
