"""The demo twice, each time as a process of its own: everything made, then everything complete."""

import json
import subprocess
import sys
import tempfile
import time
from typing import Any

from report import publish, row


def demo(workspace: str) -> tuple[float, dict[str, Any]]:
    """Run the demo command; return its seconds and its output."""
    command = [
        sys.executable,
        "-c",
        "from l3ae_dist.cli.app import main; main()",
        "demo",
        "--workspace",
        workspace,
        "--json",
    ]
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return time.perf_counter() - started, found


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="l3ae-demo-") as folder:
        first, made = demo(f"{folder}/w")
        second, again = demo(f"{folder}/w")
    assert again["reused"]
    assert again["tiles_written"] == 0
    models, lift = made["models"], made["comparison"]
    metric = lift["metric"]
    rows = [
        row("the demo, everything made", first, "s"),
        row("the demo again, everything complete", second, "s"),
        row("test NDCG@20 of L3AE, against tuned EASE", models["L3AE"]["test"][metric], "",
            models["EASE"]["test"][metric]),
    ]  # fmt: skip
    publish("demo", rows, items=made["dataset"]["n_items"], lift=lift, stage_seconds=made["stage_seconds"])


if __name__ == "__main__":
    main()
