"""Counters of a service, for Prometheus: requests by path and status, their seconds, swaps of the model."""

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Of seconds; the answers of an export take half a millisecond, those of a workspace some tens.
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Measures:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("path", "status")
        where = self.registry
        self._requests = Counter("l3ae_requests", "Requests answered.", labels, registry=where)
        self._seconds = Histogram(
            "l3ae_request_seconds", "Seconds of a request.", ("path",), buckets=_BUCKETS, registry=where
        )
        self._swaps = Counter("l3ae_model_swaps", "Models that took over.", registry=where)
        self._refused = Counter("l3ae_models_refused", "Models that could not be opened.", registry=where)
        self._items = Gauge("l3ae_model_items", "Items of the model that answers.", registry=where)

    def took(self, path: str, status: int, seconds: float) -> None:
        """Count a request.

        Parameters
        ----------
        path
            One of the service's, or what stands for all others.
        status
            Of the answer.
        seconds
            Until it was sent.
        """
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def swapped(self, swapped: bool) -> None:
        """Count a model that took over, or one that could not be opened."""
        (self._swaps if swapped else self._refused).inc()

    def items(self, count: int) -> None:
        """Note how many items the model has that answers."""
        self._items.set(count)

    def page(self) -> bytes:
        """Return all of it in the text format of Prometheus."""
        return generate_latest(self.registry)


class Measured:
    """ASGI middleware that counts requests; paths without a route are counted together.

    Parameters
    ----------
    app
        What answers.
    measures
        Counts.
    paths
        Paths of the service.
    """

    def __init__(self, app: "ASGIApp", measures: Measures, paths: frozenset[str]) -> None:
        self._app, self._measures, self._paths = app, measures, paths

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noted(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._measures.took(path, status, time.perf_counter() - began)
