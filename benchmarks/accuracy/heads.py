"""A thousand heads on five inverses: the time of a sweep apart from scoring, against its factorisations.

The sweep runs in a workspace of its own, over a split of the benchmark of accuracy. Run alone, it prints
its row:

    python benchmarks/accuracy/heads.py --data toys
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from report import row

from accuracy import splits
from accuracy.splits import Split
from l3ae_dist import sweep
from l3ae_dist.config.load import make_config
from l3ae_dist.runtime.events import Event

Document = dict
DATA, TARGET = "toys", 1.5
AXES = {
    "ridge": [20, 50, 100, 200, 500],
    "whiten": [0, 0.5],
    "reg_f": [1, 5],
    "reg_e": [20, 50, 100, 200, 400],
    "alpha": [0, 0.3],
    "diagonal": ["zero", "at_most", "none"],
    "xi": [0.05, 0.1, 0.3],
}


def progress(event: Event) -> None:
    """Print what a sweep tells."""
    if event["kind"] == "log":
        print("  ", event["message"], flush=True)


def log_of(split: Split) -> pd.DataFrame:
    """Return the interactions of a split, a row each, with the part that it is in."""
    parts = []
    for name, matrix in (("train", split.train), ("val", split.valid), ("test", split.test)):
        links = matrix.tocoo()
        parts.append(pd.DataFrame({"user_id": links.row, "item_id": links.col, "split": name}))
    return pd.concat(parts)


def measured(split: Split, vectors: Path, axes: Document = AXES) -> Document:
    """Sweep over the heads of a split; return what it took, in seconds.

    Parameters
    ----------
    split, vectors
        The data, and the file of the text embeddings of the items.
    axes
        What is varied.
    """
    texts = np.load(vectors)
    names = [f"item {i}" for i in range(len(texts))]
    items = pd.DataFrame({"item_id": np.arange(len(texts)), "text": names})
    folder = tempfile.mkdtemp(prefix="l3ae-heads-")
    sections = {"workspace": folder, "sweep": axes, "compute": {"dtype": "float32"}, "report": False}
    config = make_config({**sections, "data": {"options": {"split_column": "split"}}})
    try:
        result = sweep(config, interactions=log_of(split), items=items, embeddings=texts, on_event=progress)
    finally:
        shutil.rmtree(folder)
    return figures(result)


def figures(result: Document) -> Document:
    """Return what a sweep took: in all, of it for scoring, and for its factorisations."""
    scoring = sum(
        stats["seconds"] for label, stats in result["stages"].items() if label.startswith(("rank ", "score "))
    )
    return {
        "heads": sum(one["model"] == "L3AE" for one in result["sweep"]["table"]),
        "inverses": len(result["sweep"]["factorised"]),
        "seconds": result["seconds"],
        "scoring_seconds": scoring,
        "factor_seconds": sum(one["seconds"] for one in result["sweep"]["factorised"]),
        "stage_seconds": result["stage_seconds"],
    }


def heads_row(found: Document, data: str = DATA) -> Document:
    """Return the row of the benchmark."""
    title = (
        f"{data}: {found['heads']:,} heads on {found['inverses']} inverses, time apart from scoring "
        f"({found['scoring_seconds']:.0f} s) against the factorisations"
    )
    rest = found["seconds"] - found["scoring_seconds"]
    made: Document = row(title, rest, "s", found["factor_seconds"], TARGET, smaller=True)
    return made


def kept(folder: Path) -> Document | None:
    """Return what was measured before in a folder of results, None before."""
    path = folder / "heads.json"
    return json.loads(path.read_text()) if path.is_file() else None


def measure(folder: Path, split: Split, vectors: Path) -> None:
    """Measure once in a folder of results.

    Parameters
    ----------
    folder, split, vectors
        Where the result is kept, the data, and the file of the text embeddings.
    """
    if kept(folder) is None:
        found = measured(split, vectors)
        (folder / "heads.json").write_text(json.dumps(found, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=DATA, choices=list(splits.SOURCES))
    arguments = parser.parse_args()
    if lack := splits.missing(arguments.data):
        raise SystemExit(lack)
    split = splits.load(arguments.data)
    if split.vectors is None:
        raise SystemExit(f"{arguments.data} has no text embeddings in its folder")
    print(json.dumps(heads_row(measured(split, split.vectors), arguments.data), indent=1))


if __name__ == "__main__":
    main()
