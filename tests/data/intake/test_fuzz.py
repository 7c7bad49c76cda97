"""A few damaged files, always the same ones; ``make fuzz-intake`` reads thousands of new ones."""

import subprocess
import sys
from pathlib import Path

FUZZER = Path(__file__).resolve().parents[2] / "fuzz_intake.py"


def test_damaged_files_are_read_right_or_refused(tmp_path):
    # in processes of its own: the memory that a file takes is a process's peak
    options = ["--seed=2026", "--files=60", "--seconds=0", f"--keep={tmp_path}"]
    done = subprocess.run(
        [sys.executable, str(FUZZER), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "60 files" in done.stdout
