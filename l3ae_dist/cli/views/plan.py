"""Forecasts, simulations and rates as tables for people."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from l3ae_dist.planning.forecast import Forecast
from l3ae_dist.planning.rates import Rates
from l3ae_dist.planning.simulated_solve import SimulatedSolve
from l3ae_dist.units import human_bytes, short_bytes


def human_seconds(seconds: float) -> str:
    """A duration in the unit that fits.

    >>> human_seconds(42), human_seconds(5400), human_seconds(200_000)
    ('42.0 s', '1.5 h', '2.3 days')
    """
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:,.1f} days"


def human_flops(flops: float) -> str:
    """Flops with a prefix.

    >>> human_flops(3.3e17), human_flops(0)
    ('330.0 P', '')
    """
    for size, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G")):
        if flops >= size:
            return f"{flops / size:.1f} {prefix}"
    return f"{flops / 1e6:.1f} M" if flops else ""


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=not number)
    return table


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def rates_sentence(rates: Rates) -> str:
    """Where the rates come from."""
    if rates.assumed:
        texts = f", {rates.texts_per_second:,.0f} texts/s of an actor" if rates.texts_per_second else ""
        return f"Rates are {rates.source}{texts}; `l3ae-dist calibrate` measures them."
    return f"Rates: {rates.source}, {rates.date}."


def _cores(rates: Rates) -> str:
    return "a GPU" if rates.device == "cuda" else f"{rates.threads} thread(s)"


def print_forecast(console: Console, found: Forecast, explanation: Sequence[str]) -> None:
    """The plan, its stages, limits, advice and formulas."""
    plan, grid, size = found.plan, found.plan.grid, found.size
    _say(
        console,
        f"{size.items:,} items, {size.users:,} users, {size.interactions:,} interactions, "
        f"{size.dim:,} columns of features",
        f"{plan.workers} worker(s) of {human_bytes(plan.memory_budget)} and {_cores(found.resources.rates)}, "
        f"{plan.dtype}",
        f"tiles of {grid.tile:,}, {grid.count:,} a side: {found.tile_reason}",
    )
    table = _table(
        "Stages (times are estimates)",
        "stage", "tasks", "flops", "read", "written", "memory", "time", "bound by",
    )  # fmt: skip
    for stage in found.stages:
        table.add_row(
            stage.name,
            f"{stage.tasks:,}",
            human_flops(stage.flops),
            short_bytes(stage.bytes_read),
            short_bytes(stage.bytes_written),
            short_bytes(stage.peak_bytes) if stage.peak_bytes else "",
            human_seconds(stage.seconds),
            stage.bound,
        )
    console.print(table)
    _say(
        console,
        f"Estimated in all: {human_seconds(found.seconds)} without starting Ray and Dask; "
        f"workers read and write {human_bytes(found.network_bytes)}, up to "
        f"{human_bytes(found.worker_bytes_s)} a second each",
    )
    if found.cost is not None:
        _say(
            console,
            f"Estimated cost: {found.cost:,.2f} (storage for the time of the run, requests, workers, actors)",
        )
    for title, lines in (("Limits", found.limits), ("Advice", found.advice), ("Formulas", explanation)):
        if lines:
            _say(console, f"{title}:", *(f"  {line}" for line in lines))
    _say(console, rates_sentence(found.resources.rates))


def print_simulation(console: Console, found: SimulatedSolve) -> None:
    """What was simulated, stage by stage."""
    grid, plan = found.plan.grid, found.plan
    _say(
        console,
        f"Simulated, not measured: {grid.n:,} items, tiles of {grid.tile:,} ({grid.count:,} a side), "
        f"{plan.dtype}, {plan.workers} worker(s) of {human_bytes(plan.memory_budget)}",
    )
    table = _table(
        "Simulated stages",
        "stage", "tasks", "time", "chain", "compute", "stall", "client", "read", "failed",
    )  # fmt: skip
    for stage in found.stages:
        table.add_row(
            stage.stage,
            f"{stage.tasks:,}",
            human_seconds(stage.seconds),
            human_seconds(stage.critical_path),
            f"{stage.computing:.0%}",
            f"{stage.reading:.0%}",
            f"{stage.client:.0%}",
            short_bytes(stage.bytes_read),
            f"{stage.failures:,}",
        )
    console.print(table)
    again = sum(stage.repeated for stage in found.stages)
    _say(
        console,
        "chain: the longest run of tasks that wait for each other; compute and stall: shares of the workers' "
        "time in kernels, and waiting for tiles; client: share of its time busy; failed: workers lost",
    )
    if again:
        _say(console, f"{again:,} tasks were begun again after failures")
    busy = sum(stage.computing * stage.seconds for stage in found.stages) / found.seconds
    _say(
        console,
        f"Simulated in all: {human_seconds(found.seconds)}, workers compute {busy:.0%} of it; "
        f"at most {human_bytes(plan.peak_bytes)} per worker (projected)",
    )
    if found.label is not None:
        _say(console, f"This is {found.label}.")
    _say(console, rates_sentence(found.rates))


def print_rates(console: Console, rates: Rates) -> None:
    """The figures of a calibration."""
    for dtype, kernels in rates.gflops.items():
        sizes = sorted(next(iter(kernels.values())))
        table = _table(f"GFLOP/s of a worker in {dtype}", "kernel", *(f"tiles of {size:,}" for size in sizes))
        for name, found in kernels.items():
            table.add_row(name, *(f"{found[size]:,.1f}" for size in sizes))
        console.print(table)
    left = ", ".join(f"{share:.2f} at {size:,}" for size, share in rates.overlap.items())
    _say(
        console,
        f"Left of it beside reading and writing: {left}",
        f"Storage: a worker reads {human_bytes(rates.read_bytes_s)}/s and writes "
        f"{human_bytes(rates.write_bytes_s)}/s, {rates.workers} together "
        f"{human_bytes(rates.shared_read_bytes_s)}/s and {human_bytes(rates.shared_write_bytes_s)}/s; "
        f"{1000 * rates.read_seconds:.2f} and {1000 * rates.write_seconds:.2f} ms before the first byte",
        f"Tasks: {1000 * rates.task_seconds:.1f} ms of the client each, "
        f"{1000 * rates.latency_seconds:.1f} ms on the way",
    )
    if rates.texts_per_second is not None:
        _say(console, f"Text: {rates.texts_per_second:,.0f} texts/s of one actor with {rates.encoder}")
    _say(console, rates_sentence(rates))
