"""Triangles as torch tensors: updates, products and solutions by block columns, nearly all of them products.

A GPU multiplies matrices at its full rate and solves with triangles at a third of it. The small triangles on
the diagonal are therefore inverted, all of them together, as MAGMA does (``magmablas_?trsm``).
"""

from collections.abc import Iterator

from l3ae_dist.linalg.staging import Tensor

# Columns of a block: products of so many columns run at the full rate, and what is computed of the other
# triangle, a half of the blocks on the diagonal, is small beside a tile.
_BLOCK = 512
# Symmetric updates have no chain of blocks, and larger ones cost less memory traffic.
_UPDATE_BLOCK = 1024
# Triangles of so many rows are inverted by substitution.
_SMALLEST = 64


def _blocks(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def symmetric_update(c: Tensor, x: Tensor, alpha: int) -> None:
    """Add ``alpha x x'`` to the lower triangle of c; n^2 (k + 1024) flops.

    Parameters
    ----------
    c
        (n, n), overwritten.
    x
        (n, k).
    alpha
        1 or -1.
    """
    n = c.shape[0]
    for block in _blocks(n, _UPDATE_BLOCK):
        rows = x[block]
        c[block, block].add_((rows @ rows.mT).tril_(), alpha=alpha)
        if block.stop < n:
            c[block.stop :, block].addmm_(x[block.stop :], rows.mT, alpha=alpha)


def solve_right(c: Tensor, lower: Tensor) -> None:
    """Solve with a transposed triangle: ``c := c lower^-T``; m n (n + 512) flops.

    Parameters
    ----------
    c
        (m, n), overwritten.
    lower
        (n, n); its upper triangle is not read.
    """
    inverses = _diagonal_inverses(lower)
    for number, block in enumerate(_blocks(c.shape[1], _BLOCK)):
        part = c[:, block]
        if block.start:
            part.addmm_(c[:, : block.start], lower[block, : block.start].mT, alpha=-1)
        part.copy_(part @ _cut(inverses[number], block).mT)


def solve_left_negated(c: Tensor, lower: Tensor) -> None:
    """Solve with a triangle, negated: ``c := -lower^-1 c``; m n (m + 512) flops.

    Parameters
    ----------
    c
        (m, n), overwritten.
    lower
        (m, m); its upper triangle is not read.
    """
    inverses = _diagonal_inverses(lower).neg_()
    for number, block in enumerate(_blocks(c.shape[0], _BLOCK)):
        part = c[block]
        if block.start:
            part.addmm_(lower[block, : block.start], c[: block.start])
        part.copy_(_cut(inverses[number], block) @ part)


def multiply_right(c: Tensor, lower: Tensor) -> None:
    """Multiply by a triangle: ``c := c lower``; m n (n + 512) flops.

    Parameters
    ----------
    c
        (m, n), overwritten.
    lower
        (n, n); its upper triangle is not read.
    """
    for block in _blocks(c.shape[1], _BLOCK):
        part = c[:, block] @ lower[block, block].tril()
        if block.stop < c.shape[1]:
            part.addmm_(c[:, block.stop :], lower[block.stop :, block])
        c[:, block].copy_(part)


def multiply_left_transposed(c: Tensor, lower: Tensor) -> None:
    """Multiply by a transposed triangle from the left: ``c := lower' c``; m n (m + 512) flops.

    Parameters
    ----------
    c
        (m, n), overwritten.
    lower
        (m, m); its upper triangle is not read.
    """
    for block in _blocks(c.shape[0], _BLOCK):
        part = lower[block, block].tril().mT @ c[block]
        if block.stop < c.shape[0]:
            part.addmm_(lower[block.stop :, block].mT, c[block.stop :])
        c[block].copy_(part)


def invert_lower(c: Tensor) -> None:
    """Invert a lower triangle, strict upper triangle zero; 2/3 n^3 flops.

    Parameters
    ----------
    c
        (n, n), overwritten.
    """
    inverses = _diagonal_inverses(c)
    for number, block in enumerate(_blocks(c.shape[0], _BLOCK)):
        inverse = _cut(inverses[number], block)
        if block.start:
            left = c[block, : block.start]
            left.copy_((inverse @ (left @ c[: block.start, : block.start])).neg_())
        c[block, block].copy_(inverse)
        c[block, block.stop :].zero_()


def _cut(inverse: Tensor, block: slice) -> Tensor:
    """Return an inverse without what the last triangle was filled up with."""
    size = block.stop - block.start
    return inverse[:size, :size]


def _diagonal_inverses(lower: Tensor) -> Tensor:
    """Return the inverses of the triangles on the diagonal, (blocks, 512, 512); the last is filled up."""
    import torch

    n = lower.shape[0]
    size = min(_BLOCK, 1 << (n - 1).bit_length())
    count = -(-n // size)
    found = torch.zeros((count, size, size), dtype=lower.dtype, device=lower.device)
    for number, block in enumerate(_blocks(n, size)):
        rows = block.stop - block.start
        found[number, :rows, :rows] = lower[block, block]
    if n % size:
        found[-1].diagonal()[n % size :] = 1
    return _inverses(found.tril_())


def _inverses(lower: Tensor) -> Tensor:
    """Invert triangles, (count, n, n) with n a power of two, by those of half their size."""
    import torch

    count, n, _ = lower.shape
    if n <= _SMALLEST:
        identity = torch.eye(n, dtype=lower.dtype, device=lower.device).expand(lower.shape)
        return torch.linalg.solve_triangular(lower, identity, upper=False)
    half = n // 2
    both = _inverses(torch.cat((lower[:, :half, :half], lower[:, half:, half:])))
    upper, under = both[:count], both[count:]
    found = torch.zeros_like(lower)
    found[:, :half, :half], found[:, half:, half:] = upper, under
    found[:, half:, :half] = -(under @ lower[:, half:, :half] @ upper)
    return found
