import contextlib
import os

import numpy as np
import pandas as pd
import pytest
from variables import left_as_found
from worker_stacks import told

os.environ.setdefault("HF_HUB_OFFLINE", "1")


# Markers of tests that may start Dask or Ray in this process; those of the last three run by themselves.
CLUSTERS = {"dask": {"dask", "ray"}, "ray": {"ray"}}
APART = {"faults", "slow", "cluster"}


def markers(item):
    """Return the names of a test's markers."""
    return {marker.name for marker in item.iter_markers()}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show what the workers do beside the failure of a test that used the session's Dask cluster."""
    report = yield
    if report.when == "call" and report.failed and "dask_session" in getattr(item, "funcargs", {}):
        report.sections.append(("Dask cluster", told(item.funcargs["dask_session"])))
    return report


@pytest.fixture(autouse=True)
def environment_is_left(request):
    """Fail a test that leaves variables behind; those of a fixture of the session are there before it.

    A test that starts Ray itself is not held to it: Ray sets variables of this process for good.
    """
    with contextlib.nullcontext() if "ray" in markers(request.node) else left_as_found():
        yield


@pytest.fixture(autouse=True)
def clusters_are_marked(request, environment_is_left, monkeypatch):
    """Fail a test that starts Dask or Ray without the marker that keeps two of them from running at once."""
    import distributed

    from l3ae_dist.runtime.backends import ray_session  # Ray itself is imported with its token alone

    engines = {
        "dask": (distributed, "LocalCluster", "dask_session"),
        "ray": (ray_session, "_init", "ray_cluster"),
    }
    for engine, (module, start, fixture) in engines.items():
        if not markers(request.node) & (CLUSTERS[engine] | APART):
            assert fixture not in request.fixturenames, f"mark the test with pytest.mark.{engine}"
            monkeypatch.setattr(module, start, refusal(engine))


def refusal(engine):
    """Return what stands in the place of a cluster's start."""

    def start(*_args, **_options):
        pytest.fail(f"starts a cluster: mark the test with pytest.mark.{engine}")

    return start


@pytest.fixture(scope="session")
def ray_cluster():
    """One Ray for the whole session, with two logical GPUs."""
    from l3ae_dist.runtime.backends.ray_session import ray_session

    with ray_session(num_cpus=2, num_gpus=2) as session:
        yield session


@pytest.fixture(scope="session")
def dask_session():
    """One local Dask cluster for the whole session."""
    from certificates import certificate_in_environment

    from l3ae_dist.runtime.backends.local import local_cluster

    with (
        local_cluster(workers=2, threads=1, memory_budget=2**31, dashboard=False) as session,
        certificate_in_environment(session),
    ):
        session.watching.set()  # by the runs that are given its address
        yield session


@pytest.fixture(scope="session")
def s3_environment():
    """One S3 server for the whole session: the environment of its clients; there is a bucket ``bucket``."""
    from object_store import s3_server

    with s3_server() as environment:
        yield environment


@pytest.fixture
def small_tables():
    """A log of 60 users over 40 items, the last two of which nobody bought; one user has one item."""
    rng = np.random.default_rng(3)
    pairs = {(u, int(i)) for u in range(60) for i in rng.choice(38, rng.integers(3, 12), replace=False)}
    pairs = {(u, i) for u, i in pairs if u != 7} | {(7, 5)}
    log = pd.DataFrame(sorted(pairs), columns=["user_id", "item_id"])
    items = pd.DataFrame({"item_id": range(40), "title": [f"title {i}" for i in range(40)]})
    items["text"] = [f"{'red' if i % 2 else 'blue'} thing number {i}" for i in range(40)]
    return log, items
