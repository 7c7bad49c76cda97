"""A planned run in the simulator: factor and inverse of one system, and the summary of what they take."""

from dataclasses import asdict, dataclass

import numpy as np

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.graphs.device_tiles import MOST_IO_THREADS
from l3ae_dist.planning.decide_arithmetic import planned_arithmetic
from l3ae_dist.planning.intermediates import as_run_chooses
from l3ae_dist.planning.model_cluster import ModelCluster, Trouble
from l3ae_dist.planning.plan import Plan
from l3ae_dist.planning.plan_inputs import DataSize
from l3ae_dist.planning.plan_of_config import cluster_plan, planned_device
from l3ae_dist.planning.rates import Rates
from l3ae_dist.planning.resources import Resources, peer_sentence
from l3ae_dist.planning.simulator import SimulatedStage, Simulation, outside_validation
from l3ae_dist.planning.trial_solve import solve_graphs


@dataclass(frozen=True)
class SimulatedSolve:
    """Factor and inverse of one system on modelled workers."""

    plan: Plan
    resources: Resources
    trouble: Trouble
    stages: tuple[SimulatedStage, ...]

    @property
    def rates(self) -> Rates:
        """Rates of the workers."""
        return self.resources.rates

    @property
    def peers(self) -> bool:
        """True where workers read tiles from each other."""
        return self.resources.peers and self.plan.peer_reads and self.plan.workers > 1

    @property
    def seconds(self) -> float:
        """Seconds of all stages."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def label(self) -> str | None:
        """A note on what of it lies beyond the validated range; None for nothing."""
        return outside_validation(self.plan.workers, self.plan.grid.n, self.plan.grid.tile)

    def summary(self) -> dict[str, object]:
        """Return the simulation as JSON-like values."""
        grid = self.plan.grid
        total = self.seconds
        return {
            "simulated": True,
            "validation": self.label or "within the validated range",
            "rates": self.rates.kind,
            "rates_source": self.rates.source,
            "peer_bytes_s": self.resources.peer_bytes_s if self.peers else None,
            "peers": peer_sentence(self.resources) if self.peers else "off",
            "items": grid.n,
            "tile": grid.tile,
            "tiles_per_side": grid.count,
            "dtype": self.plan.dtype,
            "arithmetic": self.plan.arithmetic,
            "workers": self.plan.workers,
            "intermediates": self.plan.intermediates,
            **asdict(self.trouble),
            "seconds": total,
            "computing": sum(stage.computing * stage.seconds for stage in self.stages) / total,
            "critical_path": sum(stage.critical_path for stage in self.stages),
            "bytes_read": sum(stage.bytes_read for stage in self.stages),
            "bytes_peers": sum(stage.bytes_peers for stage in self.stages),
            "bytes_local": sum(stage.bytes_local for stage in self.stages),
            "bytes_written": sum(stage.bytes_written for stage in self.stages),
            "projected_peak_bytes": self.plan.peak_bytes,
            "stages": [asdict(stage) for stage in self.stages],
        }


def simulate_solve(
    config: RunConfig, size: DataSize, resources: Resources, trouble: Trouble
) -> SimulatedSolve:
    """Plan a run and simulate the three stages of one of its inverses.

    Parameters
    ----------
    config, size
        The run, and the size of its data.
    resources
        Rates of the workers, and what their network carries.
    trouble
        Failures, slow workers, the look-ahead.

    Raises
    ------
    BudgetError
        When the plan does not fit.
    """
    plan = cluster_plan(config, size)
    if trouble.mtbf_seconds is None:
        plan = as_run_chooses(plan, config.compute, resources)
    else:  # a run that loses tiles in memory writes them from then on
        plan = planned_arithmetic(plan, config.compute, resources.rates)
    resources.rates.check(plan.arithmetic, planned_device(config))
    return simulate_plan(plan, resources, trouble)


def simulate_plan(plan: Plan, resources: Resources, trouble: Trouble) -> SimulatedSolve:
    """Simulate the three stages of an inverse as they would be run for a plan.

    Parameters
    ----------
    plan
        Tiles, workers and their cache.
    resources
        Rates of the workers, and what their network carries.
    trouble
        Failures, slow workers, the look-ahead.
    """
    cluster = ModelCluster(
        workers=plan.workers,
        rates=resources.rates,
        cache_bytes=plan.cache_bytes,
        network_bytes_s=resources.network_bytes_s,
        peers=resources.peers and plan.peer_reads,
        peer_bytes_s=resources.peer_bytes_s,
        device_cache_bytes=plan.device_room if plan.in_memory else plan.device_cache_bytes,
        trouble=trouble,
        unwritten=frozenset(plan.in_memory),
        local_bytes=plan.local_bytes,
        accumulators=plan.accumulators + (MOST_IO_THREADS if resources.rates.device == "cuda" else 0),
    )
    simulation = Simulation(cluster, plan.arithmetic, np.dtype(plan.dtype).itemsize)
    stages = simulation.run_all(solve_graphs(plan.grid, plan.workers, block=plan.block))
    return SimulatedSolve(plan, resources, trouble, tuple(stages))
