"""Where the reference data is, if it is: L3AE_REFERENCE, or a folder ``shared`` beside the repository."""

import json
import os
from pathlib import Path

import numpy as np
import pytest


def reference_dir() -> Path:
    root = Path(os.environ.get("L3AE_REFERENCE") or Path(__file__).resolve().parents[2] / "shared")
    if not (root / "reference" / "oracle.jsonl").exists():
        pytest.skip("the reference data is not on this machine (set L3AE_REFERENCE)")
    return root


def oracle(dataset: str, *names: str) -> list[dict]:
    lines = (reference_dir() / "reference" / "oracle.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [line for line in found if line["dataset"] == dataset and line["model"]["name"] in names]


def embeddings(dataset: str) -> np.ndarray:
    return np.load(reference_dir() / "reference" / f"{dataset}-minilm.npy")


def sources(dataset: str) -> dict[str, str]:
    folder = reference_dir() / "data" / dataset
    return {"interactions": str(folder / "interactions.parquet"), "items": str(folder / "items.parquet")}
