"""Small inputs that several tests share, and the dense formula of each member."""

import numpy as np

from l3ae_dist import AdditiveEASE, CollectiveEASE, EASEText, L3AEAdditive, L3AECollective, TextSimilarity
from l3ae_dist.linalg import closed_form as cf


def compute(session, dtype="float64", tile=16):
    address = session.client.scheduler.address
    return {"cluster": "address", "address": address, "dtype": dtype, "tile_size": tile,
            "memory_budget": "1GiB"}  # fmt: skip


def text(n, d, seed=0):
    f = np.random.default_rng(seed).standard_normal((n, d))
    return (f / np.linalg.norm(f, axis=1, keepdims=True)).astype(np.float32)


def dense_x(log, n):
    users = np.unique(log.user_id)
    x = np.zeros((len(users), n))
    x[np.searchsorted(users, log.user_id), log.item_id] = 1
    return x


DENSE = {
    "EASEText": (EASEText(2.0), lambda x, f: cf.semantic_dense(f, 2.0)),
    "TextSimilarity": (TextSimilarity(), lambda x, f: cf.text_similarity(f)),
    "CollectiveEASE": (
        CollectiveEASE(20.0, 0.7, features="embeddings"),
        lambda x, f: cf.collective_dense(x, f, 20.0, 0.7),
    ),
    "L3AECollective": (L3AECollective(1000.0, 5.0), lambda x, f: cf.collective_dense(x, f, 1000.0, 5.0)),
    "AdditiveEASE": (
        AdditiveEASE(20.0, 3.0, 0.3, features="embeddings"),
        lambda x, f: cf.additive(cf.ease_dense(x, 20.0), cf.semantic_dense(f, 3.0), 0.3),
    ),
    "L3AEAdditive": (
        L3AEAdditive(1000.0, 10.0, 0.6),
        lambda x, f: cf.additive(cf.ease_dense(x, 1000.0), cf.semantic_dense(f, 10.0), 0.6),
    ),
}
