"""The choice between writing L and Linv, for resume, and keeping them in memory alone.

Both are needed only until P is there. A run that is killed goes on from what is written; where making them
again takes less than writing them, writing is what costs more.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from l3ae_dist.config.compute import ComputeConfig
from l3ae_dist.errors import ConfigError, DamagedDocumentError
from l3ae_dist.planning.decide_arithmetic import planned_arithmetic
from l3ae_dist.planning.estimate import tile_seconds
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.rates import ASSUMED_GPU, Rates, stored_rates
from l3ae_dist.planning.resources import Resources
from l3ae_dist.planning.stage_plans import StagePlan, phaseless
from l3ae_dist.planning.traffic import StageTraffic, traffic_in_memory
from l3ae_dist.planning.worker_memory import pinned_bytes
from l3ae_dist.storage.stages import TILE_STAGES, Stage
from l3ae_dist.units import human_bytes

NAMES = {"L": Stage.FACTOR, "Linv": Stage.LINV}
"""The arrays that may stay in memory, and the stages that make them."""
LONGEST_SECONDS = 300.0
"""Seconds of arithmetic that a kill may cost where nobody asked for it; a block on its way costs as much."""
WORTH_SECONDS = 1.0
"""Seconds of writing below which there is nothing to be gained."""
# Of the memory of a device that is left for tiles: what its allocator cuts up is lost.
_DEVICE_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class _Prices:
    """Seconds of writing the tiles of L and Linv, and of making them again."""

    write: float
    make: float

    def __str__(self) -> str:
        return f"writing them takes {self.write:,.1f} s and making them again {self.make:,.1f} s"


def with_intermediates(plan: Plan, compute: ComputeConfig, rates: Callable[[], Rates | None]) -> Plan:
    """Return the plan with what becomes of L and Linv, and with what its stages then read and write.

    Parameters
    ----------
    plan
        Which writes them.
    compute
        The workers, and what was configured.
    rates
        Gives the rates of the workers, None where none are known; asked only where they decide.

    Raises
    ------
    ConfigError
        When they are to stay in the memory of several workers.
    """
    compute.check_intermediates()
    names = tuple(name for name in NAMES if name not in compute.keep)
    if compute.intermediates == "memory":
        return _in_memory(plan, compute, names, f"as configured; {_loss(plan, names)}")
    found = "as configured" if compute.intermediates == "keep" else _against(plan, compute, names, rates)
    if isinstance(found, _Prices):
        return _in_memory(plan, compute, names, f"{found}; {_loss(plan, names)}")
    return replace(plan, intermediates=f"L and Linv are written: {found}")


def decided_intermediates(plan: Plan, compute: ComputeConfig, workspace: str) -> Plan:
    """Return :func:`with_intermediates` by the rates of a workspace's calibration, or those assumed of a GPU.

    Parameters
    ----------
    plan, compute
        As there.
    workspace
        Path or URL.
    """

    return with_intermediates(plan, compute, lambda: rates_of_run(compute, workspace))


def rates_of_run(compute: ComputeConfig, workspace: str) -> Rates | None:
    """Return the rates that a run chooses by: of its workspace's calibration, or those assumed of a GPU."""
    with contextlib.suppress(DamagedDocumentError, ConfigError):
        found = stored_rates(workspace)
        if found is not None:
            return found if compute.threads is None else found.scaled(compute.threads)
    return ASSUMED_GPU if compute.on_gpu else None


def as_run_chooses(plan: Plan, compute: ComputeConfig, resources: Resources) -> Plan:
    """Return the plan of a run that is not there yet, with what it would choose where ``auto`` is configured.

    Parameters
    ----------
    plan, compute
        As for :func:`with_intermediates`.
    resources
        The rates that the run knows, which choose as in a run, and those of its estimates, which stand for
        what it measures of its devices.
    """
    plan = with_intermediates(plan, compute, resources.run_rates)
    return planned_arithmetic(plan, compute, resources.rates)


def otherwise_by(plan: Plan, chosen: Plan, compute: ComputeConfig, resources: Resources) -> list[str]:
    """Tell where the rates of an estimate would choose otherwise than the run, which does not know them.

    Parameters
    ----------
    plan, chosen
        Before anything was chosen, and as the run would.
    compute, resources
        As for :func:`as_run_chooses`.
    """
    other = with_intermediates(plan, compute, lambda: resources.rates)
    if other.in_memory == chosen.in_memory:
        return []
    what, setting = ("stay in memory", "memory") if other.in_memory else ("be written", "keep")
    return [
        f"intermediates: by these rates L and Linv would {what}, but the run chooses by those of its "
        f"workspace alone: calibrate that, or set compute.intermediates = {setting}"
    ]


def _against(
    plan: Plan, compute: ComputeConfig, names: tuple[str, ...], rates: Callable[[], Rates | None]
) -> str | _Prices:
    """Return what speaks against keeping tiles in memory, or the prices that speak for it."""
    if not names:
        return "compute.keep lists them"
    if not compute.one_worker:
        return "several workers need them, or the workers are not known"
    needed, room = 2 * plan.grid.lower_count * pinned_bytes(plan.tile_bytes), _room(plan, compute)
    if needed > room:
        return f"they take {human_bytes(needed)}, and the worker has {human_bytes(room)} for them"
    found = rates()
    if found is None or not _are_of(found, plan, compute):
        return "no rates of these workers are measured that would tell what is quicker"
    prices = _prices(plan, names, found)
    if prices.write < WORTH_SECONDS or prices.write <= prices.make:
        return str(prices)
    if prices.make > LONGEST_SECONDS:
        return f"{prices}, more than the {LONGEST_SECONDS:,.0f} s that a kill may cost"
    return prices


def _are_of(rates: Rates, plan: Plan, compute: ComputeConfig) -> bool:
    """Tell whether rates are of the workers of a plan: measured ones, or those of a GPU."""
    if rates.assumed and not compute.on_gpu:
        return False
    return plan.arithmetic in rates.gflops and (rates.device == "cuda") == compute.on_gpu


def _room(plan: Plan, compute: ComputeConfig) -> int:
    """Return the bytes that a worker has for tiles that stay, as far as the plan knows."""
    return plan.cache_bytes + _device_room(plan, compute)


def _device_room(plan: Plan, compute: ComputeConfig) -> int:
    """Return the bytes of a device for tiles that stay; 0 where its memory is not configured."""
    if not compute.on_gpu or compute.device_memory is None:
        return 0
    return max(0, int(_DEVICE_SHARE * (compute.device_memory - plan.device_work_bytes)))


def _stages(plan: Plan, names: tuple[str, ...]) -> list[StagePlan]:
    """Return the stages that make these arrays."""
    return [stage for stage in plan.stages if stage.name in {NAMES[name] for name in names}]


def _prices(plan: Plan, names: tuple[str, ...], rates: Rates) -> _Prices:
    stages = _stages(plan, names)
    size = sum(stage.bytes_written for stage in stages)
    rate = min(rates.write_bytes_s, rates.shared_write_bytes_s)
    requests = size / plan.tile_bytes * rates.write_seconds
    return _Prices(size / rate + requests, sum(tile_seconds(stage, plan, rates) for stage in stages))


def _loss(plan: Plan, names: tuple[str, ...]) -> str:
    """Say what a kill costs."""
    stages = _stages(plan, names)
    made, flops = " and ".join(str(stage.name) for stage in stages), sum(stage.flops for stage in stages)
    return f"a kill before P is complete costs up to {flops:.1e} flops of {made} once more"


def _in_memory(plan: Plan, compute: ComputeConfig, names: tuple[str, ...], reason: str) -> Plan:
    tile = pinned_bytes(plan.tile_bytes)
    on_device = _device_room(plan, compute) // plan.tile_bytes
    cached = plan.cache_bytes // tile + on_device
    traffic = traffic_in_memory(plan.grid.count, cached, plan.block, frozenset(names))
    stages = tuple(
        _moving(stage, traffic, plan.tile_bytes, on_device / max(1, cached))
        if phaseless(stage.name) in TILE_STAGES
        else stage
        for stage in plan.stages
    )
    written = sum(traffic[NAMES[name]].written for name in names)
    rest = f" but for {written:,.0f} tiles that have no room" if written else ""
    return replace(
        plan,
        stages=stages,
        in_memory=names,
        device_room=_device_room(plan, compute),
        intermediates=f"{' and '.join(names)} stay in memory{rest}: {reason}",
    )


def _moving(
    stage: StagePlan, traffic: dict[Stage, StageTraffic], tile_bytes: int, on_device: float
) -> StagePlan:
    moved = traffic[Stage(phaseless(stage.name))]
    used = stage.bytes_read + stage.bytes_cached + stage.bytes_device
    read = moved.read * tile_bytes
    kept = max(0.0, used - read)
    return replace(
        stage,
        bytes_read=read,
        bytes_written=moved.written * tile_bytes,
        bytes_cached=(1 - on_device) * kept,
        bytes_device=on_device * kept,
    )
