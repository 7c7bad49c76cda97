"""What the workers of a Dask session do, for the report of a test that failed or hung on them."""

import sys
import threading
import traceback

# Frames of a thread that are shown, the innermost ones.
_FRAMES = 6
# Where threads wait for work.
_IDLE = {"_worker", "_bootstrap", "_recv", "select", "run_forever"}


def stacks():
    """Return the innermost frames of each thread of this process that does not wait for work."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found = []
    for ident, frame in sys._current_frames().items():
        lines = traceback.extract_stack(frame)
        if lines[-1].name not in _IDLE and ident != threading.get_ident():
            shown = "".join(traceback.format_list(lines[-_FRAMES:]))
            found.append(f"thread {names.get(ident, ident)}:\n{shown}")
    return "\n".join(found)


def waiting(dask_scheduler):
    """Return the state of each task and each worker that the scheduler has."""
    tasks = [f"{key}: {task.state} {task.processing_on or ''}" for key, task in dask_scheduler.tasks.items()]
    workers = [f"{address}: {worker.status}" for address, worker in dask_scheduler.workers.items()]
    return "\n".join([*workers, *tasks])


def told(session):
    """Tell what the scheduler and the workers of a session do, as far as they answer."""
    lines = [f"client: {session.client.status}, {sorted(session.client.futures)}"]
    try:
        lines.append(session.client.run_on_scheduler(waiting))
        for address, text in session.client.run(stacks, on_error="return").items():
            lines.append(f"{address}:\n{text}")
    except Exception as error:  # the test has failed anyhow
        lines.append(f"no answer: {error!r}")
    return "\n".join(lines)
