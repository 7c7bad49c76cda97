"""The equations of the model on arrays in memory: readable, float64, and the oracle of the tests.

``x`` is users x n, ``f`` is d x n (column j embeds item j). Source: Moon, Park, Lee, "LLM-enhanced
linear autoencoders for recommendation", CIKM 2025 (arXiv 2508.13500); EASE: Steck, WWW 2019. The
factored form is the Woodbury identity applied to the paper's two closed forms.
"""

from dataclasses import dataclass

import numpy as np

from l3ae_dist.linalg.arrays import Array


def gram_inverse(x: Array, ridge: float) -> Array:
    """Invert the ridge system of a matrix: ``P = (X'X + ridge I)^-1``, n x n."""
    return np.asarray(np.linalg.inv(x.T @ x + ridge * np.eye(x.shape[1])))


def semantic_dense(f: Array, reg_f: float) -> Array:
    """Compute the semantic model C, n x n: EASE on the features.

    ``C_ij = -P1_ij / P1_jj`` with ``P1 = (F'F + reg_f I)^-1``; its diagonal is zero.
    """
    return _zero_diagonal_ratio(gram_inverse(f, reg_f))


def ease_dense(x: Array, ridge: float) -> Array:
    """Compute EASE, n x n: ``B_ij = -P_ij / P_jj`` with a zero diagonal (Steck, 2019, equation 8).

    >>> ease_dense(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]), ridge=1.0).round(3)
    array([[ 0.   ,  0.667, -0.25 ],
           [ 0.571,  0.   ,  0.375],
           [-0.286,  0.5  ,  0.   ]])
    """
    return _zero_diagonal_ratio(gram_inverse(x, ridge))


def text_similarity(f: Array) -> Array:
    """Compute the similarity of the texts, ``F'F`` with a zero diagonal, n x n."""
    similarity = f.T @ f
    np.fill_diagonal(similarity, 0)
    return similarity


def l3ae_dense(x: Array, c: Array, reg_x: float, reg_e: float) -> Array:
    """Compute L3AE by the published formula, with an n x n semantic matrix.

    ``B = reg_e P C - P diag((1 + reg_e diag(PC)) / diag(P))`` with a zero diagonal.

    Parameters
    ----------
    x
        (users, n) interactions.
    c
        (n, n) semantic model, of :func:`semantic_dense`.
    reg_x
        Ridge of the collaborative phase, which may be negative while ``reg_x + reg_e`` is positive.
    reg_e
        Weight of the semantic model, at least 0.

    Returns
    -------
    array
        B, (n, n): column j predicts item j.
    """
    p = gram_inverse(x, reg_x + reg_e)
    pc = p @ c
    b = reg_e * pc - p * ((1 + reg_e * np.diag(pc)) / np.diag(p))
    np.fill_diagonal(b, 0)
    return np.asarray(b)


def stacked(x: Array, f: Array, alpha: float) -> Array:
    """Stack ``[X; alpha F]``: the collective members take every feature for one more user.

    Parameters
    ----------
    x, f
        (users, n) interactions and (d, n) features.
    alpha
        Weight of a feature.
    """
    return np.vstack([x, alpha * f])


def collective_dense(x: Array, f: Array, ridge: float, alpha: float) -> Array:
    """Compute EASE on ``[X; alpha F]``, n x n.

    ``B_ij = -P_ij / P_jj`` with ``P = (X'X + alpha^2 F'F + ridge I)^-1``.

    Parameters
    ----------
    x, f
        (users, n) interactions and (d, n) features.
    ridge
        Added to the diagonal; positive.
    alpha
        Weight of a feature.
    """
    return ease_dense(stacked(x, f, alpha), ridge)


def additive(b_ease: Array, c: Array, alpha: float) -> Array:
    """Mix EASE with the semantic model: ``(1 - alpha) B_ease + alpha C``.

    Parameters
    ----------
    b_ease, c
        (n, n) models.
    alpha
        Share of the semantic one, from 0 to 1.
    """
    return np.asarray((1 - alpha) * b_ease + alpha * c)


def inverse_root(sums: Array) -> Array:
    """Return ``sums^-1/2``, zero where the sum is zero: who or what has no interactions stays zero."""
    positive = sums > 0
    return np.where(positive, 1.0 / np.sqrt(np.where(positive, sums, 1.0)), 0.0)


def gfcf_dense(x: Array, rank: int, alpha: float) -> Array:
    """Compute GF-CF, n x n: a linear filter and an ideal low-pass filter of the normalised interactions.

    ``N'N + alpha D^-1/2 V V' D^1/2`` with ``N = D_u^-1/2 X D^-1/2`` and V its first right singular vectors
    (Shen et al., "How powerful is graph convolution for recommendation?", CIKM 2021). The diagonal stays.
    Items that nobody has are zero.

    Parameters
    ----------
    x
        (users, n) interactions.
    rank
        Singular vectors of the low-pass filter.
    alpha
        Its weight.
    """
    degrees = x.sum(axis=0)
    normalised = inverse_root(x.sum(axis=1))[:, None] * x * inverse_root(degrees)
    _, values, v = np.linalg.svd(normalised, full_matrices=False)
    v = v[:rank][values[:rank] > 1e-9 * values[0]]
    low_pass = (inverse_root(degrees)[:, None] * v.T) @ (v * np.sqrt(degrees))
    return np.asarray(normalised.T @ normalised + alpha * low_pass)


def _zero_diagonal_ratio(p: Array) -> Array:
    b = -p / np.diag(p)
    np.fill_diagonal(b, 0)
    return np.asarray(b)


@dataclass(frozen=True)
class SemanticFactor:
    """The semantic model as ``C = diag(a) + F' V``; ``m`` is the d x d inverse, ``p1`` the diagonal of P1."""

    m: Array
    p1: Array
    a: Array
    v: Array


def semantic_factor(f: Array, reg_f: float) -> SemanticFactor:
    """Solve the semantic phase by Woodbury's identity, without an n x n matrix; 2 d^2 n + d^3 flops."""
    f = np.asarray(f, dtype=np.float64)
    m = np.linalg.inv(f @ f.T + reg_f * np.eye(f.shape[0]))
    w = m @ f
    p1 = (1 - np.einsum("ij,ij->j", f, w)) / reg_f
    a = 1 - 1 / (reg_f * p1)
    return SemanticFactor(np.asarray(m), p1, a, w / (reg_f * p1))


def cross(p: Array, f: Array) -> Array:
    """Compute ``Q = P F'``, n x d: the only place where P meets the text."""
    return np.asarray(p @ f.T)


def product_diagonal(p_diagonal: Array, a: Array, q: Array, v: Array) -> Array:
    """Compute ``pc = diag(P C) = diag(P) a + rowsum(Q * V')`` without forming P C; 2 n d flops.

    Parameters
    ----------
    p_diagonal, a
        (n,) diagonal of P, and a of :class:`SemanticFactor`.
    q, v
        (n, d) and (d, n).
    """
    return np.asarray(p_diagonal * a + np.einsum("ij,ji->i", q, v))


def column_scale(p_diagonal: Array, pc: Array, a: Array, reg_e: float) -> Array:
    """Compute ``c = reg_e a - (1 + reg_e pc) / diag(P)``, (n,): what scales the columns of P.

    Parameters
    ----------
    p_diagonal, pc, a
        (n,) diagonals of P and of P C, and a of :class:`SemanticFactor`.
    reg_e
        Weight of the semantic model, at least 0.
    """
    return np.asarray(reg_e * a - (1 + reg_e * pc) / p_diagonal)


def weights(p: Array, q: Array, v: Array, c: Array, reg_e: float) -> Array:
    """Compute ``B = P diag(c) + reg_e Q V + I``, n x n; its diagonal is zero to rounding.

    Parameters
    ----------
    p, q, v
        (n, n), (n, d) and (d, n).
    c
        (n,) of :func:`column_scale`.
    reg_e
        Weight of the semantic model.

    Examples
    --------
    The factored form is that of the paper, without an n x n semantic matrix:

    >>> x, f = np.eye(3)[[0, 0, 1, 2]] + np.eye(3)[[1, 2, 2, 2]], np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    >>> p, text = gram_inverse(x, ridge=10.0), semantic_factor(f, reg_f=1.0)
    >>> q = cross(p, f)
    >>> pc = product_diagonal(np.diag(p), text.a, q, text.v)
    >>> c = column_scale(np.diag(p), pc, text.a, reg_e=4.0)
    >>> dense = l3ae_dense(x, semantic_dense(f, reg_f=1.0), reg_x=6.0, reg_e=4.0)
    >>> bool(np.allclose(weights(p, q, text.v, c, reg_e=4.0), dense))
    True
    """
    return np.asarray(p * c + reg_e * (q @ v) + np.eye(len(c)))


def scores(x: Array, p: Array, q: Array, v: Array, c: Array, reg_e: float) -> Array:
    """Score histories: ``(x P) diag(c) + reg_e (x Q) V + x``, (users, n); column j predicts item j.

    Parameters
    ----------
    x
        (users, n) histories.
    p, q, v, c, reg_e
        As in :func:`weights`.
    """
    return np.asarray((x @ p) * c + reg_e * ((x @ q) @ v) + x)


def cold_start_column(q: Array, m: Array, f_new: Array, reg_e: float) -> Array:
    """Compute the column of an item known by its text alone: ``B_:,new = reg_e Q M f_new``, (n,).

    Parameters
    ----------
    q, m
        (n, d) and (d, d).
    f_new
        (d,) features of the item.
    reg_e
        Weight of the semantic model.
    """
    return np.asarray(reg_e * (q @ (m @ f_new)))


def product_column_scale(p_diagonal: Array, pc: Array, reg_e: float) -> Array:
    """Compute c of the direct route: ``-(1 + reg_e pc) / diag(P)``, (n,).

    There ``B = P diag(c) + reg_e (P C) + I``.

    Parameters
    ----------
    p_diagonal, pc
        (n,) diagonals of P and of P C.
    reg_e
        Weight of the semantic model.
    """
    return np.asarray(-(1 + reg_e * pc) / p_diagonal)


def new_item_row(u: Array, diagonal: Array, schur: Array | float) -> Array:
    """Compute ``C_new,:``, (n,), of a refit with one more item from the inverse without it.

    The bordered inverse has ``-u / schur`` in its new row and ``diagonal + u^2 / schur`` before it.

    Parameters
    ----------
    u
        (n,) ``S F' f`` with ``S = (F'F + reg_f I)^-1``.
    diagonal
        (n,) of S.
    schur
        ``f'f + reg_f - f'F u``.
    """
    share = u / schur
    return np.asarray(share / (diagonal + u * share))
