"""The cost of TLS on a local cluster: its start, and a task that does nothing."""

import time
from statistics import median
from typing import Any

from report import row

from l3ae_dist.runtime.backends.local import local_cluster

REPEATS = 5
TASKS = 1000


def encryption(details: dict[str, Any]) -> list[dict[str, Any]]:
    """Start clusters with and without encryption in turns, and run empty tasks on each."""
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for _ in range(REPEATS):
        for encrypted, times in found.items():
            times.append(_times(encrypted=encrypted))
    details["encryption"] = {"tls": found[True], "tcp": found[False], "tasks": TASKS}
    (start, task), (plain_start, plain_task) = (
        tuple(map(median, zip(*found[encrypted], strict=True))) for encrypted in (True, False)
    )
    return [
        row("start of a local cluster of two workers with TLS, over without", start, "s", plain_start),
        row("a task that does nothing with TLS, over without", task * 1e3, "ms", plain_task * 1e3),
    ]


def _times(*, encrypted: bool) -> tuple[float, float]:
    """Return the seconds of a start and of one empty task."""
    begun = time.perf_counter()
    with local_cluster(
        workers=2, threads=1, memory_budget=2**30, dashboard=False, encrypted=encrypted
    ) as session:
        started = time.perf_counter() - begun
        session.client.gather(session.client.map(abs, range(TASKS), pure=False))  # connections are open now
        begun = time.perf_counter()
        session.client.gather(session.client.map(abs, range(TASKS), pure=False))
        return started, (time.perf_counter() - begun) / TASKS
