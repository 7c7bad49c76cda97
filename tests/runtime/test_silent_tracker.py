"""Python's tracker of semaphores beside a local cluster."""

import subprocess
import sys

SCRIPT = """
import os
from multiprocessing import get_context, resource_tracker
from l3ae_dist.runtime.backends.local import _silent_tracker

if __name__ == "__main__":
    before = dict(os.environ)
    with _silent_tracker():
        resource_tracker.ensure_running()
    assert dict(os.environ) == before
    left = get_context("spawn").Semaphore(1)
    os._exit(0)  # as a process that is interrupted: nothing is given back
"""


def test_semaphores_that_an_interrupted_process_leaves_are_removed_without_a_word(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
