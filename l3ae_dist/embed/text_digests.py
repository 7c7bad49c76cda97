"""Digests of embedded texts, stored beside the embeddings: equal for equal texts under one encoder.

A digest depends on the encoder and its parameters, not on the row of the text. Rows of other embeddings of
the workspace are found by it, whatever their catalog and order; embeddings that were given have none.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from l3ae_dist.config.embedding import EncoderConfig
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.embed.encoder_identity import encoder_fields
from l3ae_dist.errors import DamagedTileError, StageMissingError
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.storage import layout
from l3ae_dist.storage.chunks import ChunkArray
from l3ae_dist.storage.fingerprint import fingerprint
from l3ae_dist.storage.rows import read_rows
from l3ae_dist.storage.workspace import Workspace

_BYTES = 16
_DTYPE = f"S{_BYTES}"
_ROWS = 1 << 14
# Of embeddings that are compared, as float32.
_ENTRIES = 1 << 21


def digest_texts(texts: Iterable[str], encoder: str) -> Array:
    """Return the digests of texts under an encoder, (texts,) of 16 bytes; ``encoder`` is its fingerprint."""
    key = encoder.encode()
    digests = (blake2b(text.encode(), digest_size=_BYTES, key=key).digest() for text in texts)
    return np.frombuffer(b"".join(digests), _DTYPE)


def dataset_digests(dataset: Dataset, options: EncoderConfig) -> Array:
    """Return the digests of all texts of a dataset, read by ranges.

    Rows of several arithmetics are told apart by the ``dtype`` of the options, which ``auto`` is not.
    """
    encoder = fingerprint(encoder_fields(options))
    starts = range(0, dataset.n_items, _ROWS)
    return np.concatenate([digest_texts(dataset.texts(start, start + _ROWS), encoder) for start in starts])


def write_digests(workspace: Workspace, identifier: str, digests: Array) -> None:
    """Store the digests of the rows of embeddings, unless they are there.

    Parameters
    ----------
    workspace, identifier
        The embeddings, which need not be there yet.
    digests
        (n,) as :func:`dataset_digests` gives them.
    """
    n = len(digests)
    if workspace.has(layout.digests(identifier)) and not _begins(workspace, identifier, digests):
        workspace.delete(layout.digests(identifier))  # of a killed run, with another arithmetic
    array = ChunkArray.create(
        workspace, layout.digests(identifier), shape=(n, _BYTES), chunks=(min(n, _ROWS), _BYTES), dtype="u1"
    )
    finished, rows = array.done(), digests.view(np.uint8).reshape(n, _BYTES)
    for i in range(array.grid[0]):
        if (i, 0) not in finished:
            array.write(i, 0, rows[array.row_range(i)])


def _begins(workspace: Workspace, identifier: str, digests: Array) -> bool:
    """Tell whether the digests that are there are some of those given."""
    try:
        array = ChunkArray.open(workspace, layout.digests(identifier))
        rows = digests.view(np.uint8).reshape(len(digests), _BYTES)
        return array.shape == rows.shape and all(
            np.array_equal(array.read(i, 0), rows[array.row_range(i)]) for i, _ in array.done()
        )
    except (StageMissingError, DamagedTileError):
        return False


def read_digests(workspace: Workspace, identifier: str) -> Array:
    """Read the digests of the rows of embeddings.

    Raises
    ------
    StageMissingError, DamagedTileError
        Where they are not there, not whole, or damaged.
    """
    array = ChunkArray.open(workspace, layout.digests(identifier))
    rows = np.ascontiguousarray(read_rows(array, 0, array.shape[0]))
    return rows.view(_DTYPE).reshape(-1)


def digested(workspace: Workspace) -> list[str]:
    """List the ids of all embeddings with digests, sorted."""
    return sorted({layout.identifier_of(key) for key in workspace.blobs.list(layout.Kind.DIGESTS)})


def first_of_texts(dataset: Dataset, rows: ChunkArray) -> Array:
    """Mark the first item of every distinct text that is not empty, (n,) bool.

    Parameters
    ----------
    dataset
        The items; of items without texts the embeddings are compared instead.
    rows
        Their embeddings: n of them, the first ones of the dataset.
    """
    step = max(1, min(_ROWS, _ENTRIES // rows.shape[1]))
    starts = range(0, rows.shape[0], step)
    ranges = ((start, min(start + step, rows.shape[0])) for start in starts)
    parts = [_digests_of(dataset, rows, *one) for one in ranges]
    digests = np.concatenate([part for part, _ in parts])
    first = np.zeros(len(digests), bool)
    first[np.unique(digests, return_index=True)[1]] = True
    # an empty text equals empty ones alone, and is never marked
    return np.asarray(first & np.concatenate([filled for _, filled in parts]))


def _digests_of(dataset: Dataset, rows: ChunkArray, start: int, stop: int) -> tuple[Array, Array]:
    """Return the digests of a range of items, and which of them are not empty."""
    if dataset.has_text:
        texts = dataset.texts(start, stop)
        return digest_texts(texts, ""), np.array([bool(text.strip()) for text in texts])
    block = read_rows(rows, start, stop)
    digests = (blake2b(row.tobytes(), digest_size=_BYTES).digest() for row in block)
    return np.frombuffer(b"".join(digests), _DTYPE), np.asarray(block.any(axis=1))
