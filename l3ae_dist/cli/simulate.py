"""``l3ae-dist simulate``: factor and inverse on modelled workers."""

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import AsJson
from l3ae_dist.cli.output import print_json, screen
from l3ae_dist.cli.plan_options import PlannedRun, SpeedOptions
from l3ae_dist.errors import ConfigError

if TYPE_CHECKING:
    from l3ae_dist.planning.model_cluster import Trouble


@dataclass(frozen=True, slots=True)
class TroubleOptions:
    """The submission window, and what goes wrong with workers."""

    lookahead: Annotated[int, typer.Option(min=1, help="Tasks held by the submission window.")] = 2000
    mtbf: Annotated[
        float | None, typer.Option(min=1e-6, help="Hours between failures of one worker, on average.")
    ] = None
    restart: Annotated[float, typer.Option(min=0, help="Seconds until a failed worker is back.")] = 60.0
    stragglers: Annotated[float, typer.Option(min=0, max=1, help="Share of slow workers.")] = 0.0
    slowness: Annotated[float, typer.Option(min=1, help="How many times longer they take.")] = 2.0
    seed: Annotated[int, typer.Option(min=0, help="Of failures and slow workers.")] = 0

    def trouble(self) -> "Trouble":
        """Return the trouble as the simulator takes it.

        Raises
        ------
        ConfigError
            For NaN and infinity, which pass every bound.
        """
        from l3ae_dist.planning.model_cluster import Trouble

        for name in ("mtbf", "restart", "stragglers", "slowness"):
            value = getattr(self, name)
            if value is not None and not isfinite(value):
                raise ConfigError(f"--{name} is {value} but must be a finite number.")
        return Trouble(
            lookahead=self.lookahead,
            mtbf_seconds=None if self.mtbf is None else 3600 * self.mtbf,
            restart_seconds=self.restart,
            straggler_share=self.stragglers,
            straggler_factor=self.slowness,
            seed=self.seed,
        )


@command
def simulate(run: PlannedRun, speed: SpeedOptions, trouble: TroubleOptions, as_json: AsJson = False) -> None:
    """Simulate factor and inverse: the real task graph and submission window on modelled workers."""
    config = run.configure()
    from l3ae_dist.planning.simulated_solve import simulate_solve

    wanted = trouble.trouble()
    solve = simulate_solve(config, run.size(config), speed.resources(config), wanted)
    if as_json:
        print_json(solve.summary())
        return
    from l3ae_dist.cli.views.simulation import print_simulation

    print_simulation(screen(), solve)
