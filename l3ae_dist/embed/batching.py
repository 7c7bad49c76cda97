"""Batches of texts by padded length: longest first, halved when memory runs out."""

from collections.abc import Callable, Sequence

import numpy as np

from l3ae_dist.linalg.arrays import Array


def token_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut texts into batches of at most ``budget`` padded tokens, longest texts first.

    Parameters
    ----------
    lengths
        Tokens of each text.
    budget
        ``len(batch) * longest text`` stays within it (a longer single text is a batch of its own).

    Returns
    -------
    Positions of the texts, each exactly once.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    for position in order:
        longest = lengths[batches[-1][0]] if batches else 0
        if batches and longest * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(position)
        else:
            batches.append([position])
    return batches


def encode_in_batches(
    texts: Sequence[str], lengths: Sequence[int], budget: int, encode: Callable[[list[str]], Array]
) -> Array:
    """Encode texts batch by batch; the result is in the order of ``texts``.

    A batch that runs out of memory is halved; a single text that does is the caller's error.

    Parameters
    ----------
    texts
        Texts to encode.
    lengths
        Tokens of each text.
    budget
        Padded tokens of a batch, as for :func:`token_batches`.
    encode
        Gives the rows of a batch, (len(batch), d).

    Returns
    -------
    (len(texts), d) of the dtype that ``encode`` gives.
    """
    waiting = token_batches(lengths, budget)[::-1]
    rows: dict[int, Array] = {}
    while waiting:
        batch = waiting.pop()
        try:
            vectors = encode([texts[i] for i in batch])
        except (RuntimeError, MemoryError) as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            half = len(batch) // 2
            waiting += [batch[half:], batch[:half]]
            continue
        rows.update(zip(batch, vectors, strict=True))
    return np.stack([rows[i] for i in range(len(texts))]) if texts else np.empty((0, 0), np.float32)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True for an error of PyTorch or Python that says that memory ran out."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()
