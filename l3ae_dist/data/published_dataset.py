"""The published code's dataset folder: three sparse matrices and the items, as pickles."""

from pathlib import Path
from typing import TypeGuard

import numpy as np
from scipy import sparse

from l3ae_dist.data.pickles import MAX_BYTES, load_restricted
from l3ae_dist.data.tables import Frame, Table
from l3ae_dist.errors import DataError

_FILES = {"train": "trn_mat.pkl", "valid": "val_mat.pkl", "test": "tst_mat.pkl"}


def is_authors_layout(interactions: Table, items: "Table | None") -> "TypeGuard[str | Path]":
    """Tell whether ``interactions`` is a folder with the published code's training pickle."""
    if items is not None or not isinstance(interactions, (str, Path)):
        return False
    try:
        return (Path(interactions) / _FILES["train"]).exists()
    except (OSError, ValueError):  # no path at all, which is told where it is opened
        return False


def read_authors(folder: str | Path) -> tuple[Frame, Frame, dict[str, str], str | None]:
    """Read the published code's folder.

    Returns
    -------
    interactions and items as DataFrames (items are 0..n-1; text where ``*_items.pkl`` lists strings),
    the ingest options that fit them, and why there is no text when there is none.
    """
    import pandas as pd

    root = Path(folder)
    parts = []
    columns = 0
    for split, name in _FILES.items():
        if not (root / name).exists():
            raise DataError(f"{root} has no {name}; the layout needs {', '.join(_FILES.values())}.")
        matrix = load_restricted(root / name)
        if not sparse.issparse(matrix):
            raise DataError(f"{root / name} is not a sparse matrix; the layout needs csr, csc or coo.")
        matrix = matrix.tocoo()
        columns = max(columns, int(matrix.shape[1]))
        kept = matrix.data != 0
        parts.append(pd.DataFrame({"user_id": matrix.row[kept], "item_id": matrix.col[kept], "split": split}))
    items = pd.DataFrame({"item_id": np.arange(columns)})
    texts, no_text = _item_texts(root, columns)
    if texts is not None:
        items["text"] = texts
    changes = {"split_column": "split", "user_column": "user_id", "item_column": "item_id"}
    return pd.concat(parts, ignore_index=True), items, changes, no_text


def _item_texts(root: Path, count: int) -> tuple[list[str] | None, str | None]:
    """The texts of ``*_items.pkl``, or None and what there is instead."""
    reason = f"{root} has no *_items.pkl with a list of {count} texts"
    for path in sorted(root.glob("*_items.pkl")):
        if path.stat().st_size > MAX_BYTES:
            reason = f"{path} is over {MAX_BYTES} bytes and is not read; save embeddings as .npy"
            continue
        value = load_restricted(path)
        if isinstance(value, list) and len(value) == count and all(isinstance(text, str) for text in value):
            return value, None
        if isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind == "f":
            reason = f"{path} holds embeddings and not texts: set data.embeddings to that file"
    return None, reason
