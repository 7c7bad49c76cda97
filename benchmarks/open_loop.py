"""An open-loop client: requests leave at set times, whether or not the ones before are answered.

``python benchmarks/open_loop.py PORT PATH BODIES RATE SECONDS`` sends the lines of a file in turns as bodies
of POST requests, over as many connections as it takes, and prints one line of JSON. The latency of a request
counts from the time at which it should have left: one that waits for a connection has waited.
"""

import asyncio
import json
import sys
import time
from collections import Counter, deque
from pathlib import Path

import numpy as np

# Connections at most; so many requests may be under way.
MOST = 256


class Connection(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._buffer = b""
        self._due = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, due: float, request: bytes) -> None:
        assert self._transport is not None
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        self._client.answered(self, self._due, int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        self._client.lost(self)


class Client:
    """Sends requests at set times, and notes when they are answered."""

    def __init__(self, port: int, path: str, bodies: list[bytes]) -> None:
        self._port = port
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
        )
        self._requests = [head.encode() + str(len(one)).encode() + b"\r\n\r\n" + one for one in bodies]
        self._idle: deque[Connection] = deque()
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._open = 0
        self._connecting: list[asyncio.Task[None]] = []
        self.seconds: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.late = 0.0

    async def run(self, rate: float, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(32):
            await self._connect()
        start, count = time.perf_counter() + 0.1, int(rate * seconds)
        for number in range(count):
            due = start + number / rate
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            else:
                self.late = max(self.late, -wait)
                if number % 8 == 0:
                    await asyncio.sleep(0)
            request = self._requests[number % len(self._requests)]
            if self._idle:
                self._idle.popleft().send(due, request)
            else:
                self._waiting.append((due, request))
                if self._open < MOST:
                    self._connecting.append(loop.create_task(self._connect()))
        deadline = time.perf_counter() + 10
        while len(self.seconds) + self.statuses["lost"] < count and time.perf_counter() < deadline:
            await asyncio.sleep(0.01)
        self.statuses["unanswered"] = count - len(self.seconds) - self.statuses["lost"]

    async def _connect(self) -> None:
        self._open += 1
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self._port)
        self._free(made)

    def _free(self, one: Connection) -> None:
        if self._waiting:
            one.send(*self._waiting.popleft())
        else:
            self._idle.append(one)

    def answered(self, one: Connection, due: float, status: int) -> None:
        self.seconds.append(time.perf_counter() - due)
        self.statuses[str(status)] += 1
        self._free(one)

    def lost(self, one: Connection) -> None:
        self._open -= 1
        if one in self._idle:
            self._idle.remove(one)
        else:
            self.statuses["lost"] += 1


def figures(client: Client, rate: float) -> dict[str, object]:
    taken = np.sort(client.seconds) * 1e3
    edges = [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 20, 50, 100, 1000, float("inf")]
    counts = np.histogram(taken, [0, *edges])[0]
    return {
        "rate": rate,
        "requests": len(taken),
        "statuses": {name: count for name, count in client.statuses.items() if count},
        "milliseconds": {f"p{q:g}": float(np.percentile(taken, q)) for q in (50, 90, 99, 99.9, 100)},
        "histogram": {
            f"<= {edge:g} ms": int(count) for edge, count in zip(edges, counts, strict=True) if count
        },
        "sender late by at most, ms": client.late * 1e3,
    }


def main() -> None:
    port, path, bodies, rate, seconds = sys.argv[1:]
    client = Client(int(port), path, Path(bodies).read_bytes().splitlines())
    asyncio.run(client.run(float(rate), float(seconds)))
    print(json.dumps(figures(client, float(rate))))


if __name__ == "__main__":
    main()
