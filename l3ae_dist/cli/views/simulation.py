"""A simulated factorisation and inversion as tables for people."""

from rich.console import Console

from l3ae_dist.cli.views.quantities import figure_table, human_seconds, say
from l3ae_dist.cli.views.rates import rates_sentence
from l3ae_dist.planning.resources import assumed_lines, peer_sentence
from l3ae_dist.planning.simulated_solve import SimulatedSolve
from l3ae_dist.units import human_bytes, short_bytes


def print_simulation(console: Console, found: SimulatedSolve) -> None:
    """Print a simulation stage by stage, and what its columns mean."""
    grid, plan = found.plan.grid, found.plan
    say(
        console,
        f"Simulated, not measured: {grid.n:,} items, tiles of {grid.tile:,} ({grid.count:,} a side), "
        f"{plan.precision}, {plan.workers} worker(s) of {human_bytes(plan.memory_budget)}",
        plan.intermediates,
    )
    table = figure_table(
        "Simulated stages",
        "stage", "tasks", "time", "chain", "compute", "stall", "client", "read", "peers", "failed",
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
            short_bytes(stage.bytes_peers) if stage.bytes_peers else "",
            f"{stage.failures:,}",
        )
    console.print(table)
    again = sum(stage.repeated for stage in found.stages)
    say(
        console,
        "chain: the longest run of tasks that wait for each other; compute and stall: shares of the workers' "
        "time in kernels, and waiting for tiles; client: share of its time busy; read: from the workspace; "
        "peers: from other workers; failed: workers lost",
    )
    if again:
        say(console, f"{again:,} tasks were begun again after failures")
    busy = sum(stage.computing * stage.seconds for stage in found.stages) / found.seconds
    say(
        console,
        f"Simulated in all: {human_seconds(found.seconds)}, workers compute {busy:.0%} of it; "
        f"at most {human_bytes(plan.peak_bytes)} per worker (projected)",
    )
    if found.label is not None:
        say(console, f"This is {found.label}.")
    say(console, *([f"Tiles between workers: {peer_sentence(found.resources)}"] if found.peers else []))
    say(console, *assumed_lines(found.resources))
    say(console, rates_sentence(found.rates))
