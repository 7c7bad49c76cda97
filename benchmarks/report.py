"""What every benchmark prints and writes: figures, their peer, the machine and the versions."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from l3ae_dist.runtime.versions import machine, versions

RESULTS = Path(__file__).parent / "results"


def row(name: str, ours: float, unit: str, peer: float | None = None, target: float | None = None,
        *, smaller: bool = False, faster: bool = False) -> dict[str, Any]:  # fmt: skip
    """One figure; ``target`` bounds the ratio to the peer, or the figure itself without a peer.

    The ratio is ours over the peer's; of seconds that are to be ``faster``, the peer's over ours.
    """
    ratio = None if peer is None else peer / ours if faster else ours / peer
    measured = ours if ratio is None else ratio
    met = None if target is None else (measured <= target if smaller else measured >= target)
    return {
        "name": name,
        "ours": ours,
        "peer": peer,
        "unit": unit,
        "ratio": ratio,
        "target": target,
        "met": met,
    }


def publish(name: str, rows: list[dict[str, Any]], **details: Any) -> None:
    """Print the table and write ``benchmarks/results/NAME.json``."""
    document = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "rows": rows,
        **details,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1, default=str) + "\n")
    print(f"{name}: {document['machine']}")
    for line in rows:
        peer = "" if line["peer"] is None else f"  peer {line['peer']:.4g}  ratio {line['ratio']:.3f}"
        met = "" if line["met"] is None else ("  met" if line["met"] else "  NOT met")
        goal = "" if line["target"] is None else f"  target {line['target']:g}"
        print(f"  {line['name']}: {line['ours']:.4g} {line['unit']}{peer}{goal}{met}")


def markdown(name: str) -> str:
    """The rows of a result as the table of the README."""
    document = json.loads((RESULTS / f"{name}.json").read_text())
    lines = ["| what | ours | peer | ratio | target | |", "|---|---|---|---|---|---|"]
    for line in document["rows"]:
        met = {None: "", True: "met", False: "**not met**"}[line["met"]]
        cells = [f"{line['ours']:.4g} {line['unit']}".strip()]
        cells += ["" if line[key] is None else f"{line[key]:.4g}" for key in ("peer", "ratio", "target")]
        lines.append(f"| {line['name']} | {' | '.join(cells)} | {met} |")
    return f"{document['date']}, {document['machine']}\n" + "\n".join(lines)


if __name__ == "__main__":
    import sys

    for result in sys.argv[1:]:
        print(markdown(result))
