import pytest
import threadpoolctl
from certificates import certificate_in_environment
from job import Record, configuration, environment, write_inputs

from l3ae_dist.pipeline.run import run
from l3ae_dist.runtime.backends.local import local_cluster


@pytest.fixture(scope="session", autouse=True)
def one_blas_thread():
    """Two BLAS threads beside two workers on two cores spin for seconds."""
    with threadpoolctl.threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """The folder with log, catalog and embeddings."""
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="session")
def record(tmp_path_factory):
    """What the workers of :func:`cluster` compute is noted here; a test empties it first."""
    return Record(tmp_path_factory.mktemp("record") / "chunks")


@pytest.fixture(scope="session")
def cluster(record):
    """Two worker processes that note what they compute, each with a nanny that restarts it."""
    patch = pytest.MonkeyPatch()
    for name, value in environment(record.path).items():
        patch.setenv(name, value)
    with (
        local_cluster(workers=2, threads=1, memory_budget=2**30, dashboard=False) as session,
        certificate_in_environment(session),
    ):
        session.watching.set()  # by the runs that are given its address
        yield session
    patch.undo()


@pytest.fixture
def on_cluster(cluster, record):
    """Compute settings that use :func:`cluster`, once both workers are up; the record is empty."""
    cluster.client.wait_for_workers(2, timeout=60)
    cluster.refresh_pids()
    record.empty()
    return {"cluster": "address", "address": cluster.client.scheduler.address}


@pytest.fixture(scope="session")
def undisturbed(inputs, cluster, tmp_path_factory):
    """The workspace of a run that nothing happened to, with L and Linv kept."""
    where = tmp_path_factory.mktemp("undisturbed") / "w"
    address = cluster.client.scheduler.address
    run(configuration(inputs, where, cluster="address", address=address, keep=["L", "Linv"]), until="fit")
    return where


@pytest.fixture(scope="session")
def total_written(undisturbed):
    """How many chunks the undisturbed run wrote."""
    return sum(1 for path in (undisturbed / "meta" / "done").rglob("*") if path.is_file())
