"""GF-CF as fitted against its formula in memory, whatever the spectrum and the rank."""

import numpy as np
import pandas as pd
import pytest

from l3ae_dist import GFCF
from l3ae_dist.errors import BudgetError, NumericalError
from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.linalg import eigen
from l3ae_dist.solve import spectral_filter

COMPUTE = {"cluster": "synchronous", "threads": 1, "dtype": "float64", "tile_size": 64}


def interactions(users, n, per_user, seed=0):
    """Every user and item has something; the spectrum of uniform draws is flat."""
    rng = np.random.default_rng(seed)
    x = np.zeros((users, n))
    for user in range(users):
        x[user, rng.choice(n, per_user, replace=False)] = 1
    x[rng.integers(0, users, n), np.arange(n)] = 1
    return x


def blocks(count=6):
    """Components that are copies of each other."""
    return np.kron(np.eye(count), interactions(15, 10, 3))


def gfcf(x, where, rank, **options):
    users, items = np.nonzero(x)
    log = pd.DataFrame({"user_id": users, "item_id": items})
    model = GFCF(rank, 0.3, compute={**COMPUTE, **options}, data_options={"split": "none"})
    return model.fit(log, pd.DataFrame({"item_id": range(x.shape[1])}), workspace=str(where))


@pytest.mark.parametrize("method", ["dense", "lanczos"])
@pytest.mark.parametrize(
    ("x", "rank"),
    [
        (interactions(400, 150, 6), 1),
        (interactions(400, 150, 6), 40),
        (interactions(400, 150, 6), 149),
        (interactions(400, 150, 6), 150),
        (interactions(400, 150, 6), 151),
        (interactions(400, 150, 6), 1000),
        (interactions(50, 150, 6), 49),  # rank deficient: fewer users than items
        (interactions(50, 150, 6), 150),
        (np.repeat(interactions(300, 75, 4), 2, axis=1), 150),  # twice the same column
        (interactions(1, 1, 1), 256),
        (blocks(), 6),
        (blocks(), 12),
        (blocks(), 60),
    ],
    ids=str,
)  # fmt: skip
def test_b_is_that_of_the_formula(tmp_path, monkeypatch, x, rank, method):
    monkeypatch.setattr(eigen, "_DENSE", 1024 if method == "dense" else 10)
    monkeypatch.setattr(spectral_filter, "_USERS", 64)
    model = gfcf(x, tmp_path / "w", rank)
    want = cf.gfcf_dense(x, rank, 0.3)
    got = model.model_.weights(range(x.shape[1]))
    assert np.abs(got - want).max() <= 1e-11 * np.abs(want).max()
    certificate = model.certificate_
    assert certificate["residual"] <= certificate["tolerance"] < 1e-12


def test_vectors_that_are_none_are_refused(tmp_path, monkeypatch):
    """Whatever makes them: the check multiplies anew."""
    found = spectral_filter.leading_eigenvectors

    def turned(times, n, rank):
        right = found(times, n, rank)
        right.vectors[:, -1] += 1e-9 * right.vectors[:, 0]
        return right

    monkeypatch.setattr(spectral_filter, "leading_eigenvectors", turned)
    with pytest.raises(NumericalError, match=r"defect of 1.*e-09, over the tolerance 4\.55e-13"):
        gfcf(interactions(400, 150, 6), tmp_path / "w", 5)


def test_a_rank_that_divides_equal_singular_values_is_told(tmp_path):
    said = []
    x = blocks()
    users, items = np.nonzero(x)
    log = pd.DataFrame({"user_id": users, "item_id": items})
    model = GFCF(8, 0.3, compute=COMPUTE, data_options={"split": "none"})
    model.fit(
        log, pd.DataFrame({"item_id": range(60)}), workspace=str(tmp_path / "w"),
        on_event=lambda event: said.append(str(event.get("message"))),
    )  # fmt: skip
    assert any("rank 8 divides singular values that are equal" in message for message in said)


def test_interactions_that_do_not_fit_are_read_at_every_pass_with_the_same_result(tmp_path, monkeypatch):
    x = interactions(400, 150, 6)
    monkeypatch.setattr(spectral_filter, "_USERS", 64)
    kept = gfcf(x, tmp_path / "kept", 20).model_.weights(range(150))
    monkeypatch.setattr(spectral_filter, "_ENTRY_BYTES", 2**40)
    np.testing.assert_array_equal(gfcf(x, tmp_path / "read", 20).model_.weights(range(150)), kept)


def test_a_rank_beyond_the_budget_is_refused_with_the_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(spectral_filter, "lanczos_bytes", lambda _n, rank: rank * 2**30)
    with pytest.raises(BudgetError, match=r"first 5 singular vectors of 150 items need .* lower the rank"):
        gfcf(interactions(400, 150, 6), tmp_path / "w", 5)
