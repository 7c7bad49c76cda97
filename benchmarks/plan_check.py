"""``l3ae-dist plan`` as a user calls it: seconds for a million items, and what cannot run is refused."""

import json
import subprocess
import sys
import time
from statistics import median
from typing import Any

from report import publish, row

MILLION = ["--items", "1e6", "--users", "1e8", "--interactions", "5e9", "--dim", "4096"]
CLUSTERS = {
    "64 workers of 32 threads and 64 GiB, float32": [
        "--workers",
        "64",
        "--worker-memory",
        "64GiB",
        "--threads",
        "32",
        "--dtype",
        "float32",
    ],
    "256 workers of 32 threads and 32 GiB, float32": [
        "--workers",
        "256",
        "--worker-memory",
        "32GiB",
        "--threads",
        "32",
        "--dtype",
        "float32",
    ],
    "16 workers with a GPU and 128 GiB, float32": [
        "--workers",
        "16",
        "--worker-memory",
        "128GiB",
        "--device",
        "cuda",
        "--dtype",
        "float32",
    ],
}
SECONDS, REPEATS = 5.0, 3


def plan(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from l3ae_dist.cli.app import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "plan", *MILLION, *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def timed(arguments: list[str]) -> tuple[float, dict[str, Any]]:
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        done = plan(*arguments, "--json")
        seconds.append(time.perf_counter() - started)
        if done.returncode:
            raise SystemExit(f"plan failed: {done.stderr}")
    return median(seconds), json.loads(done.stdout)


def rows() -> list[dict[str, Any]]:
    """Make the figures; exit with an error when a plan is wrong or too slow."""
    table = []
    for name, arguments in CLUSTERS.items():
        seconds, found = timed(arguments)
        flops = sum(s["flops"] for s in found["stages"] if s["name"] in ("factor", "linv", "invert"))
        assert abs(flops / 1e18 - 1) < 1e-6, f"{flops} flops instead of n^3"
        assert found["projected_peak_bytes"] <= found["memory_budget"]
        table.append(row(f"plan for a million items, {name}", seconds, "s", None, SECONDS, smaller=True))
        table.append(row("  its estimate of the whole run", found["seconds"] / 3600, "h"))
    refused = plan("--workers", "64", "--worker-memory", "2GiB")
    assert refused.returncode == 2, f"exit code {refused.returncode} instead of 2"
    assert "The smallest change that fits" in refused.stderr, refused.stderr
    print(refused.stderr.strip())
    return table


if __name__ == "__main__":
    found = rows()
    publish("plan", found)
    if not all(line["met"] in (None, True) for line in found):
        raise SystemExit(f"a plan took more than {SECONDS:g} s")
