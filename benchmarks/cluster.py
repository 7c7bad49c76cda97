"""Cluster runs: what each back end costs and how it scales; ``make bench-cluster`` runs all parts.

``--only NAME`` runs some of them and keeps the figures of the others.
"""

from collections.abc import Callable
from typing import Any

import cluster_backends
import cluster_throttled
import cluster_watched
import store_rates
from report import Part, run_parts

PARTS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "backends": cluster_backends.rows,
    "scaling": cluster_backends.scaling_rows,
    "stores": store_rates.rows,
    "throttled": cluster_throttled.rows,
    "watched": cluster_watched.rows,
}


def without_details(rows: Callable[[], list[dict[str, Any]]]) -> Callable[[], Part]:
    return lambda: (rows(), {})


if __name__ == "__main__":
    run_parts("cluster", {name: without_details(rows) for name, rows in PARTS.items()}, __doc__)
