"""Addresses of schedulers and of Ray that are none, or where nothing answers: a sentence within seconds."""

import http.server
import socket
import threading
import time

import pytest

from l3ae_dist.config.load import make_config
from l3ae_dist.config.scheduler_address import checked_address, host_and_port
from l3ae_dist.errors import ClusterError, ConfigError
from l3ae_dist.runtime.backends import ray_session as ray_backend
from l3ae_dist.runtime.backends.address import existing_cluster
from l3ae_dist.runtime.backends.reached import speaks_grpc

SECONDS = 30


@pytest.fixture
def silent():
    """The port of a listener that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def web_server():
    """The port of an HTTP server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.daemon_threads, server.block_on_close = True, False
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(
    "address",
    ["foo", "tcp://", "127.0.0.1", "http://127.0.0.1:80", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:abc", "tcp://:1",
     "inproc://x", "tcp://h:0", "tcp://a b:1", "tcp://h:1/x", "tcp://[::1", "\ud800:1", "a" * 3000, "tcp://h:" + "9" * 5000],
)  # fmt: skip
def test_what_is_no_address_is_refused_before_anything_runs(address):
    compute = {"cluster": "address", "address": address}
    with pytest.raises(
        ConfigError, match="no address of a Dask scheduler; set it to tls://HOST:PORT"
    ) as told:
        make_config({"workspace": "w", "compute": compute})
    assert len(str(told.value)) < 300


def test_an_address_without_a_scheme_is_one_of_tcp():
    assert checked_address("127.0.0.1:8786") == "tcp://127.0.0.1:8786"
    assert checked_address(" tls://[::1]:8786 ") == "tls://[::1]:8786"
    assert host_and_port("tls://[::1]:8786") == ("::1", 8786)


def refused(kind, address, match):
    started = time.monotonic()
    with pytest.raises(kind, match=match), existing_cluster(address):
        pass
    assert time.monotonic() - started < SECONDS


def test_nothing_listens_at_the_address():
    refused(ClusterError, "tcp://127.0.0.1:1", "no Dask scheduler answers at .*Connection refused")


def test_who_listens_says_nothing(silent):
    refused(
        ClusterError, f"tcp://127.0.0.1:{silent}", "no Dask scheduler answers at .* did not answer within"
    )


def test_who_listens_is_no_scheduler(web_server):
    refused(ClusterError, f"tcp://127.0.0.1:{web_server}", "Dask scheduler")


def test_an_encrypted_scheduler_needs_certificates(silent):
    refused(ConfigError, f"tls://127.0.0.1:{silent}", "name no certificate")


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "foo bar", "ray://127.0.0.1:1", "nosuch.invalid:6379", "h:x"]
)
def test_a_ray_that_does_not_answer_ends_the_run_within_seconds(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray_backend, "_init", lambda **_options: pytest.fail("Ray would wait for minutes"))
    started = time.monotonic()
    with pytest.raises(ClusterError, match=r"no Ray answers at .*unset it"), ray_backend.ray_session():
        pass
    assert time.monotonic() - started < SECONDS


def test_what_is_no_grpc_server_is_told_apart(silent, web_server):
    assert not speaks_grpc("127.0.0.1", silent)
    assert not speaks_grpc("127.0.0.1", web_server)


@pytest.mark.ray
def test_the_head_of_a_ray_is_found(ray_cluster):
    import ray

    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    assert speaks_grpc(host, int(port))
    ray_backend.check_ray_address(f"{host}:{port}")
