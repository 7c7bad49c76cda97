"""A thousand faults in a row, drawn by the machine of ``make chaos``; it takes about an hour."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    options = ["--seed", "14", "--draws", "1000", "--processes", "2", "--results"]
    environment = {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
    raise SystemExit(
        subprocess.run([sys.executable, "-m", "chaos", *options], env=environment, cwd=ROOT).returncode
    )


if __name__ == "__main__":
    main()
