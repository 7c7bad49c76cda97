"""Ctrl-C and SIGTERM to a run on worker processes, and a script that starts them without a main guard."""

import os
import signal
import subprocess
import sys
import tempfile

import pandas as pd
import pytest
from job import Command, environment, settings, write_config

pytestmark = [pytest.mark.faults, pytest.mark.dask]

SCRIPT = """
import pandas as pd
from l3ae_dist import EASE
log = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [0, 1, 0]})
compute = {"workers": 2, "dashboard": False, "memory_budget": "1GiB"}
EASE(reg_x=1, compute=compute).fit(log, workspace="w")
"""


def started(tmp_path, inputs, record):
    """A run on two workers, in the middle of its factorisation."""
    record.empty()
    values = settings(inputs, tmp_path / "w", workers=2, tile_size=192)
    command = Command("fit", write_config(tmp_path / "c.yaml", values), record=record.path)
    command.wait_until(lambda: len(record.written("L")) > 1)
    return command


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_is_one_sentence(tmp_path, inputs, record, times):
    command = started(tmp_path, inputs, record)
    for _ in range(times):
        os.killpg(command.pid, signal.SIGINT)  # as a terminal does: to the workers too
    code, _, err = command.finish(60)
    assert code == 130, err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: interrupted; what was finished is kept")


def test_sigterm_ends_a_run_in_order(tmp_path, inputs, record):
    command = started(tmp_path, inputs, record)
    os.kill(command.pid, signal.SIGTERM)
    code, _, err = command.finish(60)
    assert code == 143, err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: ended by a signal (SIGTERM); what was finished is kept")


@pytest.mark.ray
def test_ctrl_c_while_ray_embeds_is_one_sentence(tmp_path, record):
    record.empty()
    pd.DataFrame({"user_id": [1, 1, 2], "item_id": [0, 1, 0]}).to_parquet(tmp_path / "log.parquet")
    items = {"item_id": range(800), "text": [f"word {i} " * 40 for i in range(800)]}
    pd.DataFrame(items).to_parquet(tmp_path / "items.parquet")
    data = {"interactions": str(tmp_path / "log.parquet"), "items": str(tmp_path / "items.parquet")}
    values = {"workspace": str(tmp_path / "w"), "data": data, "encoder": {"rows_per_chunk": 10}}
    with tempfile.TemporaryDirectory(prefix="l3i-", dir="/tmp") as short:
        command = Command(
            "embed", write_config(tmp_path / "c.yaml", values), record=record.path, TMPDIR=short
        )
        embedded = lambda: [one for one in record.written() if one[0].startswith("embeddings/")]  # noqa: E731
        command.wait_until(lambda: len(embedded()) > 3)
        os.killpg(command.pid, signal.SIGINT)
        code, out, err = command.finish(60)
    assert code == 130, err
    assert "raylet" not in out + err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: interrupted; what was finished is kept")


def test_a_script_without_a_main_guard_is_told_what_to_write(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode != 0
    assert done.stderr.count("Traceback") == 1
    assert 'under `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
    assert "unlock" not in done.stderr
