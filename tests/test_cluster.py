"""The local Dask cluster: BLAS threads, ports and environment are what was asked for."""

import contextlib
import os

import pytest

from l3ae_dist.runtime.cluster import local_cluster

pytestmark = pytest.mark.dask


def blas_threads():
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_every_cluster_of_a_process_gets_its_own_blas_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    for threads in (1, 2):
        with local_cluster(workers=1, threads=threads, memory_budget=2**30, dashboard=False) as session:
            assert list(session.client.run(blas_threads).values()) == [{threads}]
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


def test_the_scheduler_listens_on_the_loopback_alone_and_on_no_fixed_port():
    import socket

    import psutil

    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # somebody else has it already
            taken.bind(("127.0.0.1", 8787))
            taken.listen()
        with local_cluster(workers=1, threads=1, memory_budget=2**30, dashboard=False):
            mine = {c.laddr for c in psutil.Process().net_connections() if c.status == "LISTEN"}
    assert {address.ip for address in mine} == {"127.0.0.1"}
