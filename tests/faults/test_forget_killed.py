"""SIGKILL while users are forgotten and erased, at many moments: the same call afterwards ends it."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import l3ae_dist
from l3ae_dist import L3AE
from l3ae_dist.errors import UnknownIdError
from l3ae_dist.model.fitted import load_model
from l3ae_dist.operations.verify import verify_workspace
from l3ae_dist.runtime.events import ignore

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

ITEMS = 120
GONE = "planted-QXJZWK"
# Kills its own process when so many objects were written or deleted, and prints how many there were.
FORGET = """
import os, signal, sys
import l3ae_dist
from l3ae_dist.storage.local_blobs import LocalBlobs

where, user, erase, moment = sys.argv[1], sys.argv[2], sys.argv[3] == "erase", int(sys.argv[4])
changes = 0

def counted(change):
    def call(*arguments, **options):
        global changes
        changes += 1
        if changes == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return change(*arguments, **options)
    return call

for name in ("put", "delete", "delete_prefix"):
    setattr(LocalBlobs, name, counted(getattr(LocalBlobs, name)))

if __name__ == "__main__":
    l3ae_dist.forget(where, [user], erase=erase, compute={"cluster": "synchronous"})
    print(changes)
"""


def log(users, seed):
    rng = np.random.default_rng(seed)
    pairs = [(u, int(i)) for u in users for i in rng.choice(ITEMS, rng.integers(2, 8), replace=False)]
    return pd.DataFrame(pairs, columns=["user_id", "item_id"])


def forget(script, where, how, moment=0):
    command = [sys.executable, str(script), str(where), GONE, how, str(moment)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=os.environ)


def arrays(where):
    """Count the files of each kind of artifact: no chunk is left over, and none is missing."""
    kinds = [path for path in where.iterdir() if path.is_dir() and path.name != "meta"]
    return {
        kind.name: sum(path.is_file() and path.name != "zarr.json" for path in kind.rglob("*"))
        for kind in kinds
    }


@pytest.mark.parametrize(("how", "moments"), [("pending", 6), ("erase", 16)])
def test_forgetting_that_is_killed_goes_on(tmp_path, how, moments):
    rng = np.random.default_rng(0)
    f = rng.standard_normal((ITEMS, 8)).astype(np.float32)
    compute = {"cluster": "synchronous", "dtype": "float64", "tile_size": 32, "memory_budget": "1GiB"}
    model = L3AE(reg_x=5.0, reg_f=2.0, reg_e=30.0, compute=compute)
    users = [GONE, *(f"u{number}" for number in range(150))]
    model.fit(log(users, 1), pd.DataFrame({"item_id": range(ITEMS)}), embeddings=f, workspace=tmp_path / "w")
    (script := tmp_path / "forget.py").write_text(FORGET)
    shutil.copytree(tmp_path / "w", tmp_path / "undisturbed")
    done = forget(script, tmp_path / "undisturbed", how)
    assert done.returncode == 0, done.stderr
    ids = list(range(ITEMS))
    expected, before = (load_model(tmp_path / place).weights(ids) for place in ("undisturbed", "w"))
    total = int(done.stdout)
    for moment in np.unique(np.linspace(1, total, moments).astype(int)):
        where = tmp_path / f"killed-{moment}"
        shutil.copytree(tmp_path / "w", where)
        killed = forget(script, where, how, int(moment))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        now = load_model(where).weights(ids)  # the old model, or the new one
        assert any(np.allclose(now, one, rtol=1e-12, atol=1e-14) for one in (before, expected))
        again = forget(script, where, how)
        assert again.returncode == 0, again.stderr
        np.testing.assert_allclose(load_model(where).weights(ids), expected, rtol=1e-12, atol=1e-14)
        assert not verify_workspace(str(where), ignore).damage
        with pytest.raises(UnknownIdError):
            load_model(where).recommend([GONE], 5)
        held = any(GONE.encode() in path.read_bytes() for path in where.rglob("*") if path.is_file())
        assert held is (how == "pending")
        assert arrays(where) == arrays(tmp_path / "undisturbed")
        state = "erased" if how == "erase" else "pending erasure"
        status = l3ae_dist.forget(str(where), [GONE], compute={"cluster": "synchronous"})["forget"]
        assert status["state"] == state
        shutil.rmtree(where)
