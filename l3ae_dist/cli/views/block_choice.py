"""The blocks of a plan, where their tiles come from, and what others would cost, as tables for people."""

from collections.abc import Sequence

from rich.console import Console

from l3ae_dist.cli.views.quantities import figure_table, human_seconds, say
from l3ae_dist.planning.block_choice import Alternative, StageBlocks
from l3ae_dist.planning.estimate import StageForecast
from l3ae_dist.planning.stage_plans import phaseless
from l3ae_dist.storage.stages import TILE_STAGES
from l3ae_dist.units import short_bytes


def print_blocks(
    console: Console,
    blocks: Sequence[StageBlocks],
    stages: Sequence[StageForecast],
    others: Sequence[Alternative],
) -> None:
    """Print the tables.

    Parameters
    ----------
    console
        Where to print.
    blocks, stages, others
        Of the plan, its estimate, and what others would cost.
    """
    table = figure_table("Blocks of tiles", "stage", "tile", "block", "sums in", "partial tiles")
    table.add_column("why no larger")
    for one in blocks:
        parts = f"{one.parts} parts" if one.parts > 1 else "one part"
        partial = f"{one.partial_tiles:,}" if one.partial_tiles else ""
        shape = f"{one.rows} x {one.columns}"
        table.add_row(one.stage, f"{one.tile:,}", shape, parts, partial, one.reason)
    console.print(table)
    table = figure_table(
        "Bytes of tiles by where tasks find them",
        "stage", "device", "own cache", "peers", "workspace", "written",
    )  # fmt: skip
    for stage in stages:
        if phaseless(stage.name) in TILE_STAGES:
            moved = (stage.bytes_device, stage.bytes_cached, stage.bytes_peers, stage.bytes_read)
            table.add_row(stage.name, *map(_bytes, (*moved, stage.bytes_written)))
    console.print(table)
    table = figure_table(
        "Factor and inverse with other settings (estimates)",
        "setting", "tile", "block", "time", "own cache", "peers", "workspace", "memory",
    )  # fmt: skip
    for other in others:
        if other.seconds is None:
            table.add_row(other.change, "", "", "does not fit")
            continue
        table.add_row(
            other.change,
            f"{other.tile:,}",
            f"{other.rows} x {other.columns}",
            human_seconds(other.seconds),
            *map(_bytes, (other.bytes_cached, other.bytes_peers, other.bytes_read, other.peak_bytes)),
        )
    console.print(table)
    say(
        console,
        "block: rows x columns of tiles at most; sums in parts: tasks that add to a tile one after the "
        "other, as soon as their panels are there; peers: the memory of other workers",
    )


def _bytes(count: float) -> str:
    return short_bytes(count) if count else ""
