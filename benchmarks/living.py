"""A model that lives: what serving it over HTTP takes. ``make bench-living`` writes ``living.json``.

``--only NAME`` runs some of the parts and keeps the figures of the others.
"""

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import living_serving
from report import publish, results_folder

PARTS: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {"serving": living_serving.rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help=f"comma-separated parts of {', '.join(PARTS)}")
    chosen = parser.parse_args().only
    path = results_folder() / "living.json"
    kept: dict[str, Any] = json.loads(path.read_text())["parts"] if chosen and path.exists() else {}
    for name in chosen.split(",") if chosen else PARTS:
        started, details = time.perf_counter(), dict[str, Any]()
        print(f"{name} ...", flush=True)
        found = PARTS[name](details)
        date = datetime.now(UTC).isoformat(timespec="seconds")
        kept[name] = {"date": date, "rows": found, "details": details}
        print(f"  {time.perf_counter() - started:.0f} s", flush=True)
        publish("living", [line for part in PARTS if part in kept for line in kept[part]["rows"]], parts=kept)


if __name__ == "__main__":
    main()
