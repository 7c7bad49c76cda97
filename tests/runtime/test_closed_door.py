"""Nobody but the run reaches its cluster: the loopback is open to every user of a machine."""

import contextlib
import os
import socket
import ssl
import tempfile
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest
from distributed import Client
from distributed.security import Security

from l3ae_dist.config.load import make_config
from l3ae_dist.errors import ConfigError
from l3ae_dist.runtime.backends.address import existing_cluster
from l3ae_dist.runtime.backends.certificate import temporary_certificate
from l3ae_dist.runtime.backends.local import local_cluster


def listening(session):
    """Every address at which the cluster's own servers listen, as workers and scheduler tell them."""
    told = session.client.scheduler_info(n_workers=-1)
    nannies = [worker["nanny"] for worker in told["workers"].values()]
    return [session.client.scheduler.address, *told["workers"], *nannies]


def handshake(address, context):
    """Shake hands over TLS and wait for the server's word on the certificate, which TLS 1.3 sends late."""
    with (
        socket.create_connection((address.hostname, address.port), timeout=20) as raw,
        context.wrap_socket(raw) as wrapped,
    ):
        return wrapped.recv(1)


def trusting():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.mark.dask
def test_whoever_has_no_certificate_is_refused_by_scheduler_worker_and_nanny():
    with local_cluster(workers=1, threads=1, memory_budget=2**30, dashboard=False) as session:
        assert list(session.client.run(os.getpid).values()) == session.pids()
        addresses = listening(session)
        assert len(addresses) == 3
        for address in map(urlsplit, addresses):
            assert (address.scheme, address.hostname) == ("tls", "127.0.0.1")
            with pytest.raises((ssl.SSLError, ConnectionError)):
                handshake(address, trusting())
        plain = f"tcp://{urlsplit(addresses[0]).netloc}"
        with pytest.raises(OSError, match=r"Timed out|refused|closed"):
            Client(plain, timeout="2s", security=Security())
        with pytest.raises(OSError, match=r"Timed out|SSL|closed|certificate"):
            Client(addresses[0], timeout="2s", security=temporary_certificate())


def keys_below(folder):
    found = []
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):  # gone meanwhile, or a folder
            found += [file] if b"PRIVATE KEY" in file.read_bytes() else []
    return found


@pytest.mark.dask
def test_the_key_is_in_no_file_and_in_no_command_line(monkeypatch, tmp_path):
    import psutil

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with local_cluster(workers=1, threads=1, memory_budget=2**30, dashboard=False) as session:
        deadline = time.monotonic() + 20  # a connection that opens writes the key, loads it and removes it
        while keys_below(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not keys_below(tmp_path)
        secret = session.client.security.tls_client_key.splitlines()[1]
        for pid in session.pids():
            process = psutil.Process(pid)
            told = [*process.cmdline(), *process.environ().values(), *process.parent().cmdline()]
            assert secret not in "".join(told)


def answer(url):
    """Return the status with which a server answers."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answered:
            return answered.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.dask
def test_without_its_dashboard_a_scheduler_tells_nothing_over_http():
    for dashboard, status in ((False, 404), (True, 200)):
        with local_cluster(workers=1, threads=1, memory_budget=2**30, dashboard=dashboard) as session:
            port = session.client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.http_server.port)
            for path in ("info/main/workers.html", "json/identity.json"):
                assert answer(f"http://127.0.0.1:{port}/{path}") == status


@pytest.mark.parametrize("address", [":8787", "0.0.0.0:8787", "[::]:8787", "192.0.2.7:0", "node.example:80"])
def test_a_dashboard_that_others_reach_is_refused_unless_it_is_allowed(address):
    given = {"workspace": "w", "compute": {"dashboard_address": address}}
    with pytest.raises(ConfigError, match=r"other machines reach.*--insecure"):
        make_config(given)
    given["compute"]["insecure"] = True
    assert make_config(given).compute.dashboard_address == address


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:8787", "[::1]:8787", "127.1.2.3:1"])
def test_a_dashboard_on_the_loopback_is_not(address):
    config = make_config({"workspace": "w", "compute": {"dashboard_address": address}})
    assert config.compute.dashboard_address == address


@pytest.mark.parametrize(
    "address",
    ["192.0.2.1:8786", "scheduler.example:8786", "ws://192.0.2.1:8786", "ucx://192.0.2.1:1"],
)
def test_an_unencrypted_scheduler_is_refused_in_every_form(address):
    with pytest.raises(ConfigError, match=r"neither on this machine nor encrypted.*--insecure"):  # noqa: SIM117
        with existing_cluster(address):
            pass


@pytest.mark.dask
def test_a_scheduler_that_speaks_tls_without_a_certificate_in_the_settings_is_a_sentence(monkeypatch):
    import dask

    with local_cluster(workers=1, threads=1, memory_budget=2**30, dashboard=False) as session:
        address = session.client.scheduler.address
        with existing_cluster(address) as own:  # this process has the certificate
            assert own.pids() == session.pids()
        monkeypatch.setattr("l3ae_dist.runtime.backends.address.certificate_of", lambda address: None)
        none = {
            f"distributed.comm.tls.{role}": {"key": None, "cert": None}
            for role in ("client", "scheduler", "worker")
        }
        with (
            dask.config.set({"distributed.comm.tls.ca-file": None, **none}),
            pytest.raises(ConfigError, match="speaks TLS and Dask's settings name no certificate"),
            existing_cluster(address),
        ):
            pass
