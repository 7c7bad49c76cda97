"""One fit and one evaluation by the published dense formulas, in a process of its own.

``python sweep_peer.py FOLDER REG_X REG_F REG_E`` reads ``x.npz``, ``valid.npz`` and ``f.npy`` from FOLDER and
prints one JSON object: seconds of the fit, seconds of the evaluation, and NDCG@20 on the validation split.
"""

import json
import sys
import time

import numpy as np
from engine_peers import published_weights
from scipy import sparse

from l3ae_dist.metrics import per_user

_USERS = 2048


def main(folder: str, reg_x: float, reg_f: float, reg_e: float) -> None:
    x = sparse.load_npz(f"{folder}/x.npz").astype(np.float64)
    valid = sparse.load_npz(f"{folder}/valid.npz")
    f = np.load(f"{folder}/f.npy").T.astype(np.float64)
    started = time.perf_counter()
    b = published_weights(x, f, reg_x, reg_f, reg_e)
    fitted = time.perf_counter()
    values = []
    for start in range(0, x.shape[0], _USERS):
        rows = x[start : start + _USERS]
        scores = np.asarray(rows @ b)
        scores[rows.nonzero()] = -np.inf
        best = np.argpartition(scores, -20, axis=1)[:, -20:]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        top = np.take_along_axis(best, order, axis=1)
        values.append(per_user(top, valid[start : start + _USERS], "ndcg@20"))
    found = {
        "fit": fitted - started,
        "evaluate": time.perf_counter() - fitted,
        "ndcg@20": float(np.nanmean(np.concatenate(values))),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], *map(float, sys.argv[2:]))
