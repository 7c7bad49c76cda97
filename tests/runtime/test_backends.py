"""One job on every back end: the same bits, the same metrics, the same contract."""

import os
import signal
import time

import numpy as np
import pytest

from l3ae_dist.config.load import make_config
from l3ae_dist.errors import ClusterError, ConfigError
from l3ae_dist.pipeline.run import run
from l3ae_dist.runtime.backends.in_process import in_process
from l3ae_dist.runtime.backends.ray_placement import Node, WorkerShape, fit_to_nodes
from l3ae_dist.runtime.backends.session import open_cluster

pytestmark = [pytest.mark.dask, pytest.mark.ray]

BACK_ENDS = ("local", "address", "ray", "synchronous")
FOLDERS = ("grams", "factors", "embeddings", "semantic", "crosses", "models", "scores")


def settings(workspace, cluster, dask_session, **compute):
    address = {"address": dask_session.client.scheduler.address} if cluster == "address" else {}
    return make_config(
        {
            "workspace": str(workspace),
            "model": {"reg_x": 10, "reg_f": 5, "reg_e": 10},
            "evaluate": {"ks": [3, 20]},
            "compute": {
                "cluster": cluster, "workers": 2, "threads": 1, "tile_size": 16, "dtype": "float64",
                "memory_budget": "1GiB", "keep": ["L", "Linv"], "start_timeout": 60, **address, **compute,
            },
        }
    )  # fmt: skip


def chunks(workspace):
    found = (path for folder in FOLDERS for path in (workspace / folder).rglob("c/*/*") if path.is_file())
    return {str(path.relative_to(workspace)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, dask_session, ray_cluster):
    """Result, events and chunks of the same job on a back end; each runs once."""
    rng = np.random.default_rng(3)
    import pandas as pd

    log = pd.DataFrame({"user_id": rng.integers(0, 60, 500), "item_id": rng.integers(0, 40, 500)})
    items = pd.DataFrame({"item_id": range(40)})
    rows = rng.standard_normal((40, 8)).astype(np.float32)
    done = {}

    def result(cluster):
        if cluster not in done:
            where, events = tmp_path_factory.mktemp(cluster) / "w", []
            config = settings(where, cluster, dask_session)
            found = run(config, interactions=log, items=items, embeddings=rows, on_event=events.append)
            done[cluster] = found, events, chunks(where)
        return done[cluster]

    return result


@pytest.mark.parametrize("cluster", BACK_ENDS[1:])
def test_every_back_end_gives_the_same_bits_and_metrics(runs, cluster):
    (want, _, want_chunks), (got, _, got_chunks) = runs("local"), runs(cluster)
    assert set(got_chunks) == set(want_chunks)
    assert len(got_chunks) > 20
    assert [path for path in want_chunks if got_chunks[path] != want_chunks[path]] == []
    assert got["models"] == want["models"]
    assert got["certificate"] == want["certificate"]
    assert got["comparison"] == want["comparison"]


@pytest.mark.parametrize("cluster", BACK_ENDS)
def test_every_back_end_reports_the_same_tiles_and_stages(runs, cluster):
    def tiles(events):
        done = [event for event in events if event["kind"] == "tile"]
        return sorted((event["stage"], event["array"], event["i"], event["j"]) for event in done)

    assert tiles(runs(cluster)[1]) == tiles(runs("local")[1])
    result = runs(cluster)[0]
    assert [stage["written"] for stage in result["stages"].values()] == [
        stage["written"] for stage in runs("local")[0]["stages"].values()
    ]


def test_measured_memory_is_within_the_plan_and_told_apart_by_engine(runs):
    for cluster in ("local", "address", "ray"):
        result = runs(cluster)[0]
        peak, projected = result["peak_memory_bytes"], result["plan"]["projected_peak_bytes"]
        assert 0 < peak["worker_max"] <= projected
        assert peak["worker_max"] < peak["workers_sum"] <= 2 * projected
    on_ray = runs("ray")[0]["peak_memory_bytes"]
    assert on_ray["scheduler"] > 2**25
    assert on_ray["ray"] > 2**25
    alone = runs("synchronous")[0]["peak_memory_bytes"]
    assert alone["worker_max"] == alone["scheduler"] == alone["ray"] == 0


def test_dask_sees_the_tasks_of_the_synchronous_back_end(tmp_path, dask_session):
    from dask.callbacks import Callback

    seen = []
    config = settings(tmp_path / "w", "synchronous", dask_session, threads=2).compute
    with open_cluster(config, seen.append) as session, Callback(pretask=lambda key, *_: seen.append(key)):
        executor = session.executor()

        class Task:
            class target:
                array, i, j = "L", 1, 0

        executor.submit(lambda task, context: context + 1, Task, 41)
        assert executor.wait() == (Task, 42, None)
        executor.submit(lambda task, context: context / 0, Task, 41)
        assert isinstance(executor.wait()[2], ZeroDivisionError)
    assert seen == ["L-1-0", "L-1-0"]


def blas_threads():
    from threadpoolctl import threadpool_info

    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_the_synchronous_back_end_gives_the_blas_threads_back():
    before = blas_threads()
    with in_process(threads=1):
        assert blas_threads() == {1}
    assert blas_threads() == before


def conditions():
    """A function, sent by value, that tells what must be the same in every worker process."""

    def tell(dask_worker):
        import dask
        import scipy.linalg  # noqa: F401
        from threadpoolctl import threadpool_info

        threads = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        manager = dask_worker.memory_manager
        names = ("target", "spill", "pause")
        fractions = [getattr(manager, f"memory_{name}_fraction") for name in names]
        failures = dask.config.get("distributed.scheduler.allowed-failures")
        return threads, dask_worker.state.nthreads, manager.memory_limit, fractions, failures

    return tell


def test_workers_on_ray_have_the_conditions_of_local_ones(tmp_path, dask_session, ray_cluster):
    found = {}
    for cluster in ("local", "ray"):
        config = settings(tmp_path / "w", cluster, dask_session, workers=1, threads=2).compute
        with open_cluster(config, lambda event: None) as session:
            (found[cluster],) = session.client.run(conditions()).values()
            assert session.memory_limit() == 2**30
    assert found["ray"] == found["local"]
    assert found["ray"][0] == {2}


@pytest.fixture
def on_ray(tmp_path, dask_session, ray_cluster):
    """Two workers on Ray, with the events of the session."""
    config = settings(tmp_path / "w", "ray", dask_session, memory_budget="512MiB").compute
    reported = []
    with open_cluster(config, reported.append) as session, session.watched(reported.append):
        yield session, reported


def test_everything_on_ray_is_encrypted_and_on_the_loopback(on_ray):
    import psutil

    session, _ = on_ray
    assert session.client.scheduler.address.startswith("tls://127.0.0.1:")
    assert session.dashboard_url.startswith("http://127.0.0.1:")
    for pid in [*session.pids(), *session.scheduler_pids]:
        sockets = psutil.Process(pid).net_connections()
        assert {s.laddr.ip.removeprefix("::ffff:") for s in sockets if s.status == "LISTEN"} == {"127.0.0.1"}
    from urllib.request import urlopen

    with urlopen(session.dashboard_url) as page:
        assert b"Dask" in page.read()


def until(condition, seconds=100):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_worker_on_ray_is_reported_and_joins_again(on_ray):
    session, reported = on_ray
    before = set(session.pids())
    victim = min(before)
    futures = session.client.map(time.sleep, [0.02] * 50, pure=False)
    os.kill(victim, signal.SIGKILL)
    session.client.gather(futures)
    until(lambda: any(event["kind"] == "worker_lost" for event in reported))
    session.client.wait_for_workers(2, timeout=100)
    until(lambda: len(session.pids()) == 2 and victim not in session.pids())
    assert len(before & set(session.pids())) == 1


def test_a_worker_on_ray_over_its_limit_is_ended_and_says_so(on_ray):
    def balloon(size):
        held = bytearray(size)
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(30)

    session, reported = on_ray
    before = set(session.pids())
    future = session.client.submit(balloon, 600 * 2**20, pure=False)
    until(lambda: any("over its memory limit" in event.get("message", "") for event in reported))
    future.cancel(force=True)
    until(lambda: any(event["kind"] == "worker_lost" for event in reported))
    session.client.wait_for_workers(2, timeout=100)
    until(lambda: len(session.pids()) == 2 and set(session.pids()) != before)
    said = [event["message"] for event in reported if "over its memory limit" in event.get("message", "")]
    ended_at = [int(text.split(" MiB")[0].split()[-1].replace(",", "")) for text in said]
    assert min(ended_at) > 0.98 * 512 - 1  # the limit that it may reach


def ray_is_idle():
    """Whether all of Ray's resources are free."""
    import ray

    free, have = ray.available_resources(), ray.cluster_resources()
    return all(free.get(name) == have[name] for name in ("CPU", "GPU", "memory"))


@pytest.mark.parametrize("error", [None, ZeroDivisionError, KeyboardInterrupt])
def test_nothing_is_left_on_ray_afterwards(tmp_path, dask_session, ray_cluster, error):
    import psutil

    pids = []
    config = settings(tmp_path / "w", "ray", dask_session).compute

    def use():
        with open_cluster(config, lambda event: None) as session:
            pids.extend([*session.pids(), *session.scheduler_pids])
            if error is not None:
                raise error

    if error is None:
        use()
    else:
        with pytest.raises(error):
            use()
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    until(ray_is_idle)
    assert len(pids) == 3


def test_what_ray_has_no_room_for_is_told_and_then_refused(tmp_path, dask_session, ray_cluster):
    config = settings(tmp_path / "w", "ray", dask_session, workers=3, start_timeout=6).compute
    until(ray_is_idle)
    said = []
    with pytest.raises(ClusterError, match=r"3 CPU needed, 2 CPU free of 2 CPU; add nodes, or lower"):  # noqa: SIM117
        with open_cluster(config, said.append):
            pass
    (event,) = said
    assert event["message"].startswith("waiting for room for 3 Dask workers of 1 CPU, 1,024 MiB on Ray")
    assert ray_is_idle()


# distributed drops a TLS socket when its peer is gone
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_lost_scheduler_on_ray_ends_the_run_and_the_next_one_goes_on(tmp_path, small_tables, dask_session,
                                                                       ray_cluster):  # fmt: skip
    import psutil

    log, items = small_tables
    killed, events = [], []

    def kill_scheduler(event):
        events.append(event)
        if event["kind"] == "tile" and event["stage"] == "factor" and not killed:
            mine = (
                p
                for p in psutil.process_iter(["cmdline"])
                if "SchedulerActor" in " ".join(p.info["cmdline"] or ())
            )
            killed.extend(p.pid for p in mine if os.getpid() in [parent.pid for parent in p.parents()])
            os.kill(killed[0], signal.SIGKILL)

    config = settings(tmp_path / "w", "ray", dask_session)
    options = {
        "interactions": log,
        "items": items,
        "embeddings": np.ones((40, 4), np.float32),
        "until": "fit",
    }
    with pytest.raises(ClusterError, match="run the same command again"):
        run(config, on_event=kill_scheduler, **options)
    assert run(config, **options)["tiles_written"] > 0


@pytest.mark.parametrize("compute", [
    {"cluster": "ray", "address": "tls://x:1"}, {"cluster": "synchronous", "address": "tls://x:1"},
    {"cluster": "address"}, {"dashboard_address": "8787"}, {"start_timeout": 0},
])  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(compute):
    with pytest.raises(ConfigError, match=r"compute\."):
        make_config({"workspace": "w", "compute": compute})


GIB = 2**30
FITS = {
    "equal nodes, one worker each": ([Node(8, 10 * GIB)] * 3, {}, WorkerShape(3, 8, 8 * GIB)),
    "unequal nodes, the smallest is the measure": ([Node(2, 10 * GIB), Node(7, 40 * GIB)], {}, WorkerShape(4, 2, 8 * GIB)),
    "memory bounds the number": ([Node(2, 10 * GIB), Node(8, 20 * GIB)], {}, WorkerShape(3, 2, 8 * GIB)),
    "a head without CPUs is passed over": ([Node(0, 50 * GIB), Node(4, 10 * GIB)], {}, WorkerShape(1, 4, 8 * GIB)),
    "given threads": ([Node(8, 10 * GIB)] * 2, {"threads": 2}, WorkerShape(8, 2, 2 * GIB)),
    "given workers": ([Node(8, 10 * GIB)] * 2, {"workers": 4}, WorkerShape(4, 4, 4 * GIB)),
    "given memory": ([Node(8, 10 * GIB)] * 2, {"memory_budget": GIB}, WorkerShape(2, 8, GIB)),
    "all given": ([Node(1, GIB)], {"workers": 9, "threads": 5, "memory_budget": 7}, WorkerShape(9, 5, 7)),
    "no node yet": ([], {}, WorkerShape(1, 1, 2 * GIB)),
    "one for each GPU": ([Node(16, 100 * GIB, 4), Node(16, 10 * GIB)], {}, WorkerShape(4, 4, 20 * GIB, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", FITS)
def test_what_is_not_given_comes_from_the_nodes(name):
    nodes, given, want = FITS[name]
    assert fit_to_nodes(nodes, WorkerShape(1, 1, 2 * GIB, want.gpus), **given) == want


def test_a_run_on_ray_takes_its_numbers_from_the_nodes_unless_they_are_set(ray_cluster):
    from l3ae_dist.planning.plan_of_config import fill_in

    compute = make_config({"workspace": "w", "compute": {"cluster": "ray"}}).compute
    filled = fill_in(compute)
    assert (filled.workers, filled.threads) == (1, 2)
    assert filled.memory_budget > 2 * GIB
    set_by_hand = compute.model_copy(update={"memory_budget": GIB, "workers": 2})
    filled = fill_in(set_by_hand)
    assert (filled.workers, filled.threads, filled.memory_budget) == (2, 1, GIB)
    local = make_config({"workspace": "w"}).compute
    assert fill_in(local) is local
