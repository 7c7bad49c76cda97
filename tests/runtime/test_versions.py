"""Versions and BLAS builds of the processes of a run."""

import pytest

from l3ae_dist.errors import ClusterError
from l3ae_dist.runtime.versions import SAME, check_processes, environment


def test_this_process_agrees_with_itself_and_names_its_blas():
    here = environment()
    assert set(here) == {*SAME, "BLAS"}
    assert all(here.values())
    assert "openblas" in here["BLAS"]
    assert check_processes({"tcp://a": here, "tcp://b": here}) == []


@pytest.mark.parametrize("name", ["python", "numpy", "distributed", "l3ae_dist"])
def test_a_worker_with_another_version_is_named(name):
    here = environment()
    with pytest.raises(ClusterError, match=rf"worker tcp://b has {name} 0\.0 instead of .*constraints"):
        check_processes({"tcp://a": here, "tcp://b": {**here, name: "0.0"}})


def test_different_blas_builds_are_told_and_do_not_end_the_run():
    here = environment()
    (message,) = check_processes({"tcp://a": here, "tcp://b": {**here, "BLAS": "mkl 2024 (skx)"}})
    assert "mkl 2024 (skx)" in message
    assert "to rounding" in message


@pytest.mark.dask
def test_workers_tell_what_they_are(dask_session):
    found = dask_session.environments()
    assert len(found) == 2
    assert all(worker == environment() for worker in found.values())
