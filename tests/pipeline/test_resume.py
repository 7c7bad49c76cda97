"""A run killed with SIGKILL, all of its processes at once, and the same command again."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from l3ae_dist.operations.status import workspace_status
from l3ae_dist.pipeline.run import run
from l3ae_dist.storage.workspace import Workspace

pytestmark = pytest.mark.dask

SCRIPT = """
import sys
import numpy as np, pandas as pd
from l3ae_dist.config.load import make_config
from l3ae_dist.pipeline.run import run

def tables():
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.integers(0, 2000, 20000), "item_id": rng.integers(0, 900, 20000)})
    return log, pd.DataFrame({"item_id": range(900)})

def settings(where):
    compute = {"dtype": "float32", "tile_size": 64, "memory_budget": "1GiB", "dashboard": False, "threads": 1}
    return make_config({"workspace": where, "model": {"name": "ease", "reg_x": 50}, "compute": compute})

if __name__ == "__main__":
    log, items = tables()
    run(settings(sys.argv[1]), interactions=log, items=items, until="fit")
"""


def done_tiles(where):
    try:
        arrays = workspace_status(where).arrays
    except OSError:  # the workspace is just being made
        return 0
    return sum(count.done for path, count in arrays.items() if path.startswith("factors/"))


@pytest.mark.timeout(240)
def test_a_killed_run_goes_on_where_it_was_and_ends_in_the_same_bits(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    where = str(tmp_path / "killed")
    process = subprocess.Popen([sys.executable, str(script), where], start_new_session=True)
    deadline = time.time() + 120
    while done_tiles(where) < 60 and process.poll() is None and time.time() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = set(Workspace.open(where).blobs.list("meta/done/factors"))
    total = 3 * 15 * 16 // 2
    assert 0 < len(before) < total

    scope: dict = {"__name__": "job"}
    exec(compile(SCRIPT, "job", "exec"), scope)
    log, items = scope["tables"]()
    events: list[dict] = []
    run(scope["settings"](where), interactions=log, items=items, until="fit", on_event=events.append)
    again = {
        (e["array"], e["i"], e["j"])
        for e in events
        if e["kind"] == "tile" and e["stage"] in ("factor", "linv", "invert") and not e["skipped"]
    }
    finished = {(key.split("/")[-2], *map(int, key.split("/")[-1].split(".")[:2])) for key in before}
    assert not again & finished
    undisturbed = str(tmp_path / "undisturbed")
    run(scope["settings"](undisturbed), interactions=log, items=items, until="fit")
    one, other = (
        Workspace.open(path).inverse.as_dask().compute(scheduler="synchronous")
        for path in (where, undisturbed)
    )
    np.testing.assert_array_equal(one, other)
