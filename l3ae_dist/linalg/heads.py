"""Heads of one inverse: every linear autoencoder of the family from ``P = (X'WX + Lambda + ridge I)^-1``.

W weights the users, Lambda penalises the items as dropout does, and the rest is n-vectors in
``B = offdiag(pull P C - diag(r) P diag(gamma) diag(s))``: a bound on the diagonal is a gamma, popularity is r
and s. Only W, Lambda and the ridge change the inverse. Sources: EASE (Steck, WWW 2019), EDLAE (Steck, NeurIPS
2020), LAE, RLAE, DLAE, RDLAE (Moon, Kim, Lee, SIGIR 2023), DAN (arXiv 2504.05805), DEQL (arXiv 2603.07402),
L3AE (Moon, Park, Lee, CIKM 2025).
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from l3ae_dist.linalg.arrays import Array

Diagonal: TypeAlias = Literal["zero", "at_most", "none"]
"""Constraint on the diagonal of B: ``B_jj = 0``, ``B_jj <= xi``, or none."""


@dataclass(frozen=True, slots=True)
class LinearObjective:
    """The loss that a linear autoencoder minimises, by the parameters of the papers.

    Parameters
    ----------
    reg_x, reg_e
        Ridge weight, and weight of the distance to the semantic model.
    p
        Share of the interactions that are dropped at random while training.
    alpha, beta
        Exponents of the popularity of items and of the lengths of histories (DAN).
    diagonal, xi
        Constraint on the diagonal, and its bound for ``at_most``.
    a, b
        Weights of dropped and of kept interactions (DEQL); None for dropout with rescaling (EDLAE).
    weighted_dropout
        Whether dropout penalises counts weighted by the users, as its expectation does; DAN's published code
        takes them as they are.
    """

    reg_x: float = 0.0
    reg_e: float = 0.0
    p: float = 0.0
    alpha: float = 0.0
    beta: float = 0.0
    diagonal: Diagonal = "zero"
    xi: float = 0.0
    a: float | None = None
    b: float | None = None
    weighted_dropout: bool = False

    @property
    def is_deql(self) -> bool:
        """True where dropped and kept interactions have weights of their own."""
        return self.a is not None and self.b is not None

    @property
    def squares(self) -> float:
        """Mean squared weight of an interaction, ``m = p a^2 + (1 - p) b^2``; 1 without weights."""
        if self.a is None or self.b is None:
            return 1.0
        return self.p * self.a**2 + (1 - self.p) * self.b**2

    @property
    def scale(self) -> float:
        """Factor of ``X'X`` in the loss, which is divided by it: ``g = (1 - p)^2 m`` for DEQL and else 1."""
        return (1 - self.p) ** 2 * self.squares if self.is_deql else 1.0

    @property
    def ridge(self) -> float:
        """Addend of the diagonal of the Gram matrix, ``(reg_x + reg_e) / g``, to twelve digits."""
        return float(f"{(self.reg_x + self.reg_e) / self.scale:.12g}")

    @property
    def pull(self) -> float:
        """Weight of the semantic model in B, ``reg_e / g``."""
        return self.reg_e / self.scale

    @property
    def weighs_penalty(self) -> bool:
        """True where dropout penalises weighted counts: for DEQL, which is an expectation, or on demand."""
        return (self.is_deql or self.weighted_dropout) and self.beta != 0 and self.p != 0


@dataclass(frozen=True, slots=True)
class Head:
    """The vectors that make an inverse a model.

    Parameters
    ----------
    gamma
        (n,) factors of the columns of ``-P``.
    level
        What is added to the diagonal so that it is zero: (n,), or one number.
    diagonal
        (n,) diagonal of the optimum, which is left out of the scores.
    """

    gamma: Array
    level: Array | float
    diagonal: Array


def row_weights(lengths: Array, beta: float) -> Array:
    """Weight users by the lengths of their histories: ``max(n_u, 1)^-beta``, (users,)."""
    return np.maximum(np.asarray(lengths, np.float64), 1.0) ** -beta


def popularity_scales(popularity: Array, alpha: float) -> tuple[Array, Array]:
    """Return ``r = max(n_i, 1)^alpha`` and ``s = 1 / r``, (n,) each (DAN).

    >>> popularity_scales(np.array([0, 4]), alpha=0.5)
    (array([1., 2.]), array([1. , 0.5]))
    """
    r = np.maximum(np.asarray(popularity, np.float64), 1.0) ** alpha
    return r, 1.0 / r


def dropout_factor(p: float) -> float:
    """Return ``p / (1 - p)``: Lambda is this times the diagonal of ``X'X`` (Steck, 2020)."""
    return p / (1.0 - p)


def system_matrix(x: Array, objective: LinearObjective) -> tuple[Array, Array]:
    """Compute ``X'WX`` and the diagonal of Lambda, (n, n) and (n,), of a dense (users, n) matrix."""
    weights = row_weights(np.count_nonzero(x, axis=1), objective.beta)
    gram = x.T @ (weights[:, None] * x)
    counted = np.diag(gram) if objective.weighs_penalty else np.einsum("ui,ui->i", x, x)
    return gram, dropout_factor(objective.p) * counted


def free_diagonal(p_diagonal: Array, pc: Array | float, penalty: Array, pull: float) -> Array:
    """Compute the diagonal of the optimum without a constraint: ``1 + pull pc - diag(P) penalty``.

    Parameters
    ----------
    p_diagonal
        (n,) diagonal of P.
    pc
        (n,) diagonal of P C; 0 without text.
    penalty
        (n,) diagonal of Lambda plus the ridge.
    pull
        Weight of the semantic model.
    """
    return np.asarray(1 + pull * pc - p_diagonal * penalty)


def head(
    objective: LinearObjective,
    p_diagonal: Array,
    pc: Array | float,
    penalty: Array | float,
    gram_diagonal: Array | float = 0.0,
) -> Head:
    """Solve the constraint on the diagonal, O(n).

    ``gamma_j`` is ``(1 + pull pc_j) / p_j`` for ``B_jj = 0``, ``penalty_j`` without a constraint, and for
    ``B_jj <= xi`` the larger of ``penalty_j`` and ``(1 - xi + pull pc_j) / p_j``.

    Parameters
    ----------
    objective
        What is minimised.
    p_diagonal
        (n,) diagonal of P.
    pc
        (n,) diagonal of P C; 0 without text.
    penalty
        (n,) diagonal of Lambda plus the ridge; not used for a zero diagonal.
    gram_diagonal
        (n,) diagonal of X'WX; used by DEQL alone.
    """
    if objective.is_deql:
        return _deql_head(objective, p_diagonal, pc, penalty, gram_diagonal)
    pull = objective.pull
    if objective.diagonal == "zero":
        return Head(np.asarray((1 + pull * pc) / p_diagonal), 1.0, np.zeros_like(p_diagonal))
    penalties = np.broadcast_to(np.asarray(penalty, np.float64), p_diagonal.shape)
    free = free_diagonal(p_diagonal, pc, penalties, pull)
    if objective.diagonal == "none":
        return Head(penalties, 1.0 - free, free)
    bounded = np.minimum(objective.xi, free)
    gamma = np.maximum(penalties, (1 - objective.xi + pull * pc) / p_diagonal)
    return Head(gamma, 1.0 - bounded, bounded)


def _deql_head(
    objective: LinearObjective,
    p_diagonal: Array,
    pc: Array | float,
    penalty: Array | float,
    gram_diagonal: Array | float,
) -> Head:
    """Solve column j with its diagonal ``t_j``: the others are those of EDLAE, with ``f_j`` for 1.

    ``f_j = 1 / (1 - p) - b^2 t_j / m``, ``gamma_j = (f_j + pull pc_j) / p_j``; t_j is 0, or where the
    derivative of the loss by it is.
    """
    kept, b2, m = 1 - objective.p, float(objective.b or 0.0) ** 2, objective.squares
    t = np.zeros_like(p_diagonal)
    if objective.diagonal == "none":
        explained = gram_diagonal + penalty - 1 / p_diagonal
        of_text = -objective.pull * pc / p_diagonal
        slope = kept * b2 * gram_diagonal - kept**2 * b2**2 * explained / m
        t = kept * b2 * (gram_diagonal - explained - kept * of_text)
        t = t / (slope + objective.reg_x + objective.reg_e)
    f = 1 / kept - b2 * t / m
    return Head(np.asarray((f + objective.pull * pc) / p_diagonal), f, t)


def linear_dense(
    x: Array, objective: LinearObjective, c: Array | None = None, *, keep_diagonal: bool = False
) -> Array:
    """Compute B of any member, n x n, from dense arrays.

    Parameters
    ----------
    x
        (users, n) interactions.
    objective
        What is minimised.
    c
        (n, n) semantic model; None without text.
    keep_diagonal
        Whether the diagonal is that of the optimum; otherwise it is zero, as when scoring.

    Examples
    --------
    Without dropout, weights and text, a zero diagonal makes EASE:

    >>> x = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    >>> linear_dense(x, LinearObjective(reg_x=1.0)).round(3)
    array([[ 0.   ,  0.667, -0.25 ],
           [ 0.571,  0.   ,  0.375],
           [-0.286,  0.5  ,  0.   ]])
    """
    gram, dropout = system_matrix(x, objective)
    penalty = dropout + objective.ridge
    p = np.linalg.inv(gram + np.diag(penalty))
    product = np.zeros_like(p) if c is None else p @ c
    made = head(objective, np.diag(p), np.diag(product), penalty, np.diag(gram))
    r, s = popularity_scales(np.count_nonzero(x, axis=0), objective.alpha)
    b = objective.pull * product - r[:, None] * p * (made.gamma * s)
    np.fill_diagonal(b, made.diagonal if keep_diagonal else 0.0)
    return np.asarray(b)
