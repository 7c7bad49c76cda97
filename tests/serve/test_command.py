"""``l3ae-dist serve`` as a process: it says where it is, ends when it is asked to, and refuses in a sentence."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest
from small_fits import fit

pytest.importorskip("fastapi_offline", reason="the extra serve is not installed")

from l3ae_dist.model.fitted import load_model

COMMAND = [sys.executable, "-m", "l3ae_dist", "serve"]


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    where = tmp_path_factory.mktemp("command") / "w"
    fit(where)
    load_model(where).export_weights(where.parent / "export", 5)
    return where.parent / "export"


@contextmanager
def serving(*arguments):
    """Run the command; yields the process and its URL."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        url = next((word.rstrip(";") for word in line.split() if "://" in word), None)
        assert url, process.stderr.read()
        yield process, url
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_until_it_is_asked_to_end(export, number):
    with serving(export) as (process, url):
        asked = urllib.request.Request(
            f"{url}/recommend", json.dumps({"histories": [[1, 2]], "n": 3}).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(asked) as answer:
            assert len(json.load(answer)["results"][0]) == 3
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err, out.strip()) == (0, "", "stopped.")


@pytest.mark.parametrize("host", ["::1", "127.0.0.2", "localhost"])
def test_every_address_of_the_loopback_may_be_its_place(export, host):
    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with (
        serving(export, "--host", host, "--connections", "1") as (_, url),
        urllib.request.urlopen(f"{url}/healthz") as answer,
    ):
        assert json.load(answer) == {"alive": True}


def test_with_a_certificate_it_speaks_https(export, tmp_path):
    import ssl

    from l3ae_dist.runtime.backends.certificate import temporary_certificate

    security = temporary_certificate()
    pem = tmp_path / "certificate.pem", tmp_path / "key.pem"
    pem[0].write_text(security.tls_scheduler_cert)
    pem[1].write_text(security.tls_scheduler_key)
    with serving(export, "--certificate", pem[0], "--key", pem[1]) as (_, url):
        assert url.startswith("https://")
        context = ssl.create_default_context(cadata=pem[0].read_text())
        context.check_hostname = False
        with urllib.request.urlopen(f"{url}/healthz", context=context) as answer:
            assert json.load(answer) == {"alive": True}


def refused(*arguments, **variables):
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, env={**os.environ, **variables},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.returncode, " ".join(done.stderr.split())


def test_a_place_off_this_machine_needs_a_certificate_or_the_word(export):
    code, told = refused(export, "--host", "0.0.0.0")
    assert (code, "--insecure" in told, "--certificate" in told) == (2, True, True)
    code, told = refused(export, "--certificate", export / "header.json")
    assert (code, "--key" in told) == (2, True)


def test_a_port_that_is_taken_a_model_that_is_not_there_and_a_package_that_is_missing(export, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, told = refused(export, "--port", port)
    assert (code, str(port) in told) == (2, True)
    code, told = refused(tmp_path / "nothing", "--port", "0")
    assert (code, "nothing" in told) == (4, True)
    (tmp_path / "fastapi_offline.py").write_text("import no_such_package")
    code, told = refused(export, PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    assert (code, "pip install 'l3ae-dist[serve]'" in told) == (2, True)
