"""A real S3 server on the loopback, in a process of its own, and the environment that leads to it."""

import contextlib
import http.client
import http.server
import os
import socket
import subprocess
import sys
import threading
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


class FaultProxy:
    """A server on the loopback that hands requests on to an S3 server, and does harm as it is told.

    ``fault(method, path)`` says of each request what happens to it; None is nothing:

    * ``"slow_down"``: 503 SlowDown; ``"too_many"``: 429
    * ``"drop"``: the connection is closed before the request is handed on
    * ``"lost"``: the request is carried out, and its answer is lost
    * ``("cut", k)``: the body of the answer ends after ``k`` bytes
    * ``("slow", seconds)``: the body comes in ten pieces over so many seconds
    * ``("flip", k)``: byte ``k`` of the body is another
    """

    def __init__(self, upstream):
        self.upstream = upstream.removeprefix("http://")
        self.fault = lambda method, path: None
        self.requests = []
        self._serve(0)
        self.port = self._server.server_address[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def _serve(self, port):
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                with contextlib.suppress(OSError):
                    super().handle_one_request()

            def log_message(self, *arguments):
                pass

            def _any(self):
                proxy.handle(self)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _any

        http.server.ThreadingHTTPServer.daemon_threads = True
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self):
        """From now on connections are refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def open(self):
        """Take connections again, at the same port."""
        self._serve(self.port)

    def handle(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.requests.append((request.command, request.path))
        fault = self.fault(request.command, request.path)
        kind, value = fault if isinstance(fault, tuple) else (fault, None)
        request.close_connection = True
        if kind == "drop":
            return
        if kind in ("slow_down", "too_many"):
            status, code = {"slow_down": (503, "SlowDown"), "too_many": (429, "TooManyRequests")}[kind]
            text = f"<Error><Code>{code}</Code><Message>Please reduce your request rate.</Message></Error>"
            self._answer(request, status, {}, text.encode())
            return
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        connection.request(request.command, request.path, body, dict(request.headers))
        answer = connection.getresponse()
        data, headers = answer.read(), dict(answer.getheaders())
        connection.close()
        if kind == "lost":
            return
        if kind == "flip" and value < len(data):
            data = data[:value] + bytes([data[value] ^ 1]) + data[value + 1 :]
        self._answer(request, answer.status, headers, data, kind, value)

    def _answer(self, request, status, headers, data, kind=None, value=None):
        request.send_response_only(status)
        for name, text in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                request.send_header(name, text)
        length = headers.get("Content-Length", "0") if request.command == "HEAD" else str(len(data))
        request.send_header("Content-Length", length)
        request.send_header("Connection", "close")
        request.end_headers()
        if request.command == "HEAD":
            return
        if kind == "cut":
            data = data[:value]
        pieces = 10 if kind == "slow" else 1
        for k in range(pieces):
            request.wfile.write(data[len(data) * k // pieces : len(data) * (k + 1) // pieces])
            if kind == "slow":
                time.sleep(value / pieces)


@contextlib.contextmanager
def fault_proxy(upstream):
    """A :class:`FaultProxy` in front of a server for the ``with`` block."""
    proxy = FaultProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
