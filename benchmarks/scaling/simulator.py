"""The simulator against real runs: what it predicts from a calibration on other sizes, and what they took.

Eight pairs of items and tile, none of whose tiles was calibrated, are factored and inverted on 1 worker of 2
threads and on 2 workers of 1 thread. Calibrations and runs take turns, so that a machine that is slow for a
minute is so for both; each prediction uses the medians of all calibrations, each measurement is a median.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from report import publish, row

from l3ae_dist.config.load import make_config
from l3ae_dist.planning.calibrate import measure_cluster
from l3ae_dist.planning.model_cluster import Trouble
from l3ae_dist.planning.plan import Plan, make_plan
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.planning.rates import Rates
from l3ae_dist.planning.resources import Resources
from l3ae_dist.planning.simulated_solve import simulate_plan
from l3ae_dist.planning.simulator import VALIDATED_ITEMS, VALIDATED_TILES
from l3ae_dist.planning.trial_solve import trial
from l3ae_dist.runtime.backends.dask_session import DaskSession
from l3ae_dist.runtime.backends.local import local_cluster
from l3ae_dist.storage.workspace import Workspace

# None of these tiles is among those that a calibration measures (512, 1024, 2048).
HELD_OUT = (
    (6144, 640), (7680, 768), (9216, 768), (8960, 896), (11_520, 1152), (13_824, 1152), (10_240, 1280),
    (12_288, 1536),
)  # fmt: skip
CLUSTERS = ((1, 2), (2, 1))
BUDGET = 2**30
MEDIAN_ERROR, LARGEST_ERROR = 0.15, 0.30
STAGES = ("factor", "linv", "invert")


def planned(n: int, tile: int, workers: int) -> Plan:
    size, machine = DataSize(items=n, users=1, interactions=1), Machine(BUDGET, workers, tile=tile)
    return make_plan(size, ModelNeeds(), machine)


def measured(session: DaskSession, workspace: Workspace, plan: Plan) -> dict[str, float]:
    """Measure each stage of one real run, under a name of its own, since workers keep tiles by name."""
    path = f"run-{uuid4().hex}"
    stages = trial(session, workspace, path, plan)
    seconds = {graph.stage: stats.seconds for graph, stats, _ in stages}
    workspace.delete(path)
    return seconds


def medians(found: list[Rates]) -> Rates:
    """Return the median of every figure of several calibrations."""

    def middle(values: list[Any]) -> Any:
        if isinstance(values[0], dict):
            return {key: middle([value[key] for value in values]) for key in values[0]}
        number = isinstance(values[0], (int, float)) and not isinstance(values[0], bool)
        return median(values) if number else values[0]

    return Rates.model_validate(middle([rates.model_dump() for rates in found]))


def validate(workers: int, threads: int, pairs: tuple[tuple[int, int], ...], repeats: int) -> dict[str, Any]:
    """Measure the cases of one cluster; return them with the predictions, and the rates of these."""
    folder = tempfile.mkdtemp(prefix="l3ae-simulator-")
    config = make_config(
        {
            "workspace": f"{folder}/w",
            "compute": {"workers": workers, "threads": threads, "memory_budget": BUDGET, "dtype": "float32"},
        }
    )
    workspace = Workspace.create(config.workspace)
    took: dict[tuple[int, int], list[dict[str, float]]] = {pair: [] for pair in pairs}
    rates = []
    try:
        with local_cluster(
            workers=workers, threads=threads, memory_budget=BUDGET, dashboard=False
        ) as session:
            for number in range(repeats):
                rates.append(measure_cluster(config, session, workspace, lambda event: None))
                workspace.delete("calibration")
                for pair in pairs:
                    took[pair].append(measured(session, workspace, planned(*pair, workers)))
                    print(f"  {workers} x {threads}, {pair}, run {number + 1}: {took[pair][-1]}", flush=True)
    finally:
        shutil.rmtree(folder)
    typical = medians(rates)
    return {
        "rates": typical.model_dump(mode="json"),
        "cases": [compare(planned(*pair, workers), typical, took[pair]) for pair in pairs],
    }


def compare(plan: Plan, rates: Rates, took: list[dict[str, float]]) -> dict[str, Any]:
    """Set predicted beside measured seconds of one case, in all and by stage."""
    simulated = simulate_plan(plan, Resources(rates), Trouble())
    real = median(sum(one.values()) for one in took)
    return {
        "items": plan.grid.n,
        "tile": plan.grid.tile,
        "workers": plan.workers,
        "predicted": simulated.seconds,
        "measured": real,
        "error": simulated.seconds / real - 1,
        "runs": [sum(one.values()) for one in took],
        "stages": {
            stage.stage: {
                "predicted": stage.seconds, "measured": median(one[stage.stage] for one in took),
            }
            for stage in simulated.stages
        },
    }  # fmt: skip


def rows(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    errors = [abs(case["error"]) for case in cases]
    table = [
        row(f"{case['items']:,} items, tiles of {case['tile']:,}, {case['workers']} worker(s): simulated, "
            "beside measured", case["predicted"], "s", case["measured"])
        for case in cases
    ]  # fmt: skip
    return [
        *table,
        row("median absolute error of the simulator", median(errors), "", None, MEDIAN_ERROR, smaller=True),
        row("its largest absolute error", max(errors), "", None, LARGEST_ERROR, smaller=True),
    ]


def check_range() -> None:
    """Check that the label of simulations beyond the validated range names the range validated here."""
    tiles = [tile for _, tile in HELD_OUT]
    assert (min(tiles), max(tiles)) == VALIDATED_TILES, "VALIDATED_TILES does not match the cases"
    assert max(n for n, _ in HELD_OUT) == VALIDATED_ITEMS, "VALIDATED_ITEMS does not match the cases"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", type=int, help="only the first so many pairs, to try the script")
    options = parser.parse_args()
    check_range()
    results = [validate(*cluster, HELD_OUT[: options.only], options.repeats) for cluster in CLUSTERS]
    publish(
        "simulator" if options.only is None else "simulator-try",
        rows([case for result in results for case in result["cases"]]),
        clusters=results,
    )
