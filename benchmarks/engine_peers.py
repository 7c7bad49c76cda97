"""Peers of the engine, each in a process of its own: ``python engine_peers.py NAME ...``.

Prints one JSON object. Memory is the peak resident set of the process.
"""

import json
import resource
import sys
import time

import numpy as np


def sgemm(n: int) -> dict:
    """Measure the rate of ``sgemm`` on n x n matrices: the median of five products."""
    a = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - started)
    return {"sgemm_gflops": 2 * n**3 / float(np.median(seconds)) / 1e9}


def lapack(n: int) -> dict:
    """Measure SciPy's ``spotrf`` and ``spotri`` in core, and the rate of ``sgemm``."""
    from scipy.linalg.lapack import spotrf, spotri
    from tile_solve import dense_system

    found = sgemm(4096)
    matrix = np.asfortranarray(dense_system(n))
    started = time.perf_counter()
    factor, info = spotrf(matrix, lower=1, overwrite_a=1)
    _, info_inverse = spotri(factor, lower=1, overwrite_c=1)
    elapsed = time.perf_counter() - started
    assert info == info_inverse == 0
    return {"seconds": elapsed, **found}


def published_weights(x, f: np.ndarray, reg_x: float, reg_f: float, reg_e: float) -> np.ndarray:
    """L3AE as published: float64, two dense inverses and a dense product."""
    n = x.shape[1]
    semantic = np.linalg.inv(f.T @ f + reg_f * np.eye(n))
    c = semantic / -np.diag(semantic)
    np.fill_diagonal(c, 0)
    p = np.linalg.inv((x.T @ x).toarray() + (reg_x + reg_e) * np.eye(n))
    product = p @ c
    scale = (1 + reg_e * np.diag(product)) / np.diag(p)
    b = reg_e * product - p * scale
    np.fill_diagonal(b, 0)
    return b


def published(path: str, reg_x: float, reg_f: float, reg_e: float) -> dict:
    """Measure the time of :func:`published_weights`; X and F from ``path``."""
    from scipy import sparse

    x = sparse.load_npz(f"{path}/x.npz").astype(np.float64)
    f = np.load(f"{path}/f.npy").T.astype(np.float64)
    started = time.perf_counter()
    b = published_weights(x, f, reg_x, reg_f, reg_e)
    elapsed = time.perf_counter() - started
    np.save(f"{path}/b.npy", b[:256].astype(np.float32))
    return {"seconds": elapsed}


def sparse_gram(path: str) -> dict:
    """Measure one SciPy ``X.T @ X`` in core."""
    from scipy import sparse

    x = sparse.load_npz(path)
    started = time.perf_counter()
    product = x.T @ x
    return {"seconds": time.perf_counter() - started, "nnz": int(product.nnz)}


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    values = [float(a) if a.replace(".", "").replace("-", "").isdigit() else a for a in arguments]
    if name in ("lapack", "sgemm"):
        result = {"lapack": lapack, "sgemm": sgemm}[name](int(values[0]))
    else:
        result = {"published": published, "sparse_gram": sparse_gram}[name](*values)
    result["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result))
