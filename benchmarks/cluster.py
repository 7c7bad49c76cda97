"""Cluster runs: what each back end costs and how it scales; ``make bench-cluster`` runs all parts.

``--only NAME`` runs some of them and keeps the figures of the others.
"""

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import cluster_backends
import cluster_throttled
import cluster_watched
import store_rates
from report import publish, results_folder

PARTS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "backends": cluster_backends.rows,
    "scaling": cluster_backends.scaling_rows,
    "stores": store_rates.rows,
    "throttled": cluster_throttled.rows,
    "watched": cluster_watched.rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help=f"comma-separated parts of {', '.join(PARTS)}")
    chosen = parser.parse_args().only
    path = results_folder() / "cluster.json"
    kept: dict[str, Any] = json.loads(path.read_text())["parts"] if chosen and path.exists() else {}
    for name in chosen.split(",") if chosen else PARTS:
        started = time.perf_counter()
        print(f"{name} ...", flush=True)
        found = PARTS[name]()
        kept[name] = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "rows": found}
        print(f"  {time.perf_counter() - started:.0f} s", flush=True)
        lines = [line for part in PARTS if part in kept for line in kept[part]["rows"]]
        publish("cluster", lines, parts=kept)  # a part that fails takes none of those before it away


if __name__ == "__main__":
    main()
