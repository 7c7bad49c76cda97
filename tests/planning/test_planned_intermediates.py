"""Whether L and Linv are written: what decides, what the plan says of it, and what it then moves."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from l3ae_dist.cli import app
from l3ae_dist.config.compute import ComputeConfig
from l3ae_dist.config.load import make_config
from l3ae_dist.errors import ConfigError
from l3ae_dist.graphs.blocks import BlockShape
from l3ae_dist.planning import intermediates
from l3ae_dist.planning.forecast import forecast
from l3ae_dist.planning.formulas import explanation
from l3ae_dist.planning.intermediates import LONGEST_SECONDS, decided_intermediates, with_intermediates
from l3ae_dist.planning.model_cluster import Trouble
from l3ae_dist.planning.plan import make_plan
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.planning.plan_of_config import configured_machine
from l3ae_dist.planning.rates import ASSUMED_CPU, ASSUMED_GPU
from l3ae_dist.planning.resources import Resources
from l3ae_dist.planning.simulated_solve import simulate_plan, simulate_solve
from l3ae_dist.planning.tier_traffic import TileMemories, stage_traffic
from l3ae_dist.planning.traffic import traffic_in_memory
from l3ae_dist.storage import layout
from l3ae_dist.storage.stages import TILE_STAGES, Stage
from l3ae_dist.storage.workspace import Workspace
from l3ae_dist.units import GIB

BOTH = frozenset({"L", "Linv"})
SLOW_STORE = ASSUMED_CPU.scaled(8).model_copy(
    update={"assumed": False, "write_bytes_s": 5e7, "shared_write_bytes_s": 5e7}
)
SLOW = Resources(SLOW_STORE, run_rates=lambda: SLOW_STORE)
QUICK_DISK = SLOW_STORE.model_copy(
    update={"write_bytes_s": 3e9, "shared_write_bytes_s": 3e9, "write_seconds": 0.0}
)


def planned(items=12_288, rates=SLOW_STORE, **compute):
    """A plan of one worker, with what becomes of L and Linv."""
    values = ComputeConfig(**{"dtype": "float32", "memory_budget": 8 * GIB, "threads": 8, **compute})
    machine = configured_machine(values, "float32", gpu=values.on_gpu)
    size = DataSize(items=items, users=100_000, interactions=10**7)
    return with_intermediates(make_plan(size, ModelNeeds(), machine), values, lambda: rates)


def written(plan):
    return [stage.bytes_written for stage in plan.stages if stage.name in TILE_STAGES]


def test_what_takes_longer_to_write_than_to_make_stays_in_memory():
    plan = planned()
    assert plan.in_memory == ("L", "Linv")
    assert written(plan)[:2] == [0, 0]
    assert "L and Linv stay in memory: writing them takes" in plan.intermediates
    assert "a kill before P is complete costs up to 1.2e+12 flops of factor and linv once more" in (
        plan.intermediates
    )
    assert plan.peak_bytes <= plan.memory_budget


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"rates": QUICK_DISK}, "writing them takes 0.3 s and making them again 3.6 s"),
        ({"items": 4096}, "writing them takes"),  # makes again in a tenth of a second, and gains nothing
        ({"memory_budget": GIB}, "they take 650.39 MiB, and the worker has 374.32 MiB"),
        ({"rates": None}, "no rates of these workers are measured"),
        ({"rates": ASSUMED_CPU}, "no rates of these workers are measured"),
        ({"rates": ASSUMED_GPU}, "no rates of these workers are measured"),
        ({"workers": 2}, "several workers need them"),
        ({"cluster": "address", "address": "tls://host:8786"}, "the workers are not known"),
        ({"intermediates": "keep"}, "as configured"),
        ({"keep": ("L", "Linv")}, "compute.keep lists them"),
    ],
)
def test_otherwise_they_are_written_and_the_plan_says_why(given, reason):
    if given == {"items": 4096}:
        given = {"items": 4096, "rates": SLOW_STORE.model_copy(update={"write_bytes_s": 1e9,
                 "shared_write_bytes_s": 1e9})}  # fmt: skip
    plan = planned(**given)
    assert plan.in_memory == ()
    assert all(written(plan))
    assert reason in plan.intermediates


def test_no_kill_may_cost_more_than_minutes_unless_it_is_asked_for():
    slow = SLOW_STORE.model_copy(update={"write_bytes_s": 1e5, "shared_write_bytes_s": 1e5}).scaled(1)
    plan = planned(60_000, rates=slow, threads=1, memory_budget=64 * GIB)
    assert f"more than the {LONGEST_SECONDS:,.0f} s that a kill may cost" in plan.intermediates
    assert plan.in_memory == ()
    asked = planned(60_000, rates=None, threads=1, memory_budget=64 * GIB, intermediates="memory")
    assert asked.in_memory == ("L", "Linv")


def test_a_gpu_counts_the_memory_that_is_configured_for_it():
    gpu = {"device": "cuda", "memory_budget": 6 * GIB, "items": 32_768, "rates": ASSUMED_GPU}
    assert "and the worker has" in planned(**gpu).intermediates
    assert planned(**gpu, device_memory=4 * GIB).in_memory == ()
    roomy = planned(**gpu, device_memory=40 * GIB)
    assert roomy.in_memory == ("L", "Linv")
    assert written(roomy)[:2] == [0, 0]
    reads = [stage.bytes_read for stage in roomy.stages if stage.name in TILE_STAGES]
    assert reads == [roomy.grid.lower_count * roomy.tile_bytes, 0, 0]


def test_what_has_no_room_is_said_and_planned_to_be_written():
    plan = planned(memory_budget=GIB, intermediates="memory")
    assert "but for" in plan.intermediates
    assert "tiles that have no room" in plan.intermediates
    assert 0 < sum(written(plan)[:2]) < 2 * written(plan)[2]


@pytest.mark.parametrize("given", [{"workers": 2}, {"cluster": "address", "address": "tls://host:8786"}])
def test_several_workers_or_unknown_ones_are_refused(given):
    with pytest.raises(ConfigError, match=r"compute.intermediates is memory, which needs one worker .*auto"):
        make_config({"workspace": "w", "compute": {"intermediates": "memory", **given}})


def test_workers_that_come_from_the_nodes_of_a_ray_are_refused_with_the_plan():
    one = ComputeConfig(intermediates="memory", cluster="ray", dtype="float32")
    several = one.model_copy(update={"workers": 3})
    plan = make_plan(DataSize(4096, 10, 10), ModelNeeds(), Machine(2 * GIB, 3))
    with pytest.raises(ConfigError, match=r"compute.workers is 3 and compute.cluster is ray"):
        with_intermediates(plan, several, lambda: None)


def test_factors_that_are_kept_are_written_and_both_cannot_be_in_memory_too():
    plan = planned(intermediates="memory", keep=("L",))
    assert plan.in_memory == ("Linv",)
    assert written(plan)[0] > 0
    assert written(plan)[1] == 0
    with pytest.raises(ConfigError, match=r"compute.keep lists L and Linv, which are then written; leave"):
        make_config({"workspace": "w", "compute": {"intermediates": "memory", "keep": ["L", "Linv"]}})


def test_a_run_reads_the_rates_of_its_workspace_and_does_without(tmp_path):
    plan = planned(rates=None)
    compute = ComputeConfig(dtype="float32", memory_budget=8 * GIB)
    assert "no rates" in decided_intermediates(plan, compute, str(tmp_path / "none")).intermediates


def test_the_forecast_says_what_becomes_of_them_and_counts_less(tmp_path):
    def found(choice):
        config = make_config(
            {
                "workspace": str(tmp_path / "w"),
                "model": {"name": "ease"},
                "compute": {"dtype": "float32", "memory_budget": "8GiB", "intermediates": choice},
            }
        )
        size = DataSize(items=12_288, users=100_000, interactions=10**7)
        return forecast(config, size, SLOW), config, size

    (auto, config, size), (keep, other, _) = found("auto"), found("keep")
    assert any(line.startswith("intermediates: L and Linv stay in memory") for line in explanation(auto))
    assert "intermediates: L and Linv are written: as configured" in explanation(keep)
    assert auto.summary()["in_memory"] == ["L", "Linv"]
    times = [{stage.name: stage.seconds for stage in one.stages} for one in (auto, keep)]
    assert times[0][Stage.FACTOR] < times[1][Stage.FACTOR] / 2
    calm, failing = (simulate_solve(config, size, SLOW, Trouble(mtbf_seconds=one)) for one in (None, 10**6))
    written_back = simulate_solve(other, size, SLOW, Trouble())
    assert [stage.bytes_written > 0 for stage in calm.stages] == [False, False, True]
    assert all(stage.bytes_written > 0 for stage in failing.stages)
    assert calm.seconds < written_back.seconds / 1.5


@pytest.mark.parametrize("name", ["plan", "simulate"])
def test_a_plan_by_rates_of_a_file_asks_the_workspace_only_where_its_rates_decide(
    tmp_path, monkeypatch, name
):
    """Its store may be one that this machine does not reach."""
    config, rates, asked = tmp_path / "c.yaml", tmp_path / "rates.json", []
    rates.write_text(SLOW_STORE.model_dump_json())
    monkeypatch.setattr(intermediates, "stored_rates", asked.append)
    sizes = ["--items", "4096", "--users", "1000", "--interactions", "100000", "--rates", str(rates)]
    for workers in (2, 1):
        config.write_text(
            f"workspace: {tmp_path / 'w'}\ncompute: {{workers: {workers}, memory_budget: 8GiB, threads: 1}}\n"
        )
        done = CliRunner().invoke(app.app, [name, str(config), *sizes, "--json"])
        assert done.exit_code == 0, done.output
        assert bool(asked) == (workers == 1)


def test_a_plan_by_rates_of_a_file_chooses_as_the_run_that_does_not_know_them(tmp_path):
    """Until the workspace has such rates too, as after ``calibrate``."""
    config, rates = tmp_path / "c.yaml", tmp_path / "rates.json"
    config.write_text(
        f"workspace: {tmp_path / 'w'}\nmodel: {{name: ease}}\n"
        "compute: {dtype: float32, memory_budget: 8GiB, threads: 8}\n"
    )
    rates.write_text(SLOW_STORE.model_dump_json())
    sizes = ["--items", "12288", "--users", "100000", "--interactions", "1e7"]
    found = []
    for knows in (False, True):
        if knows:
            document = SLOW_STORE.model_dump(mode="json")
            Workspace.create(tmp_path / "w").write_doc(layout.CALIBRATION, document)
        for name in ("plan", "simulate"):
            done = CliRunner().invoke(app.app, [name, str(config), *sizes, "--rates", str(rates), "--json"])
            assert done.exit_code == 0, done.stderr
            found.append(json.loads(done.stdout))
    run = planned(rates=None).intermediates
    assert [one["intermediates"] == run for one in found] == [True, True, False, False]
    assert all(one["intermediates"].startswith("L and Linv stay in memory") for one in found[2:])
    told = (
        "intermediates: by these rates L and Linv would stay in memory, but the run chooses by those of its"
    )
    assert [any(line.startswith(told) for line in one["limits"]) for one in found[::2]] == [True, False]


@pytest.mark.parametrize("block", [BlockShape(), BlockShape(3, 2)])
def test_the_simulator_moves_what_the_plan_counts(block):
    plan = planned(memory_budget=2 * GIB, intermediates="memory", block=1)
    count, tile = plan.grid.count, plan.tile_bytes
    for room in (5, count * (count + 1) // 2 + 4, count * (count + 1)):
        cached = replace(plan, cache_bytes=room * (tile + 4), block=block)
        expected = traffic_in_memory(count, room, block, BOTH)
        for stage in simulate_plan(cached, Resources(SLOW_STORE), Trouble()).stages:
            moved = expected[Stage(stage.stage)]
            assert round(stage.bytes_written / (tile + 4)) == moved.written
            assert round(stage.bytes_read / (tile + 4)) == pytest.approx(moved.read, rel=0.1, abs=2)


def test_many_tiles_are_estimated_and_few_are_counted():
    block = BlockShape(4, 4)
    for count in (9, 49):
        triangle = count * (count + 1) // 2
        ample = traffic_in_memory(count, 2 * triangle, block, BOTH)
        assert [ample[stage].read for stage in TILE_STAGES] == [triangle, 0, 0]
        assert [ample[stage].written for stage in TILE_STAGES] == [0, 0, triangle]
        none = traffic_in_memory(count, 0, block, BOTH)
        assert [none[stage].written for stage in TILE_STAGES] == [triangle] * 3
        assert none[Stage.FACTOR].read == stage_traffic(Stage.FACTOR, count, TileMemories(), block).workspace
        some = traffic_in_memory(count, triangle + 10, block, BOTH)
        assert [some[stage].written for stage in TILE_STAGES] == [0, triangle - 10, triangle]
