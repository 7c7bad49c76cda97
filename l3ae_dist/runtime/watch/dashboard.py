"""The page ``/l3ae`` on the Dask dashboard: a plugin of the scheduler that keeps the view of the run.

The client tells the scheduler of the run's events in batches (topic ``l3ae``); which tiles are running the
plugin sees from the scheduler's own transitions, so that workers send nothing beside their results.
"""

import contextlib
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from distributed import SchedulerPlugin

from l3ae_dist.runtime.events import Event, TileDone, events_of
from l3ae_dist.runtime.executors import task_targets
from l3ae_dist.runtime.watch.run_view import RunView

if TYPE_CHECKING:
    from distributed import Client, Scheduler

_log = logging.getLogger(__name__)
TOPIC = "l3ae"
PAGE = "/l3ae"
# Seconds between two batches of events.
SECONDS = 1.0
# Fields of a tile's event that the view reads.
_TILE = (
    "kind", "time", "stage", "array", "i", "j", "done", "total", "flops", "bytes", "bytes_from_peers",
    "bytes_from_copies", "started", "seconds", "pid", "host", "skipped",
)  # fmt: skip


class TilesPlugin(SchedulerPlugin):  # type: ignore[misc]
    """Keeps a :class:`RunView` in the scheduler and serves it as a page and as ``/l3ae.json``."""

    name = "l3ae-tiles"
    idempotent = True

    async def start(self, scheduler: "Scheduler") -> None:
        """Add the page; called in the scheduler's event loop."""
        from distributed.dashboard.core import BokehApplication
        from tornado.ioloop import IOLoop
        from tornado.web import RequestHandler

        from l3ae_dist.runtime.watch.dashboard_page import tiles_document

        view = self.view = RunView()

        class Document(RequestHandler):
            def get(self) -> None:
                """Answer with the view as JSON."""
                self.write(view.document())

        application = BokehApplication(
            {PAGE: lambda server, extra, document: tiles_document(view, document)}, scheduler, prefix=""
        )
        application.add_handlers(r".*", [(rf"{PAGE}\.json", Document)])
        scheduler.http_application.add_application(application)
        application.initialize(IOLoop.current())
        application.start()
        _add_to_menu(scheduler)

    def log_event(self, topic: str, msg: Iterable[Mapping[str, Any]]) -> None:
        """Show a batch of events, which the client has sent."""
        if topic == TOPIC:
            self.view.take_all(events_of(msg))

    def _mark_tile(self, key: object, start: str, finish: str, *args: object, **more: object) -> None:
        """Mark the tile of a task that a worker begins or ceases to process."""
        if start != finish and "processing" in (start, finish):
            for array, i, j in task_targets([key]):
                self.view.mark_running(array, i, j, on=finish == "processing")

    transition = _mark_tile  # called by the scheduler under this name


def _add_to_menu(scheduler: "Scheduler") -> None:
    """Add the page to the menu of Dask's own pages, where this version of Dask has one."""
    with contextlib.suppress(ImportError, AttributeError, KeyError, TypeError):
        from distributed.dashboard.scheduler import template_variables

        pages = template_variables(scheduler)["pages"]
        if PAGE.strip("/") not in pages:
            pages.insert(1, PAGE.strip("/"))


def show_tiles(client: "Client", dashboard_url: str) -> str:
    """Add the page to the dashboard of a client's scheduler; returns the page's address."""
    client.register_plugin(TilesPlugin())
    return dashboard_url.removesuffix("/status") + PAGE


def _slim(event: Event) -> dict[str, object]:
    return {key: event[key] for key in _TILE} if isinstance(event, TileDone) else event.plain()


class EventSender:
    """Sends batches of events to the page in their order, without waiting for the scheduler to take them."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._waiting: list[dict[str, object]] = []
        self._sending = False

    def __call__(self, events: list[Event]) -> None:
        """Send a batch of events; called from the run's thread."""
        self._client.loop.add_callback(self._send, [_slim(event) for event in events])

    async def _send(self, events: list[dict[str, object]]) -> None:
        """Send the events that wait, one message at a time; runs in the client's event loop alone."""
        self._waiting += events
        if self._sending:
            return
        self._sending = True
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._client.scheduler.log_event(topic=TOPIC, msg=batch)
        except Exception as error:  # a page that misses something must not end the run
            _log.debug("the page was not told: %s", error)
        finally:
            self._sending = False
