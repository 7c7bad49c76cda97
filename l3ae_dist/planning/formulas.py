"""The formulas of a forecast with their numbers put in."""

import numpy as np

from l3ae_dist.planning.estimate import ENTRIES_S, INGEST_ROWS_S, StageForecast, text_rate
from l3ae_dist.planning.forecast import Forecast
from l3ae_dist.planning.stage_plans import phaseless, semantic
from l3ae_dist.planning.worker_memory import INTERPRETER_BYTES, TILES_HELD
from l3ae_dist.storage.stages import TILE_STAGES, Stage
from l3ae_dist.units import MIB

_TB = 1e12


def explanation(forecast: Forecast) -> list[str]:
    """Write the formulas as lines of text: tiles, memory, then every stage with the parts of its time."""
    plan, rates = forecast.plan, forecast.resources.rates
    grid, itemsize = plan.grid, int(np.dtype(plan.dtype).itemsize)
    tile_mib = grid.tile**2 * itemsize / MIB
    fullest = max(plan.stages, key=lambda stage: stage.peak_bytes)
    gemm = rates.rate("gemm_nt", plan.dtype, grid.tile) * rates.beside(grid.tile)
    lines = [
        f"tiles: T = ceil(n / b) = ceil({grid.n:,} / {grid.tile:,}) = {grid.count:,} a side, "
        f"T (T + 1) / 2 = {grid.lower_count:,} of b^2 x {itemsize} bytes = {tile_mib:,.1f} MiB",
        f"memory of a worker: interpreter {INTERPRETER_BYTES / MIB:,.0f} MiB + {TILES_HELD} tiles of "
        f"{tile_mib:,.1f} = {INTERPRETER_BYTES / MIB + TILES_HELD * tile_mib:,.0f} MiB while they stream; "
        f"cache {plan.cache_bytes / MIB:,.0f} MiB; the most in {fullest.name}: "
        f"{fullest.peak_bytes / MIB:,.0f} MiB of {plan.memory_budget / MIB:,.0f} MiB",
        f"rate of a worker: gemm {gemm / 1e9:,.0f} GFLOP/s in {plan.dtype} at b = {grid.tile:,} "
        f"({rates.kind}; {rates.beside(grid.tile):.2f} of it lone)",
        f"storage: a worker reads {rates.read_bytes_s / 1e9:,.2f} GB/s and writes "
        f"{rates.write_bytes_s / 1e9:,.2f}, all together {rates.shared_read_bytes_s / 1e9:,.1f} and "
        f"{rates.shared_write_bytes_s / 1e9:,.1f}",
    ]
    return lines + [_stage(stage, forecast) for stage in forecast.stages]


def _stage(stage: StageForecast, forecast: Forecast) -> str:
    parts = ", ".join(f"{name} {seconds:,.1f} s" for name, seconds in stage.parts.items())
    times = f"{stage.repeats} x " if stage.repeats > 1 else ""
    return f"{stage.name}: {times}{_formula(stage, forecast)}; max({parts}) = {stage.seconds:,.1f} s"


def _formula(stage: StageForecast, forecast: Forecast) -> str:
    plan, size, rates = forecast.plan, forecast.size, forecast.resources.rates
    n, workers = plan.grid.n, plan.workers
    moved = f"read {stage.bytes_read / _TB:,.3f} TB, written {stage.bytes_written / _TB:,.3f} TB"
    match stage.name:
        case Stage.INGEST:
            return f"{size.interactions:,} interactions / {INGEST_ROWS_S:,.0f} a second (allowance)"
        case Stage.EMBED:
            rate = text_rate(rates)
            return f"{n:,} texts / ({forecast.resources.actors} actors x {rate:,.0f} a second)"
        case Stage.GRAM:
            return (
                f"(squared interactions of all users {size.pairs():,.2e} / 2 / {rates.pair_rate:,.1e} + "
                f"{size.interactions:,} x (T + 1) / 2 / {ENTRIES_S:,.0f} + 2 x written / "
                f"{rates.copy_bytes_s:,.1e}) / {workers} workers; {moved}"
            )
        case name if name == semantic(Stage.GRAM):
            return f"n^2 d = {float(n) ** 2 * size.dim:.3e} flops on {workers} workers; {moved}"
        case name if phaseless(name) in TILE_STAGES:
            return f"n^3 / 3 = {stage.flops:.3e} flops on {workers} workers, {stage.tasks:,} tasks; {moved}"
        case Stage.CERTIFY:
            return f"P times 4 vectors; {moved}"
        case Stage.ASSEMBLE:
            return f"2 n^2 d + 4 n d^2 = {stage.flops:.3e} flops (d = {size.dim:,}); {moved}"
        case Stage.SCORE:
            return f"{stage.flops:.3e} flops and the best of each user; {moved}"
    return f"{stage.flops:.3e} flops; {moved}"
