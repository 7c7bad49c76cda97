"""What is left to the devices: in a run they are asked, in a plan their rates stand for them."""

import pytest

from l3ae_dist.config.compute import ComputeConfig
from l3ae_dist.config.load import make_config
from l3ae_dist.planning.decide_arithmetic import decided_plan
from l3ae_dist.planning.forecast import forecast
from l3ae_dist.planning.model_cluster import Trouble
from l3ae_dist.planning.plan import make_plan
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.planning.rates import ASSUMED_GPU
from l3ae_dist.planning.resources import Resources
from l3ae_dist.planning.simulated_solve import simulate_solve
from l3ae_dist.runtime.backends import in_process
from l3ae_dist.solve.artifact_store import ArtifactStore, SolveSettings
from l3ae_dist.storage.workspace import Workspace
from l3ae_dist.units import GIB

SIZE = DataSize(items=20_000, users=100_000, interactions=10**7)


def slow_in_float64():
    double = {name: dict.fromkeys(sizes, 500.0) for name, sizes in ASSUMED_GPU.gflops["float64"].items()}
    return ASSUMED_GPU.model_copy(update={"gflops": {**ASSUMED_GPU.gflops, "float64": double}})


def float32_alone():
    return ASSUMED_GPU.model_copy(update={"gflops": {"float32": ASSUMED_GPU.gflops["float32"]}})


@pytest.mark.parametrize(
    ("rates", "compute", "expected"),
    [
        (ASSUMED_GPU, {}, "float64"),
        (slow_in_float64(), {}, "float32"),
        (float32_alone(), {}, "float32"),
        (ASSUMED_GPU, {"arithmetic": "float32"}, "float32"),
    ],
    ids=["quick", "slow", "unknown", "configured"],
)
def test_a_plan_computes_in_what_devices_of_its_rates_would_choose(tmp_path, rates, compute, expected):
    compute = {"dtype": "float32", "device": "cuda", "memory_budget": "16GiB", **compute}
    config = make_config({"workspace": str(tmp_path / "w"), "model": {"name": "ease"}, "compute": compute})
    assert forecast(config, SIZE, Resources(rates)).plan.arithmetic == expected
    for trouble in (Trouble(), Trouble(mtbf_seconds=10**6)):
        assert simulate_solve(config, SIZE, Resources(rates), trouble).plan.arithmetic == expected


class Sharing(in_process.InProcess):
    """Workers of which three compute on one device."""

    def device_sharers(self, device):
        assert device == "cuda"
        return 3


@pytest.mark.parametrize(
    ("compute", "sharers"),
    [
        ({"workers": 4}, 3),
        ({"workers": 4, "device_memory": "4GiB"}, 1),
        ({"workers": 4, "device": "cpu"}, 1),
        ({}, 1),
    ],
    ids=["several", "configured", "cpu", "one"],
)
def test_workers_on_one_device_divide_its_memory(tmp_path, compute, sharers):
    compute = ComputeConfig(device=compute.pop("device", "cuda"), arithmetic="float32", **compute)
    plan = make_plan(SIZE, ModelNeeds(), Machine(8 * GIB, compute.workers))
    workspace = Workspace.create(tmp_path / "w")
    plan = decided_plan(plan, compute, workspace, Sharing(), lambda event: None)
    store = ArtifactStore(workspace, SolveSettings(plan, Sharing().executor()))
    assert store.context({}).device_sharers == plan.device_sharers == sharers


def test_local_workers_are_planned_to_share_a_device():
    plans = [
        make_plan(SIZE, ModelNeeds(), Machine(8 * GIB, 2, gpu=True, tile=1024, sharers=one)) for one in (1, 2)
    ]
    kept = [plan.device_cache_bytes + plan.device_work_bytes for plan in plans]
    assert kept == [64 * GIB, 32 * GIB]
