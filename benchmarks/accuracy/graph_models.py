"""LightGCN and AlphaRec, written small from their papers, for this benchmark alone.

Both propagate embeddings over the normalised graph of users and items. LightGCN (He et al., SIGIR 2020)
learns an embedding of each user and item by BPR; AlphaRec (Sheng et al., ICLR 2025) maps text embeddings of
items, and the mean of those of a user's items, by a small network, and learns it by InfoNCE.
"""

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import nn
from torch.nn import functional

from accuracy.measure import NDCG, of_users
from accuracy.methods import Data, ScoredModel, Setting

DIM = 64
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Epochs between looks at the validation part, and looks without a better one after which training ends.
LOOK, PATIENCE = 5, 10
# Users of a look: a sample is enough to stop by.
LOOK_USERS = 10_000


def propagation(train: sparse.csr_matrix) -> torch.Tensor:
    """Return the symmetric normalised adjacency of users and items, ``D^-1/2 A D^-1/2``, sparse."""
    users, items = train.shape
    links = train.tocoo()
    rows = np.concatenate([links.row, users + links.col])
    columns = np.concatenate([users + links.col, links.row])
    degrees = np.maximum(np.bincount(rows, minlength=users + items), 1)
    values = 1 / np.sqrt(degrees[rows] * degrees[columns])
    graph = sparse.csr_matrix((values.astype(np.float32), (rows, columns)), shape=(users + items,) * 2)
    indices = (torch.from_numpy(part.astype(np.int64)) for part in (graph.indptr, graph.indices))
    values = torch.from_numpy(graph.data)
    with warnings.catch_warnings():  # that such tensors are in beta
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(*indices, values, graph.shape, check_invariants=True)


class Propagate(torch.autograd.Function):
    """Product with a symmetric sparse matrix, whose gradient is the same product."""

    @staticmethod
    def forward(context, graph: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        context.graph = graph
        return graph @ vectors

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> tuple[None, torch.Tensor]:
        return None, context.graph @ gradient


def convolved(graph: torch.Tensor, vectors: torch.Tensor, layers: int) -> torch.Tensor:
    """Average the vectors of all layers, each of which is the one before it propagated once.

    Parameters
    ----------
    graph, vectors
        (nodes, nodes) and (nodes, d).
    layers
        Number of propagations.
    """
    total = vectors
    for _ in range(layers):
        vectors = Propagate.apply(graph, vectors)
        total = total + vectors
    return total / (layers + 1)


class LightGCNNet(nn.Module):
    """Embeddings of users and items, propagated; trained by BPR with an L2 penalty of the batch."""

    def __init__(self, data: Data, setting: Setting) -> None:
        super().__init__()
        self.users, self.items = data.train.shape
        self.layers, self.penalty = int(setting["layers"]), float(setting["penalty"])
        self.graph = propagation(data.train).to(DEVICE)
        self.table = nn.Parameter(0.1 * torch.randn(self.users + self.items, DIM))
        self.negatives = 1

    def vectors(self) -> torch.Tensor:
        """Return the vectors of all users and items."""
        return convolved(self.graph, self.table, self.layers)

    def loss(self, users: torch.Tensor, liked: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Compute BPR of triples, with the squares of the embeddings that they are made of."""
        found, other = self.vectors(), others[:, 0]
        nodes = (users, self.users + liked, self.users + other)
        user, good, bad = (found[node] for node in nodes)
        ranking = functional.softplus((user * bad).sum(1) - (user * good).sum(1)).mean()
        squares = sum(self.table[node].pow(2).sum() for node in nodes) / (2 * len(users))
        return ranking + self.penalty * squares

    def final(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors of users and of items whose products are the scores."""
        found = self.vectors().cpu().numpy()
        return found[: self.users], found[self.users :]


class AlphaRecNet(nn.Module):
    """A network on text embeddings, propagated; trained by InfoNCE with sampled negatives on cosines."""

    def __init__(self, data: Data, setting: Setting) -> None:
        super().__init__()
        if data.vectors is None:
            raise ValueError("AlphaRec needs text embeddings of the items")
        texts = np.load(data.vectors).astype(np.float32)
        self.users, self.items = data.train.shape
        self.layers, self.tau = int(setting["layers"]), float(setting["tau"])
        self.graph = propagation(data.train).to(DEVICE)
        counts = np.maximum(np.asarray(data.train.sum(axis=1)), 1)
        both = np.concatenate([(data.train @ texts) / counts, texts]).astype(np.float32)
        self.texts = torch.from_numpy(both).to(DEVICE)
        hidden = int(setting["hidden"])
        self.network = nn.Sequential(
            nn.Linear(texts.shape[1], hidden), nn.LeakyReLU(), nn.Linear(hidden, DIM)
        )
        self.negatives = int(setting["negatives"])

    def vectors(self) -> torch.Tensor:
        """Return the vectors of all users and items, of unit length."""
        return functional.normalize(convolved(self.graph, self.network(self.texts), self.layers), dim=1)

    def loss(self, users: torch.Tensor, liked: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Compute InfoNCE of each liked item among sampled others, at a temperature."""
        found = self.vectors()
        user, good = found[users], found[self.users + liked]
        bad = found[self.users + others]
        logits = torch.cat([(user * good).sum(1, keepdim=True), torch.einsum("bd,bnd->bn", user, bad)], 1)
        return functional.cross_entropy(
            logits / self.tau, torch.zeros(len(users), dtype=torch.long, device=DEVICE)
        )

    def final(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors of users and of items whose products are the scores."""
        found = self.vectors().cpu().numpy()
        return found[: self.users], found[self.users :]


Net = LightGCNNet | AlphaRecNet


def batches(
    train: sparse.csr_matrix, size: int, negatives: int, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield every interaction once, in batches, each with items that the user does not have.

    Parameters
    ----------
    train
        (users, items) histories.
    size, negatives
        Interactions of a batch, and other items for each.
    rng
        Of order and items; an item that the user has is drawn again once, so that few are left.
    """
    links = train.tocoo()
    have = np.sort(links.row.astype(np.int64) * train.shape[1] + links.col)
    order = rng.permutation(len(links.row))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        users, liked = links.row[chosen].astype(np.int64), links.col[chosen].astype(np.int64)
        others = rng.integers(0, train.shape[1], (len(chosen), negatives))
        asked = users[:, None] * train.shape[1] + others
        taken = have[np.minimum(np.searchsorted(have, asked), len(have) - 1)] == asked
        others[taken] = rng.integers(0, train.shape[1], int(taken.sum()))
        yield tuple(torch.from_numpy(part) for part in (users, liked, others))


@dataclass
class Look:
    """The best epoch so far by the validation part, and the vectors of that epoch."""

    epoch: int = 0
    value: float = -1.0
    vectors: tuple[np.ndarray, np.ndarray] | None = None


def fitted(net: Net, data: Data, setting: Setting, seconds: float | None) -> ScoredModel:
    """Train a network: to the epoch of the setting where it names one, else until validation gets no better.

    Parameters
    ----------
    net, data
        The network, and what it is trained on.
    setting
        ``rate``, ``batch`` and, of a fit that is repeated, ``epochs``.
    seconds
        Training ends after so many, if not before.
    """
    optimiser = torch.optim.Adam(net.parameters(), lr=float(setting["rate"]))
    rng = np.random.default_rng(0)
    given = int(setting.get("epochs", 0))
    best, started, epoch = Look(), time.perf_counter(), 0
    while True:
        epoch += 1
        for batch in batches(data.train, int(setting["batch"]), net.negatives, rng):
            optimiser.zero_grad()
            net.loss(*(part.to(DEVICE) for part in batch)).backward()
            optimiser.step()
        over = seconds is not None and time.perf_counter() - started >= seconds
        if given:
            if epoch >= given:
                return scored(data, vectors_of(net), epoch)
        elif over or epoch % LOOK == 0:
            best = better(best, epoch, net, data)
            if over or epoch - best.epoch >= LOOK * PATIENCE:
                assert best.vectors is not None
                return scored(data, best.vectors, best.epoch)


def vectors_of(net: Net) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of users and items as they are now."""
    with torch.no_grad():
        return net.final()


def better(best: Look, epoch: int, net: Net, data: Data) -> Look:
    """Measure the validation part now, and return the better of now and the best so far.

    Parameters
    ----------
    best, epoch
        The best look so far, and the epoch of this one.
    net, data
        As in :func:`fitted`.
    """
    users = np.flatnonzero(np.diff(data.valid.indptr))[:LOOK_USERS]
    vectors = vectors_of(net)
    lists = scored(data, vectors, epoch).top_lists(users)
    popularity = np.asarray(data.train.sum(axis=0)).ravel()
    value = float(np.mean(of_users(lists, data.valid[users], popularity, NDCG))) if len(users) else 0.0
    return Look(epoch, value, vectors) if value > best.value else best


def scored(data: Data, vectors: tuple[np.ndarray, np.ndarray], epoch: int) -> ScoredModel:
    """Return a model that scores by products of vectors.

    Parameters
    ----------
    data, vectors, epoch
        Histories, vectors of users and items, and the epoch that they are of.
    """
    users, items = vectors
    return ScoredModel(
        data.train, lambda chosen: users[chosen] @ items.T, {"epochs": epoch, "device": DEVICE}
    )


def trained(
    kind: type[LightGCNNet] | type[AlphaRecNet], data: Data, setting: Setting, seconds: float | None
) -> ScoredModel:
    """Make a network and train it, the same way every time.

    Parameters
    ----------
    kind, data, setting, seconds
        :class:`LightGCNNet` or :class:`AlphaRecNet`, and as for :func:`fitted`.
    """
    torch.manual_seed(0)
    return fitted(kind(data, setting).to(DEVICE), data, setting, seconds)
