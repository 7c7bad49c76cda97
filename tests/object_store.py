"""A real S3 server on the loopback, in a process of its own, and the environment that leads to it."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

KEY, SECRET = "l3ae-test-key", "l3ae-test-secret-4711"


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def s3_server(*, actions_without_authentication=None):
    """Start the server; yields the environment of its clients. A bucket named ``bucket`` exists.

    ``actions_without_authentication`` requests are taken from anybody, later ones need known credentials;
    with None all are.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    own = dict(os.environ)
    if actions_without_authentication is not None:
        own["INITIAL_NO_AUTH_ACTION_COUNT"] = str(actions_without_authentication)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(url, server)
        urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT")).close()
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }
    finally:
        server.kill()
        server.wait()


def _wait(url, server):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError("the S3 server did not start")
