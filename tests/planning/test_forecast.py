"""Plan, rates and simulator: against sums, real runs on the serial executor, and what a change must fix."""

import json
from dataclasses import replace

import huggingface_hub.constants
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from l3ae_dist.cli import app as cli
from l3ae_dist.config.load import make_config
from l3ae_dist.errors import BudgetError, ConfigError
from l3ae_dist.graphs.blocks import SINGLE, BlockShape
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.tile_memory import process_reader
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.pipeline.run import run
from l3ae_dist.planning.calibrate import measure_cluster
from l3ae_dist.planning.data_size import given_size
from l3ae_dist.planning.estimate import estimate
from l3ae_dist.planning.forecast import forecast
from l3ae_dist.planning.known_data import ingested_size
from l3ae_dist.planning.model_cluster import ModelCluster, Trouble
from l3ae_dist.planning.plan import make_plan
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.planning.rates import KERNELS, Rates, assumed_rates, read_rates
from l3ae_dist.planning.resources import Resources, assumed_lines
from l3ae_dist.planning.simulated_accumulators import SimulatedAccumulators
from l3ae_dist.planning.simulated_solve import simulate_plan
from l3ae_dist.planning.simulator import Simulation, outside_validation
from l3ae_dist.planning.task_model import TaskModel
from l3ae_dist.planning.tier_traffic import TileMemories, stage_traffic
from l3ae_dist.planning.traffic import tiles_read
from l3ae_dist.planning.trial_solve import solve_graphs, trial
from l3ae_dist.planning.worker_benchmarks import measure_kernels
from l3ae_dist.planning.worker_memory import accumulators
from l3ae_dist.runtime.backends.in_process import in_process
from l3ae_dist.storage.chunks import TRAILER
from l3ae_dist.storage.direct_io import aligned_size
from l3ae_dist.storage.tile_cache import TileCache
from l3ae_dist.storage.workspace import Workspace
from l3ae_dist.units import GIB, parse_count

MILLION = {"items": 10**6, "users": 10**8, "interactions": 5 * 10**9, "dim": 4096}
FEW = {"items": 200_000, "users": 10**5, "interactions": 10**6, "dim": 64}
GRID = TileGrid(1000, 96)


def rates(**changes):
    """10 GFLOP/s, and storage, client and network that take no time."""
    sizes = {64: 10.0, 1024: 10.0}
    free = {
        "read_seconds": 0.0, "write_seconds": 0.0, "task_seconds": 0.0, "latency_seconds": 0.0,
        "read_bytes_s": 1e30, "write_bytes_s": 1e30, "shared_read_bytes_s": 1e30, "shared_write_bytes_s": 1e30,
        "copy_bytes_s": 1e30,
    }  # fmt: skip
    return Rates(gflops={"float64": dict.fromkeys(KERNELS, sizes)}, **free | changes)


def simulated(workers=1, grid=GRID, cache_bytes=0, found=None, block=SINGLE, **trouble):
    held = accumulators(block)
    cluster = ModelCluster(
        workers, found or rates(), cache_bytes, trouble=Trouble(**trouble), accumulators=held
    )
    return Simulation(cluster, "float64", 8).run_all(solve_graphs(grid, workers, block=block))


# ---- the simulator


def test_one_worker_without_costs_takes_the_sum_of_its_kernels():
    stages = simulated()
    flops = [sum(task.flops(GRID) for task in graph.tasks()) for graph in solve_graphs(GRID, 1)]
    np.testing.assert_allclose([stage.seconds for stage in stages], np.array(flops) / 1e10, rtol=1e-12)
    np.testing.assert_allclose([stage.computing for stage in stages], 1, rtol=1e-12)
    assert [stage.tasks for stage in stages] == [len(graph) for graph in solve_graphs(GRID, 1)]


@pytest.mark.parametrize("workers", [2, 3, 16])
def test_more_workers_are_bounded_by_their_work_and_by_the_longest_chain(workers):
    for one, many in zip(simulated(), simulated(workers), strict=True):
        assert many.seconds >= many.critical_path * (1 - 1e-12)
        assert many.seconds >= one.seconds / workers * (1 - 1e-12)
        assert many.seconds <= one.seconds / workers + 2 * many.critical_path


def trial_plan(grid, cache_bytes=0, block=1):
    size, machine = DataSize(grid.n, 1, 1), Machine(GIB, dtype="float64", tile=grid.tile, block=block)
    return replace(make_plan(size, ModelNeeds(), machine), cache_bytes=cache_bytes)


@pytest.mark.parametrize("block", [1, 3])
def test_without_a_cache_it_reads_the_bytes_that_a_real_run_reads(tmp_path, block):
    grid = TileGrid(300, 64)
    plan = trial_plan(grid, block=block)
    with in_process(threads=1) as session:
        real = list(trial(session, Workspace.create(tmp_path / "w"), "run", plan))
    for (_, stats, _), stage in zip(real, simulated(grid=grid, block=plan.block), strict=True):
        assert stage.bytes_read == stats.bytes_read
        assert stage.bytes_written == stats.bytes_written


@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize("tiles", [3, 6, 40])
def test_with_a_cache_it_reads_nearly_what_a_real_run_reads(tmp_path, tiles, block):
    grid = TileGrid(620, 64)
    cache = tiles * (64 * 64 * 8 + 8192)
    plan = trial_plan(grid, cache, block)
    # in blocks, how far reads run ahead of writes decides which tiles the cache still holds: some 5 % either way
    runs: list[list[int]] = []
    for number in range(1 if block == 1 else 5):
        with in_process(threads=1) as session:
            workspace = Workspace.create(tmp_path / f"w{number}")
            runs.append([stats.bytes_read for _, stats, _ in trial(session, workspace, "run", plan)])
    # the cache of this process counts whole pages
    tile = 64 * 64 * 8 + TRAILER
    found = simulated(grid=grid, cache_bytes=cache * tile // aligned_size(tile), block=plan.block)
    for real, stage in zip(np.median(runs, axis=0), found, strict=True):
        assert stage.bytes_read == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("side", [1, 4])
@pytest.mark.parametrize("cached", [0, 5, 40])
def test_what_a_stage_reads_by_count_is_what_is_simulated(cached, side):
    grid, block = TileGrid(30 * 32, 32), BlockShape(side, side)
    tile = 32 * 32 * 8 + 4
    stages = simulated(grid=grid, cache_bytes=cached * tile, block=block)
    for stage in stages:
        found = stage_traffic(stage.stage, 30, TileMemories(cached=cached), block)
        assert stage.bytes_read / tile == pytest.approx(found.workspace, rel=0.1)
    assert stages[0].bytes_read / tile == pytest.approx(tiles_read(30, 1, cached, block), rel=0.1)


def test_reading_is_hidden_behind_kernels_until_it_takes_longer():
    tile = 96 * 96 * 8
    kernel = 2 * 96**3 / 1e10
    hidden = simulated(found=rates(read_bytes_s=8 * tile / kernel))[2]
    bound = simulated(found=rates(read_bytes_s=0.5 * tile / kernel))[2]
    assert hidden.reading < 0.1
    assert bound.reading > 0.5
    assert bound.seconds >= bound.bytes_read / (0.5 * tile / kernel) * 0.95


@pytest.mark.parametrize("side", [2, 3])
def test_tiles_of_a_block_are_written_behind_its_kernels(side):
    for stage, alone in enumerate(simulated(block=BlockShape(side, side))):
        written = 0.1 * alone.seconds  # that all writes take
        rate = alone.bytes_written / written
        slow = rates(write_bytes_s=rate, shared_write_bytes_s=rate)
        found = simulated(found=slow, block=BlockShape(side, side))[stage]
        assert alone.seconds + 96 * 96 * 8 / rate < found.seconds < alone.seconds + written / 2


def test_a_tile_is_loaded_once_one_before_it_is_written():
    under_way = SimulatedAccumulators(3)
    assert under_way.load(0.0, [1.0, 1.0]) == [1.0, 2.0]
    assert under_way.write([(4.0, 2.0), (4.5, 2.0)]) == 8.0  # one thread writes, to 6 and to 8
    # one place was free, the others are when tiles are written
    assert under_way.load(1.0, [1.0, 1.0, 1.0]) == [3.0, 7.0, 9.0]
    assert under_way.write([(9.0, 0.0), (9.5, 0.0), (10.0, 0.0)]) == 10.0  # they stay in memory
    # a task that needs more places than there are has them
    assert under_way.load(9.0, [0.0] * 4) == [9.0, 9.0, 9.5, 10.0]


def test_what_is_read_on_one_way_takes_its_turns():
    under_way = SimulatedAccumulators(2)
    assert under_way.carried(1.0, 2.0) == 3.0
    assert under_way.carried(2.0, 2.0) == 5.0


def test_workers_share_the_bandwidth_of_the_storage():
    slow = {"read_bytes_s": 1e9, "shared_read_bytes_s": 1e9}
    one, four = (simulated(workers, found=rates(**slow))[2] for workers in (1, 4))
    alone = simulated(4, found=rates(read_bytes_s=1e9))[2]
    assert four.seconds > 1.5 * alone.seconds
    assert four.seconds >= 0.6 * one.bytes_read / 1e9


def test_a_busy_client_bounds_the_tasks_a_second():
    stages = simulated(8, found=rates(task_seconds=0.01))
    assert all(stage.seconds >= 0.01 * stage.tasks for stage in stages)
    assert stages[2].client == pytest.approx(1, abs=0.05)


def test_failures_cost_time_and_lose_no_task():
    calm = simulated(4)
    rough = simulated(4, mtbf_seconds=0.01, restart_seconds=0.002, seed=3)
    assert sum(stage.failures for stage in rough) > 5
    assert sum(stage.repeated for stage in rough) > 0
    assert [stage.tasks for stage in rough] == [stage.tasks for stage in calm]
    assert sum(stage.seconds for stage in rough) > sum(stage.seconds for stage in calm)
    assert rough == simulated(4, mtbf_seconds=0.01, restart_seconds=0.002, seed=3)


def test_what_failed_workers_had_on_the_way_does_not_slow_the_next_stage():
    found = rates(read_bytes_s=2e8, write_bytes_s=2e8)
    calm = ModelCluster(3, found, 0)
    factor, linv, _ = solve_graphs(GRID, 3)
    rough = replace(calm, trouble=Trouble(mtbf_seconds=0.01, restart_seconds=0.001))
    for seed in range(5):
        simulation = Simulation(replace(rough, trouble=replace(rough.trouble, seed=seed)), "float64", 8)
        assert simulation.run(factor).failures
        simulation._cluster = calm
        assert simulation.run(linv).seconds == pytest.approx(Simulation(calm, "float64", 8).run(linv).seconds)


def test_when_every_worker_is_down_the_tasks_wait_for_the_first_to_be_back():
    stages = simulated(1, mtbf_seconds=0.02, restart_seconds=0.5)
    assert [stage.tasks for stage in stages] == [len(graph) for graph in solve_graphs(GRID, 1)]
    assert sum(stage.seconds for stage in stages) > 0.5


def test_slow_workers_and_a_short_window_cost_time():
    usual = simulated(4)[0].seconds
    assert simulated(4, straggler_share=0.5, straggler_factor=3.0, seed=1)[0].seconds > 1.2 * usual
    assert simulated(4, lookahead=1)[0].seconds > 2 * usual


def test_a_gpu_waits_for_the_tiles_that_are_uploaded():
    tile = 96 * 96 * 8
    upload = rates(upload_bytes_s=tile / (2 * 96**3 / 1e10))  # two operands take twice the kernel
    assert simulated(found=upload)[2].seconds > 1.5 * simulated()[2].seconds


def test_what_lies_beyond_the_validated_range_is_named():
    assert outside_validation(2, 10_000, 1024) is None
    assert outside_validation(64, 10**6, 4096) == (
        "beyond the validated range: 64 workers (validated to 2), 1,000,000 items (to 13,824), "
        "tiles of 4,096 (640 to 1,536)"
    )


# ---- the cache policy


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 6),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab"), st.sampled_from([None, 1, 2])), max_size=40),
)
def test_the_cache_never_exceeds_its_limit_and_gives_back_what_it_drops(limit, puts):
    cache, held = TileCache(limit), {}
    for key, stage, panel in puts:
        if cache.get(key, stage, panel) is not None:
            assert key in held
            continue
        kept, gone = cache.put(key, key, 1, stage, panel)
        for dropped in gone:
            del held[dropped]
        if kept:
            held[key] = stage
        elif panel is None:  # one that later tasks read again displaces nothing of its own stage
            assert stage not in {held.get(dropped) for dropped in gone}
        assert cache.used == len(cache) == len(held) <= limit
        assert all(name in cache for name in held)


# ---- rates


def test_rates_between_two_tiles_are_interpolated_in_their_logarithm():
    found = rates().model_copy(update={"gflops": {"float64": {"gemm_nt": {512: 10.0, 2048: 30.0}}}})
    assert found.rate("gemm_nt", "float64", 1024) == pytest.approx(20e9)
    assert found.rate("gemm_nt", "float64", 64) == 10e9
    assert found.rate("potrf", "float64", 9999) == 30e9  # not measured: gemm's, of the largest tile
    assert found.scaled(4).rate("gemm_nt", "float64", 512) == pytest.approx(40e9)
    assert "scaled" in found.scaled(4).source


def test_rates_come_back_from_their_file(tmp_path):
    found = assumed_rates(4, "cpu")
    path = tmp_path / "rates.json"
    path.write_text(found.model_dump_json())
    assert read_rates(path) == found
    for text in (
        '{"gflops": {}}',
        '{"gflops": {"float32": {}}}',
        '{"gflops": {"float32": {"gemm_nt": {"512": 0}}}}',
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match="holds no rates"):
            read_rates(path)
    path.write_text('{"gflops": 3}')
    with pytest.raises(ConfigError, match=r"holds no rates \(gflops.*calibrate"):
        read_rates(path)
    with pytest.raises(ConfigError, match=r"cannot read the rates .*missing"):
        read_rates(tmp_path / "missing.json")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_kernel_is_measured(dtype):
    found = measure_kernels(dtype, (32, 64), "cpu", 1, 0.0)
    assert sorted(found) == sorted(KERNELS)
    assert all(set(sizes) == {32, 64} and min(sizes.values()) > 0 for sizes in found.values())


def test_a_calibration_measures_and_leaves_nothing_but_its_rates(tmp_path, monkeypatch):
    from l3ae_dist.planning import calibrate

    monkeypatch.setattr(calibrate, "TILES", {"cpu": (64, 128)})
    monkeypatch.setattr(calibrate, "_STORED", {64: 4, 256: 4})
    reader, measure = process_reader(), calibrate.measure_kernels

    def measured(*arguments):
        """Measure in a process that holds nothing of what it has served before."""
        assert (reader._cache.used, reader._free) == (0, {})
        return measure(*arguments)

    monkeypatch.setattr(calibrate, "measure_kernels", measured)
    cached = trial_plan(TileGrid(200, 64), 10**6)
    with in_process(threads=1) as session:
        list(trial(session, Workspace.create(tmp_path / "before"), "run", cached))
    assert reader._cache.used > 0
    path = tmp_path / "rates.json"
    arguments = ["--set", "compute.cluster=synchronous", "--no-texts", "--dtype", "float64", "--threads", "1"]
    done = CliRunner().invoke(cli.app, ["calibrate", str(tmp_path / "w"), *arguments, "--output", str(path)])
    assert done.exit_code == 0, done.stderr
    assert "GFLOP/s of a worker in float64" in done.stdout
    found = read_rates(path)
    assert not found.assumed
    assert (found.workers, found.threads, sorted(found.overlap)) == (1, 1, [64, 128])
    assert found.shared_read_bytes_s >= found.read_bytes_s > 0
    assert found.peer_bytes_s is None
    assert "one worker, which has nobody to read from; 1 GB/s a worker is assumed" in done.stderr
    assert 0 < found.beside(128) < 20
    workspace = Workspace.open(tmp_path / "w")
    assert workspace.read_doc("calibration")["threads"] == 1
    assert list(workspace.blobs.list("calibration")) == []
    assert reader._cache.used == 0


@pytest.mark.dask
def test_rates_of_a_real_cluster_are_those_of_its_workers(dask_session, tmp_path, monkeypatch):
    from l3ae_dist.planning import calibrate

    monkeypatch.setattr(calibrate, "TILES", {"cpu": (64, 128)})
    monkeypatch.setattr(calibrate, "_STORED", {64: 4, 256: 4})
    config = make_config({"workspace": str(tmp_path / "w"), "compute": {"dtype": "float32"}})
    said = []
    found = measure_cluster(config, dask_session, Workspace.create(tmp_path / "w"), said.append)
    assert found.workers == len(dask_session.pids())
    assert found.threads == 1  # as the session gives its workers
    assert found.task_seconds > 0
    assert any("trial" in event["message"] for event in said)
    assert found.peer_bytes_s > 0
    assert found.upload_bytes_s is found.download_bytes_s is None  # they compute on a processor
    off = make_config({"workspace": str(tmp_path / "w"), "compute": {"peer_reads": "off"}})
    assert calibrate._between_workers(dask_session, Workspace.open(off.workspace), True, said.append) is None
    assert (
        "not measured, because compute.peer_reads is off; 1 GB/s a worker is assumed" in said[-1]["message"]
    )


# ---- the plan


def planned(resources=None, size=None, **compute):
    base = {"workers": 64, "memory_budget": "64GiB", "threads": 32, "dtype": "float32"}
    config = make_config({"workspace": "ws", "compute": base | compute})
    found = given_size(config, **(size or MILLION))
    return forecast(config, found, resources or Resources(assumed_rates(32, "cpu")))


def test_a_million_items_are_planned():
    found = planned()
    solve = {stage.name: stage for stage in found.stages if stage.flops > 1e17}
    assert list(solve) == ["factor", "linv", "invert"]
    assert sum(stage.flops for stage in solve.values()) == pytest.approx(1e18)
    assert found.plan.peak_bytes <= 64 * GIB
    assert all(stage.seconds == max(stage.parts.values()) > 0 for stage in found.stages)
    assert [stage.name for stage in found.stages][:3] == ["ingest", "embed", "gram"]
    assert any("a sample of 100,000 of 100,000,000 users" in line for line in found.limits)
    assert found.cost is None


def test_an_encoder_that_a_run_would_refuse_is_told_with_the_plan(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    size = {"items": 50_000, "users": 100_000, "interactions": 10**6, "dim": 384}

    def told(**values):
        config = make_config({"workspace": "ws", "compute": {"workers": 2, "dtype": "float32"}, **values})
        found = forecast(config, given_size(config, *size.values()), Resources(assumed_rates(1, "cpu")))
        return [line for line in found.limits if line.startswith("encoder:")]

    (line,) = told(encoder={"model": "owner/name"})
    assert "the encoder 'owner/name' is named by its branch 'main', which can move" in line
    assert told(encoder={"model": "owner/name", "revision": "a" * 40}) == []
    assert told(encoder={"model": "owner/name"}, data={"embeddings": "vectors.npy"}) == []
    assert told(encoder={"model": "owner/name"}, model={"name": "ease"}) == []


def test_prices_give_a_cost_of_resources_storage_and_requests():
    config = make_config(
        {
            "workspace": "ws",
            "compute": {"workers": 2, "memory_budget": "4GiB", "dtype": "float32", "threads": 2},
            "prices": {"worker_hour": 10.0, "actor_hour": 100.0, "per_1000_reads": 0.0},
        }
    )
    size = given_size(config, 50_000, 100_000, 10**6, 384)
    found = forecast(config, size, Resources(assumed_rates(2, "cpu"), actors=3))
    embed = next(stage.seconds for stage in found.stages if stage.name == "embed")
    assert found.cost == pytest.approx((found.seconds * 2 * 10 + embed * 3 * 100) / 3600)


@pytest.mark.timeout(100)  # counting the reads of every plan that is tried went through all blocks: minutes
@pytest.mark.parametrize(
    ("compute", "stage"),
    [({"memory_budget": "2GiB"}, "gram"), ({"memory_budget": "200MiB"}, None), ({"tile_size": 40_000}, None)],
)
def test_a_refused_plan_names_the_smallest_change_and_that_change_is_enough(compute, stage):
    with pytest.raises(BudgetError, match="smallest change that fits") as refused:
        planned(**compute)
    message = str(refused.value)
    assert stage is None or f"stage {stage}" in message
    changes = dict(part.split(" = ") for part in message.split("fits: ")[1].rstrip(".").split(", or "))
    budget = int(changes["compute.memory_budget"].removesuffix("MiB"))
    assert planned(**compute | {"memory_budget": f"{budget}MiB"}).plan.peak_bytes <= budget * 2**20
    with pytest.raises(BudgetError):
        planned(**compute | {"memory_budget": f"{budget - 2}MiB"})
    if "compute.tile_size" in changes:
        planned(**compute | {"tile_size": int(changes["compute.tile_size"])})


def test_a_disk_that_is_too_small_is_refused_with_what_is_needed():
    needed = planned().storage_bytes
    resources = Resources(assumed_rates(32, "cpu"), disk_bytes=needed)
    assert planned(resources).storage_bytes == needed
    with pytest.raises(BudgetError, match=r"a disk or bucket of [\d,.]+ GiB"):
        planned(replace(resources, disk_bytes=needed - 1))


def test_the_tile_and_why_it_was_chosen():
    assert planned(tile_size=2048).tile_reason == "as configured"
    assert "the largest that kernels gain from" in planned().tile_reason
    assert "keep all workers busy" in planned(workers=256, memory_budget="64GiB").tile_reason
    assert "memory budget" in planned(workers=2, memory_budget="1GiB", size=FEW).tile_reason
    small = {"items": 3000, "users": 100, "interactions": 10_000, "dim": 10}
    assert planned(workers=1, size=small).plan.grid.tile <= 3000


def test_a_tile_that_popular_items_overfill_gives_way_to_a_smaller_one():
    found = planned(memory_budget="6GiB")
    assert found.plan.grid.tile < 4096
    assert found.tile_reason == "the largest beside which the interactions of popular items fit"
    assert found.plan.peak_bytes <= 6 * GIB
    with pytest.raises(BudgetError):  # a tile that was asked for does not
        planned(memory_budget="6GiB", tile_size=4096)


def test_slow_storage_a_slow_client_and_long_chains_are_advised_about():
    fast = assumed_rates(32, "cpu").model_copy(
        update={"read_bytes_s": 1e12, "shared_read_bytes_s": 1e15, "write_bytes_s": 1e12,
                "shared_write_bytes_s": 1e15}
    )  # fmt: skip
    store = fast.model_copy(update={"shared_read_bytes_s": 1e10})
    assert any("wait for storage" in line for line in planned(Resources(store)).advice)
    assert any(
        "tiles wait for each other" in line
        for line in planned(Resources(fast), tile_size=65_536, memory_budget="1TiB").advice
    )
    slow = fast.model_copy(update={"task_seconds": 1.0})
    assert any("hands out tasks too slowly" in line for line in planned(Resources(slow)).advice)


def test_estimate_and_simulation_of_the_same_plan_agree():
    machine = Machine(4 * GIB, workers=4, tile=1024)
    plan = make_plan(DataSize(items=40_000, users=1, interactions=1), ModelNeeds(), machine)
    size = given_size(make_config({"workspace": "w"}), 40_000, 1, 1, 1)
    found = Resources(assumed_rates(8, "cpu"))
    guess = {stage.name: stage.seconds for stage in estimate(plan, size, found)}
    for stage in simulate_plan(plan, found, Trouble()).stages:
        assert stage.seconds == pytest.approx(guess[stage.stage], rel=0.5), stage.stage


def test_an_ingested_dataset_is_planned_from_its_own_numbers(tmp_path, small_tables):
    interactions, items = small_tables
    config = make_config({"workspace": str(tmp_path / "w"), "model": {"name": "ease"}})
    result = run(config, interactions=interactions, items=items, until="embed")
    size = ingested_size(config, None)
    assert size.items == result["dataset"]["n_items"]
    assert size.pairs() >= size.interactions**2 / size.users
    assert forecast(config, size, Resources(assumed_rates(1, "cpu"))).plan.grid.n == size.items


def test_each_ridge_of_a_grid_is_factored_and_what_is_kept_is_counted():
    def of(ridges, **compute):
        config = make_config(
            {
                "workspace": "ws",
                "grid": {"ridges": ridges},
                "compute": {"workers": 2, "memory_budget": "4GiB", "dtype": "float32", "threads": 2}
                | compute,
            }
        )
        size = given_size(config, 50_000, 100_000, 10**6, 384)
        return forecast(config, size, Resources(assumed_rates(2, "cpu")))

    one, five = of([100]), of([100, 200, 300, 400, 500])
    seconds = [{stage.name: stage.seconds for stage in found.stages} for found in (one, five)]
    for name in ("factor", "linv", "invert", "certify", "assemble", "score"):
        assert seconds[1][name] == pytest.approx(5 * seconds[0][name])
    assert seconds[1]["gram"] == seconds[0]["gram"]
    assert any("search: 5 ridges" in line for line in five.limits)
    triangle = next(stage.bytes_written for stage in one.plan.stages if stage.name == "gram")
    kept = of([100], keep=["L", "Linv"])
    assert kept.storage_bytes - one.storage_bytes == pytest.approx(2 * triangle)
    assert five.storage_bytes > one.storage_bytes


def test_rates_are_taken_for_what_they_were_measured_on_or_the_difference_is_told():
    measured = assumed_rates(32, "cpu").model_copy(
        update={"assumed": False, "derived": False, "workers": 2, "texts_per_second": None}
    )
    lines = planned(Resources(measured)).limits
    assert any("bandwidth was measured with 2 worker(s), taken for 64" in line for line in lines)
    assert any("embedding: not measured" in line for line in lines)
    assert (measured.kind, measured.scaled(2).kind, assumed_rates(2, "cpu").kind) == (
        "measured", "derived", "assumed",
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"the plan is for float32 on cuda, but the rates are of .* on cpu"):
        planned(Resources(measured), device="cuda")
    single = measured.model_copy(update={"gflops": {"float64": measured.gflops["float64"]}})
    with pytest.raises(ConfigError, match="the rates are of float64 on cpu"):
        planned(Resources(single))


def test_workers_that_fail_all_the_time_end_the_simulation():
    with pytest.raises(ConfigError, match="fail too often"):
        simulated(2, mtbf_seconds=1e-6, restart_seconds=0.0)


def test_shares_of_time_stay_shares_when_workers_fail():
    for stage in simulated(4, mtbf_seconds=0.004, restart_seconds=0.0, seed=5):
        assert stage.computing + stage.reading <= 1 + 1e-9


# ---- the command line


def call(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env={"COLUMNS": "120"})


SIZES = ("--items", "1e6", "--users", "1e8", "--interactions", "5e9", "--dim", 4096)
CLUSTER = ("--workers", 64, "--worker-memory", "64GiB", "--threads", 32, "--dtype", "float32")


def test_plan_needs_no_data_and_explains_itself():
    done = call("plan", *SIZES, *CLUSTER, "--explain")
    assert done.exit_code == 0, done.stderr
    assert "1,000,000 items, 100,000,000 users, 5,000,000,000 interactions" in done.stdout
    assert "tiles: T = ceil(n / b) = ceil(1,000,000 / 4,096) = 245 a side" in done.stdout
    assert "n^3 / 3 = 3.333e+17 flops on 64 workers" in done.stdout
    assert "memory of a worker: interpreter and peers 400 MiB + " in done.stdout
    assert "peers: a worker reads a tile from another that holds it" in done.stdout
    off = call("plan", *SIZES, *CLUSTER, "--explain", "--set", "compute.peer_reads=off")
    assert "peers: off, tiles come from the workspace alone" in off.stdout
    assert "memory of a worker: interpreter 320 MiB + " in off.stdout
    assert "1.00 GB/s a worker while it sends as much, assumed: `l3ae-dist calibrate`" in done.stdout
    assert "Rates are assumed" in done.stdout
    found = json.loads(call("plan", *SIZES, *CLUSTER, "--json").stdout)
    assert (found["tile"], found["workers"], found["estimated"]) == (4096, 64, True)
    assert found["rates"]["assumed"] is True


def test_an_explained_plan_shows_blocks_tiers_and_what_others_would_cost_in_100_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    arguments = ("plan", *SIZES, *CLUSTER, "--network", "3GB", "--explain")
    done = call(*arguments)
    assert done.exit_code == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    (block,) = (line for line in lines if line[:2] == ["factor", "4,096"])
    assert block[2:9] == ["5", "x", "5", "13", "parts", "123,100", "17"]
    tables = done.stdout[done.stdout.index("Blocks of tiles") :]
    assert max(map(len, tables[: tables.index("block: rows")].splitlines())) <= 100
    for heading in ("own cache", "peers", "workspace", "why no larger", "compute.peer_reads = off"):
        assert heading in tables
    found = json.loads(call(*arguments, "--json").stdout)
    assert [one["stage"] for one in found["blocks"]] == ["factor", "linv", "invert"]
    planned_so, *others = found["alternatives"]
    stages = [stage for stage in found["stages"] if stage["name"] in ("factor", "linv", "invert")]
    for name in ("seconds", "bytes_peers", "bytes_read", "bytes_cached"):
        assert planned_so[name] == pytest.approx(sum(stage[name] for stage in stages))
    off = others[-1]
    assert (off["change"], off["bytes_peers"]) == ("compute.peer_reads = off", 0)
    assert off["bytes_read"] > 2 * planned_so["bytes_read"]
    single = others[0]
    assert single["change"] == "compute.block = 1"
    assert single["bytes_peers"] + single["bytes_read"] > 4 * (off["bytes_read"])
    tight = call("plan", *SIZES, *CLUSTER, "--worker-memory", "9GiB", "--explain")
    assert "does not fit" in tight.stdout


def test_measured_rates_of_tiles_between_memories_are_used_and_the_others_assumed_with_a_word(tmp_path):
    path = tmp_path / "rates.json"
    measured = assumed_rates(32, "cpu").model_copy(update={"assumed": False, "workers": 2})

    def told(command, *arguments, **changes):
        path.write_text(measured.model_copy(update=changes).model_dump_json())
        done = call(command, *SIZES, *CLUSTER, "--rates", path, *arguments)
        assert done.exit_code == 0, done.stderr
        return done.stdout

    assert "0.62 GB/s a worker while it sends as much, measured (1.00 GB/s would be" in told(
        "plan", "--explain", peer_bytes_s=0.62e9
    )
    missing = "not measured (calibrated by an earlier version); 1.00 GB/s a worker is assumed"
    assert missing in told("plan")
    assert "calibrated with one worker" in told("plan", workers=1)
    old = json.loads(measured.model_dump_json(exclude={"peer_bytes_s", "download_bytes_s"}))
    path.write_text(json.dumps(old))
    assert read_rates(path).peer_bytes_s is None
    gpu = assumed_rates(1, "cuda").model_copy(update={"assumed": False, "download_bytes_s": None})
    resources = Resources(gpu, peers=True)
    assert assumed_lines(resources)[1:] == [
        "copies: the rate from the GPU was not measured; 20.00 GB/s is assumed"
    ]
    assert gpu.download_seconds(2e10) == 1.0
    quick, slow = (
        Resources(measured.model_copy(update={"peer_bytes_s": rate}), peers=True) for rate in (9e9, 1e7)
    )
    first, second = ({stage.name: stage for stage in planned(one).stages}["factor"] for one in (quick, slow))
    assert first.bytes_peers > 10 * first.bytes_read / 3 > second.bytes_peers


def test_a_plan_in_another_arithmetic_takes_its_rates_and_copies_of_tiles():
    plain, wide = (
        call("plan", *SIZES, *CLUSTER, "--explain", "--set", f"compute.arithmetic={dtype}")
        for dtype in ("float32", "float64")
    )
    assert plain.exit_code == wide.exit_code == 0, wide.stderr
    assert "computed in" not in plain.stdout
    assert "float32 computed in float64" in wide.stdout
    assert "+ 65 tiles of 64.0" in plain.stdout
    assert "+ 14 tiles of 64.0" in wide.stdout
    assert "1 x 1 tiles; tiles computed in another dtype are made one by one" in wide.stdout
    assert "GFLOP/s in float32 at" in plain.stdout
    assert "GFLOP/s in float64 at" in wide.stdout
    seconds = [
        json.loads(call("plan", *SIZES, *CLUSTER, "--json", "--set", f"compute.arithmetic={dtype}").stdout)[
            "seconds"
        ]
        for dtype in ("float32", "float64")
    ]
    assert seconds[1] > 1.2 * seconds[0]


def test_a_plan_that_cannot_run_is_exit_code_2():
    done = call("plan", *SIZES, "--workers", 64, "--worker-memory", "2GiB")
    assert done.exit_code == 2
    assert "The smallest change that fits: compute.memory_budget = " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--items", "5x", "--users", 3, "--interactions", 3), "'5x' is not a positive whole number"),
        (("--items", 5), "go together"),
        ((), "give a configuration"),
        ((*SIZES, "--rates", "nowhere.json"), "cannot read the rates nowhere.json"),
        (("--items", 10, "--users", 3, "--interactions", 1000), "make only 30 pairs"),
        ((*SIZES, "--network", "0"), "--network is 0 but must be greater than 0"),
    ],
)
def test_wrong_input_of_plan_is_a_sentence(arguments, sentence):
    done = call("plan", *arguments)
    assert done.exit_code == 2
    assert sentence in done.stderr


def test_simulate_says_what_it_is():
    small = ("--items", 20_000, "--users", 1000, "--interactions", 10**5, "--dim", 8)
    cluster = ("--workers", 3, "--worker-memory", "2GiB", "--tile", 1024, "--dtype", "float32")
    done = call("simulate", *small, *cluster, "--mtbf", 0.01, "--stragglers", 0.3)
    assert done.exit_code == 0, done.stderr
    assert "Simulated, not measured" in done.stdout
    assert "beyond the validated range: 3 workers" in done.stdout
    assert "1.00 GB/s a worker while it sends as much, assumed: `l3ae-dist calibrate`" in done.stdout
    assert "Rates are assumed" in done.stdout
    found = json.loads(call("simulate", *small, *cluster, "--json").stdout)
    assert found["simulated"] is True
    assert [stage["stage"] for stage in found["stages"]] == ["factor", "linv", "invert"]


@pytest.mark.parametrize("option", ["--mtbf", "--restart", "--slowness"])
def test_a_simulation_wants_finite_numbers(option):
    done = call("simulate", *SIZES, *CLUSTER, option, "inf")
    assert done.exit_code == 2
    assert "must be a finite number" in done.stderr


def test_counts_are_read_as_people_write_them():
    assert parse_count("1_000") == 1000
    for text in ("-5", "1.5", "many", "0", "1e400"):
        with pytest.raises(ConfigError, match="not a positive whole number"):
            parse_count(text)


def test_a_ragged_last_tile_costs_its_own_size():
    times = TaskModel(rates(), GRID, "float64", 8)
    last = CholeskyGraph(GRID).task_for(next(iter(list(CholeskyGraph(GRID).tasks())[-1:])).target)
    assert times.kernels(last) == pytest.approx(last.flops(GRID) / 1e10)


def test_workers_ingest_large_files_and_the_client_small_ones():
    """The parts are those of the docstring: rows by rate, threads and workers, and the client's own share."""
    settings = {"workspace": "w", "compute": {"workers": 8, "memory_budget": 64 * GIB}}
    resources = Resources(assumed_rates(2, "cpu"))
    for rows, engine, workers in ((10**6, "client", 1), (5 * 10**9, "Dask", 8)):
        config = make_config(settings)
        stage = forecast(config, given_size(config, 50_000, 10**6, rows, 64), resources).stages[0]
        assert (stage.name, stage.engine) == ("ingest", engine)
        united = rows / 20e6
        assert stage.parts["client"] == pytest.approx(united)
        assert stage.parts["compute"] == pytest.approx(rows / (3e6 * 2 * workers) + united)


def test_the_ingest_is_faster_with_more_workers_up_to_the_clients_share():
    seconds = []
    for workers in (2, 4, 256):
        config = make_config({"workspace": "w", "compute": {"workers": workers, "memory_budget": 64 * GIB}})
        size = given_size(config, 50_000, 10**8, 5 * 10**9, 64)
        seconds.append(forecast(config, size, Resources(assumed_rates(1, "cpu"))).stages[0].seconds)
    assert seconds[0] > seconds[1] > seconds[2] > 5e9 / 20e6
    assert seconds[0] / seconds[1] == pytest.approx((1 / 6 + 1 / 20) / (1 / 12 + 1 / 20))
