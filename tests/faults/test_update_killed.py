"""SIGKILL of an update at many of its moments: the same update afterwards ends in the same bits."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from l3ae_dist import L3AE
from l3ae_dist.model.fitted import load_model
from l3ae_dist.operations.verify import verify_workspace
from l3ae_dist.runtime.events import ignore

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

ITEMS = 120
MOMENTS = 8
# Kills its own process when it is told so many events, and prints how many there were.
UPDATE = """
import os, signal, sys
import l3ae_dist

where, log, moment = sys.argv[1], sys.argv[2], int(sys.argv[3])
events = 0

def count(event):
    global events
    events += 1
    if events == moment:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    l3ae_dist.update(where, log, compute={"cluster": "synchronous"}, on_event=count)
    print(events)
"""


def log(users, seed):
    rng = np.random.default_rng(seed)
    pairs = [(u, int(i)) for u in users for i in rng.choice(ITEMS, rng.integers(2, 8), replace=False)]
    return pd.DataFrame(pairs, columns=["user_id", "item_id"])


def update(script, where, new, moment=0):
    command = [sys.executable, str(script), str(where), str(new), str(moment)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=os.environ)


def test_an_update_that_is_killed_goes_on_to_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)
    f = rng.standard_normal((ITEMS, 8)).astype(np.float32)
    compute = {"cluster": "synchronous", "dtype": "float64", "tile_size": 32, "memory_budget": "1GiB"}
    model = L3AE(reg_x=5.0, reg_f=2.0, reg_e=30.0, compute=compute)
    model.fit(
        log(range(200), 1), pd.DataFrame({"item_id": range(ITEMS)}), embeddings=f, workspace=tmp_path / "w"
    )
    log([5, 6, 300], 2).to_parquet(new := tmp_path / "new.parquet")
    (script := tmp_path / "update.py").write_text(UPDATE)
    shutil.copytree(tmp_path / "w", tmp_path / "undisturbed")
    done = update(script, tmp_path / "undisturbed", new)
    assert done.returncode == 0, done.stderr
    expected = load_model(tmp_path / "undisturbed").weights(list(range(ITEMS)))
    before = load_model(tmp_path / "w").weights(list(range(ITEMS)))
    total = int(done.stdout)
    for moment in np.unique(np.linspace(1, total, MOMENTS).astype(int)):
        where = tmp_path / f"killed-{moment}"
        shutil.copytree(tmp_path / "w", where)
        killed = update(script, where, new, int(moment))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        now = load_model(where).weights(list(range(ITEMS)))  # the old model, or the new one
        assert any(np.array_equal(now, one) for one in (before, expected))
        again = update(script, where, new)
        assert again.returncode == 0, again.stderr
        np.testing.assert_array_equal(load_model(where).weights(list(range(ITEMS))), expected)
        assert not verify_workspace(str(where), ignore).damage
        shutil.rmtree(where)
