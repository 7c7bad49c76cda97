"""Observers of a run: the tiles on the dashboard, Dask's own report; none of them may end the run."""

import contextlib
import time
from collections.abc import Iterator

from l3ae_dist.runtime.backends.dask_session import DaskSession
from l3ae_dist.runtime.backends.session import Session
from l3ae_dist.runtime.event_log import EventLog
from l3ae_dist.runtime.events import Message, RunEnd
from l3ae_dist.storage import layout
from l3ae_dist.storage.workspace import Workspace

# Dask's report of a shorter solve tells nothing for its 2 MB.
REPORTED_SECONDS = 5.0


@contextlib.contextmanager
def tiles_on_dashboard(session: Session, events: EventLog) -> Iterator[None]:
    """Show the run's tiles on the dashboard during the ``with`` block, where there is a dashboard."""
    if not isinstance(session, DaskSession) or not session.dashboard_url:
        yield
        return
    from l3ae_dist.runtime.watch.dashboard import SECONDS, EventSender, show_tiles

    try:
        page = show_tiles(session.client, session.dashboard_url)
    except Exception as error:  # whatever an older or smaller scheduler answers
        _say(events, "the scheduler shows no tiles", error)
        yield
        return
    events(Message(message=f"Tiles: {page}"))
    send = EventSender(session.client)
    end = events.follow(send, SECONDS)
    outcome = "stopped"
    try:
        yield
        outcome = "its work on these workers is complete"
    finally:
        end()
        send([RunEnd(outcome=outcome)])  # to the page alone: the run itself still writes its result


@contextlib.contextmanager
def dask_report(session: Session, workspace: Workspace, events: EventLog) -> Iterator[None]:
    """Keep Dask's performance report of the ``with`` block in the workspace, beside the events.

    Parameters
    ----------
    session
        One without a dashboard has no report.
    workspace
        Keeps the report of a block that took at least ``REPORTED_SECONDS``.
    events
        Named like the report; takes a message where there is none.
    """
    if not isinstance(session, DaskSession) or not session.dashboard_url:
        yield
        return
    started = time.monotonic()
    with workspace.scratch_dir() as folder:
        try:
            write = session.performance_report(folder / "dask.html")
        except Exception as error:  # as above
            _say(events, "Dask makes no report", error)
            write = None
        yield
        if write is None or time.monotonic() - started < REPORTED_SECONDS:
            return
        try:
            write()
            data = (folder / "dask.html").read_bytes()
            workspace.blobs.put(layout.dask_report(events.name), [data])
        except Exception as error:  # the model is there, and more than its report
            _say(events, "Dask's report is not kept", error)


def _say(events: EventLog, what: str, error: Exception) -> None:
    events(Message(message=f"{what} ({type(error).__name__}: {error})"))
