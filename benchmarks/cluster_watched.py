"""The cost of being watched: the page on the dashboard, the events in the workspace, Dask's report.

The seconds spent in the run's thread and in the scheduler's plugin, which share a process on the local back
end, are added up in one real fit, with tiles of the plan's choice: smaller tiles cost a larger share. The
scheduler's seconds are those while workers compute. Packing the batches in the client's event loop is not
counted; it waits for nobody.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
from report import row

from l3ae_dist.config.load import make_config
from l3ae_dist.data.synthetic import zipf_log
from l3ae_dist.pipeline.run import run
from l3ae_dist.runtime import event_store
from l3ae_dist.runtime.backends.dask_session import DaskSession
from l3ae_dist.runtime.watch import dashboard

N, USERS, PER_USER, D = 12_288, 20_000, 20, 64


@contextmanager
def clocked(owner: Any, name: str, spent: dict[str, float]) -> Iterator[None]:
    """Add up the seconds in a function while the block runs."""
    original: Callable[..., Any] = getattr(owner, name)
    key = f"{getattr(owner, '__name__', owner)}.{name}"

    def timed(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return original(*arguments, **options)
        finally:
            spent[key] = spent.get(key, 0.0) + time.perf_counter() - started

    with patch.object(owner, name, timed):
        yield


def rows() -> list[dict[str, Any]]:
    """Measure the costs as shares of a fit's time."""
    import pandas as pd

    spent: dict[str, float] = {}
    watched = [
        (dashboard.EventSender, "__call__"),
        (dashboard.TilesPlugin, "transition"), (dashboard.TilesPlugin, "log_event"),
        (event_store.EventStore, "append"), (event_store.EventStore, "finish"),
    ]  # fmt: skip
    folder = tempfile.mkdtemp(prefix="l3ae-watched-")
    config = make_config(
        {
            "workspace": f"{folder}/w",
            "data": {"options": {"split": "none"}},
            "model": {"reg_x": 100, "reg_f": 5, "reg_e": 100},
            "compute": {"workers": 2, "threads": 1, "memory_budget": "1GiB", "dtype": "float32"},
        }
    )
    items = pd.DataFrame({"item_id": np.arange(N)})
    features = np.random.default_rng(0).standard_normal((N, D), dtype=np.float32)
    try:
        with ExitStack() as stack:
            for owner, name in watched:
                stack.enter_context(clocked(owner, name, spent))
            report: list[float] = []
            original = DaskSession.performance_report

            def timed_report(self: DaskSession, path: Any) -> Callable[[], None]:
                write = original(self, path)

                def written() -> None:
                    started = time.perf_counter()
                    write()
                    report.append(time.perf_counter() - started)

                return written

            stack.enter_context(patch.object(DaskSession, "performance_report", timed_report))
            log = zipf_log(USERS, PER_USER, N)
            result = run(config, interactions=log, items=items, embeddings=features, until="fit")
    finally:
        shutil.rmtree(folder)
    fit = result["stage_seconds"]["fit"]
    tiles = sum(stage["written"] for stage in result["stages"].values())
    print(f"  {tiles} tiles, fit {fit:.1f} s: {spent}, report {report}", flush=True)
    return [
        row(f"page and events of a fit of {tiles:,} tiles (n = {N}), over the fit", sum(spent.values()), "s",
            fit, 0.01, smaller=True),
        row("Dask's report at its end", sum(report), "s"),
    ]  # fmt: skip
