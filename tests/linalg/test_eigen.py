"""First eigenvectors against dense ones: clusters, copies, low rank, and what the check of them finds."""

import numpy as np
import pytest
from scipy import linalg, sparse

from l3ae_dist.errors import NumericalError
from l3ae_dist.linalg import eigen
from l3ae_dist.linalg.eigen import Leading, lanczos_bytes, leading_eigenvectors, singular_vectors


@pytest.fixture(params=["dense", "lanczos"])
def method(request, monkeypatch):
    """Both methods on orders that are small."""
    monkeypatch.setattr(eigen, "_DENSE", 1024 if request.param == "dense" else 10)
    return request.param


def flat(users=500, n=300, seed=0):
    """A random matrix, whose singular values lie close to each other."""
    return sparse.random(users, n, 0.05, random_state=seed, format="csr", data_rvs=np.ones)


def copies(count=12):
    """The same block many times, so that every singular value is there as often."""
    block = (np.random.default_rng(0).random((12, 8)) < 0.4).astype(float)
    return sparse.block_diag([block] * count, format="csr")


def leading(rows, rank):
    return leading_eigenvectors(lambda v: rows.T @ (rows @ v), rows.shape[1], rank)


def projector(vectors):
    return vectors @ vectors.T


@pytest.mark.parametrize(
    ("rows", "rank"),
    [(flat(), 1), (flat(), 64), (flat(), 140), (flat(), 298), (flat(), 299), (flat(), 300),
     (copies(), 12), (copies(), 24), (copies(), 36), (copies(60), 120)],
)  # fmt: skip
def test_they_span_what_dense_ones_span(method, rows, rank):
    found = leading(rows, rank)
    values, vectors = linalg.eigh((rows.T @ rows).toarray())
    np.testing.assert_allclose(found.values, values[::-1][:rank], atol=1e-13 * values[-1])
    want = projector(vectors[:, -rank:])
    np.testing.assert_allclose(projector(found.vectors), want, atol=1e-10)
    after = values[-rank - 1] if rank < len(values) else 0.0
    assert found.next_value == pytest.approx(max(after, 0.0), abs=1e-9 * values[-1])
    assert found.defect(rows.T @ (rows @ found.vectors)) < 1e-13 * np.sqrt(rows.shape[1])


def test_the_same_bits_come_in_every_run(method):
    first, again = leading(flat(), 50), leading(flat(), 50)
    np.testing.assert_array_equal(first.vectors, again.vectors)


@pytest.mark.parametrize("rank", [40, 59, 60, 61, 100, 150])
def test_zero_singular_values_are_left_out_and_no_other(method, rank):
    """60 users span 60 dimensions, of which one has a singular value of 1e-7 of the largest."""
    left, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((60, 60)))
    right, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((150, 60)))
    values = np.append(np.linspace(2.0, 1.0, 59), 2e-7)
    rows = sparse.csr_matrix(left * values @ right.T)
    found = singular_vectors(leading(rows, min(rank, 60)), lambda: [rows[:7], rows[7:]], 1e-9)
    kept = min(rank, 60)
    assert found.vectors.shape == (150, kept)
    np.testing.assert_allclose(np.sqrt(found.values), values[:kept], rtol=1e-2)
    np.testing.assert_allclose(projector(found.vectors), projector(right[:, :kept]), atol=1e-7)
    fewer = sparse.csr_matrix(left[:, :59] * values[:59] @ right[:, :59].T)
    found = singular_vectors(leading(fewer, min(rank, 60)), lambda: [fewer], 1e-9)
    assert found.vectors.shape == (150, min(rank, 59))


def test_what_the_iteration_misses_is_found_by_the_check(monkeypatch):
    """The first answer lacks the second and third vector; what is left without them is too large."""
    monkeypatch.setattr(eigen, "_DENSE", 10)
    rows, first = flat(), eigen._first

    def lossy(times, n, rank, tolerance=0.0):
        values, vectors = first(times, n, rank + (0 if calls else 2), tolerance)
        calls.append(rank)
        return (
            (values, vectors)
            if len(calls) > 1
            else (np.delete(values, [1, 2]), np.delete(vectors, [1, 2], 1))
        )

    calls = []
    monkeypatch.setattr(eigen, "_first", lossy)
    found = leading(rows, 20)
    want = linalg.eigvalsh((rows.T @ rows).toarray())[::-1]
    np.testing.assert_allclose(found.values, want[:20], rtol=1e-13)
    monkeypatch.setattr(
        eigen, "_largest_within", lambda _times, basis, rank: (want[3 : 3 + rank], basis[:, :rank])
    )
    calls.clear()
    with pytest.raises(NumericalError, match="stay missing"):
        leading(rows, 20)


def test_the_defect_names_the_worst_of_residual_tilt_and_miss():
    values, vectors = np.array([4.0, 2.0]), np.eye(3)[:, :2]
    image = vectors * values
    assert Leading(values, vectors, 1.0).defect(image) == 0
    assert Leading(values, vectors, 2.4).defect(image) == pytest.approx(0.1)
    assert Leading(values, vectors, 1.0).defect(image + np.diag([0, 0, 0.4])[:, 1:]) == pytest.approx(0.1)
    tilted = vectors + np.diag([0.3], 1)[[0, 1, 1]]
    assert Leading(values, tilted, 1.0).defect(tilted * values) == pytest.approx(0.3)


def test_memory_grows_with_rank_and_not_with_the_square_of_the_items():
    assert lanczos_bytes(10**6, 256) < 8 * 10**6 * 800
    assert lanczos_bytes(10**4, 9000) == 32 * 10**8
