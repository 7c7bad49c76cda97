"""The formulas of a forecast with their numbers put in."""

import numpy as np

from l3ae_dist.planning.estimate import (
    ENTRIES_S,
    INGEST_ROWS_S,
    UNITED_ROWS_S,
    StageForecast,
    ingest_threads,
    text_rate,
)
from l3ae_dist.planning.forecast import Forecast
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.rates import ASSUMED_COPY_BYTES_S, Rates
from l3ae_dist.planning.resources import gigabytes_s, peer_sentence
from l3ae_dist.planning.stage_plans import phaseless, semantic
from l3ae_dist.planning.worker_memory import (
    INTERPRETER_BYTES,
    PEER_BYTES,
    WIDENED_TILES,
    largest_side,
    tiles_held,
)
from l3ae_dist.runtime.peer_reads import RECEIVED, SENT_BYTES, SERVED
from l3ae_dist.storage.stages import TILE_STAGES, Stage
from l3ae_dist.units import MIB

_TB = 1e12


def explanation(forecast: Forecast) -> list[str]:
    """Write the formulas as lines of text: tiles, memory, then every stage with the parts of its time."""
    plan, rates = forecast.plan, forecast.resources.rates
    grid, itemsize = plan.grid, int(np.dtype(plan.dtype).itemsize)
    tile_mib = grid.tile**2 * itemsize / MIB
    widened = plan.arithmetic != plan.dtype and rates.device == "cpu"
    held = tiles_held(plan.block) + (WIDENED_TILES if widened else 0)
    peers = PEER_BYTES + SERVED * tile_mib * MIB if plan.peer_reads else 0
    beside = INTERPRETER_BYTES + peers
    fullest = max(plan.stages, key=lambda stage: stage.peak_bytes)
    gemm = rates.rate("gemm_nt", plan.arithmetic, grid.tile) * rates.beside(grid.tile)
    lines = [
        f"tiles: T = ceil(n / b) = ceil({grid.n:,} / {grid.tile:,}) = {grid.count:,} a side, "
        f"T (T + 1) / 2 = {grid.lower_count:,} of b^2 x {itemsize} bytes = {tile_mib:,.1f} MiB",
        f"blocks: a task makes up to {plan.block.rows} x {plan.block.columns} tiles{_limit(plan, widened)}",
        f"memory of a worker: interpreter{' and peers' if plan.peer_reads else ''} {beside / MIB:,.0f} MiB + "
        f"{held} tiles of {tile_mib:,.1f} = {beside / MIB + held * tile_mib:,.0f} MiB for a block; "
        f"cache {plan.cache_bytes / MIB:,.0f} MiB; the most in {fullest.name}: "
        f"{fullest.peak_bytes / MIB:,.0f} MiB of {plan.memory_budget / MIB:,.0f} MiB",
        f"rate of a worker: gemm {gemm / 1e9:,.0f} GFLOP/s in {plan.arithmetic} at b = {grid.tile:,} "
        f"({rates.kind}; {rates.beside(grid.tile):.2f} of it lone)",
        f"storage: a worker reads {rates.read_bytes_s / 1e9:,.2f} GB/s and writes "
        f"{rates.write_bytes_s / 1e9:,.2f}, all together {rates.shared_read_bytes_s / 1e9:,.1f} and "
        f"{rates.shared_write_bytes_s / 1e9:,.1f}",
        f"peers: {_peers(forecast)}",
        *([f"copies: {_copies(rates)}"] if rates.device == "cuda" else []),
        f"intermediates: {plan.intermediates}",
    ]
    return lines + [_stage(stage, forecast) for stage in forecast.stages]


def _limit(plan: Plan, widened: bool) -> str:
    """Say why a block has no more tiles a side."""
    if widened:
        return "; tiles computed in another dtype are made one by one"
    if plan.block.rows < largest_side(plan.grid.count, plan.workers):
        return "; more do not fit"
    return f"; more would leave some of {plan.workers} workers idle" if plan.workers > 1 else ""


def _peers(forecast: Forecast) -> str:
    """Say whether a worker reads tiles from others, and at which rate."""
    plan, resources = forecast.plan, forecast.resources
    if not plan.peer_reads or not resources.peers:
        return "one worker has none" if plan.workers == 1 else "off, tiles come from the workspace alone"
    held = sum(stage.bytes_peers for stage in plan.stages)
    asked = sum(stage.bytes_peers / stage.repeats for stage in forecast.stages)
    quicker = "quicker" if asked >= held / 2 else "slower"
    return (
        "a worker reads a tile from another that holds it where that was quicker of late than the workspace; "
        f"it sends {SERVED} at a time and receives {RECEIVED}, each in pieces of "
        f"{SENT_BYTES / MIB:,.0f} MiB; {peer_sentence(resources)}; by these rates "
        f"peers are {quicker} than the workspace"
    )


def _copies(rates: Rates) -> str:
    """Say at which rates tiles are copied to and from a GPU."""
    told = {"to": rates.upload_bytes_s, "from": rates.download_bytes_s}
    return ", ".join(
        f"{gigabytes_s(rate or ASSUMED_COPY_BYTES_S)} {way} the GPU"
        f" ({'assumed' if rate is None or rates.assumed else 'measured'})"
        for way, rate in told.items()
    )


def _stage(stage: StageForecast, forecast: Forecast) -> str:
    parts = ", ".join(f"{name} {seconds:,.1f} s" for name, seconds in stage.parts.items())
    times = f"{stage.repeats} x " if stage.repeats > 1 else ""
    return f"{stage.name}: {times}{_formula(stage, forecast)}; max({parts}) = {stage.seconds:,.1f} s"


def _formula(stage: StageForecast, forecast: Forecast) -> str:
    plan, size, rates = forecast.plan, forecast.size, forecast.resources.rates
    n, workers = plan.grid.n, plan.workers
    moved = f"read {stage.bytes_read / _TB:,.3f} TB, written {stage.bytes_written / _TB:,.3f} TB"
    if stage.bytes_peers:
        moved += f", from peers {stage.bytes_peers / _TB:,.3f} TB"
    if stage.bytes_local:
        moved += f", from local copies {stage.bytes_local / _TB:,.3f} TB"
    match stage.name:
        case Stage.INGEST:
            where = f"{workers} workers" if stage.engine == "Dask" else "this process"
            return (
                f"{size.interactions:,} interactions / ({INGEST_ROWS_S:,.0f} a second of a thread x "
                f"{ingest_threads(rates)} threads of {where}) + their ids united by the client, "
                f"{UNITED_ROWS_S:,.0f} a second"
            )
        case Stage.EMBED:
            rate = text_rate(rates)
            return f"{n:,} texts / ({forecast.resources.actors} actors x {rate:,.0f} a second)"
        case Stage.TRANSFORM:
            return f"passes over n x d embeddings in this process, {stage.flops:.3e} flops; {moved}"
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
