"""An S3 server that refuses, is slow, cuts answers off or is gone for a while: a proxy before the true one."""

import contextlib
import http.client
import multiprocessing
import random
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_HOP = {"transfer-encoding", "connection", "keep-alive", "content-length"}


@dataclass(frozen=True)
class Behaviour:
    """How often, and how, requests go wrong.

    Parameters
    ----------
    refused, status
        Share of requests that are refused, and with which status.
    cut
        Share of answers that end in the middle.
    lost
        Share of writes that are done and whose answer never comes.
    seconds
        Longest time before a request goes on.
    gone
        Seconds after the first request, from and to, in which every connection is closed at once.
    """

    refused: float = 0.0
    status: int = 503
    cut: float = 0.0
    lost: float = 0.0
    seconds: float = 0.0
    gone: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def drawn(cls, rng: random.Random) -> "Behaviour":
        """Draw one fault of a store, now and then all of them."""
        share = rng.choice([0.02, 0.1, 0.25])
        start = rng.random() * 0.5
        choices = [
            cls(refused=share, status=rng.choice([500, 503, 503, 429])),
            cls(cut=share),
            cls(lost=share),
            cls(seconds=rng.choice([0.005, 0.02])),
            cls(gone=(start, start + rng.choice([0.3, 2.0, 5.0]))),
            cls(0.05, 503, 0.05, 0.05, 0.02, (start, start + 0.5)),
        ]
        return rng.choice(choices)

    def __str__(self) -> str:
        told = {
            f"{self.refused:.0%} refused with {self.status}": self.refused,
            f"{self.cut:.0%} of answers cut": self.cut,
            f"{self.lost:.0%} of answers to writes lost": self.lost,
            f"up to {self.seconds} s late": self.seconds,
            f"gone from {self.gone[0]:.1f} to {self.gone[1]:.1f} s": self.gone[1],
        }
        return "a store with " + ", ".join(text for text, share in told.items() if share)


_BODY = {
    429: b"<Error><Code>SlowDown</Code></Error>",
    503: b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
    500: b"<Error><Code>InternalError</Code></Error>",
}


def _handler(upstream: str, behaviour: Behaviour, rng: random.Random) -> type[BaseHTTPRequestHandler]:
    host = urllib.parse.urlsplit(upstream).netloc
    lock = threading.Lock()
    first: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def _handle(self) -> None:
            with lock:
                first[:] = first or [time.monotonic()]
                refused, cut, lost, wait = (rng.random() for _ in range(4))
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
            since = time.monotonic() - first[0]
            if behaviour.gone[0] < since < behaviour.gone[1]:
                return self._hang_up()
            time.sleep(wait * behaviour.seconds)
            if refused < behaviour.refused:
                return self._send(behaviour.status, {}, _BODY[behaviour.status])
            connection = http.client.HTTPConnection(host, timeout=30)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            connection.request(self.command, self.path, data, headers)
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            if self.command != "GET" and self.command != "HEAD" and lost < behaviour.lost:
                return self._hang_up()
            told = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
            length = answer.headers.get("content-length") if self.command == "HEAD" else None
            kept = len(body) // 2 if self.command == "GET" and body and cut < behaviour.cut else None
            return self._send(answer.status, told, body, length, kept)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

        def _send(
            self,
            status: int,
            headers: dict[str, str],
            body: bytes,
            length: str | None = None,
            kept: int | None = None,
        ) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body if kept is None else body[:kept])
            if kept is not None:
                self._hang_up()

        def _hang_up(self) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)

    return Handler


def _serve(
    upstream: str, behaviour: Behaviour, seed: float, ports: "multiprocessing.SimpleQueue[int]"
) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(upstream, behaviour, random.Random(seed)))
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    ports.put(server.server_address[1])
    server.serve_forever()


@contextlib.contextmanager
def proxy(upstream: str, behaviour: Behaviour, seed: float) -> Iterator[str]:
    """Start a proxy in a process of its own; yields its URL.

    Parameters
    ----------
    upstream
        URL of the true server.
    behaviour
        What goes wrong.
    seed
        Of which requests.
    """
    context = multiprocessing.get_context("fork")
    ports: multiprocessing.SimpleQueue[int] = context.SimpleQueue()
    process = context.Process(target=_serve, args=(upstream, behaviour, seed, ports), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ports.get()}"
    finally:
        process.kill()
        process.join()
