"""The semantic phase by woodbury over many sizes and ridges: right, or refused with the figures."""

import numpy as np
import pytest
from samples import dense_x

from l3ae_dist import L3AE, AdditiveEASE, EASEText
from l3ae_dist.data.features import HeldRows
from l3ae_dist.errors import NumericalError
from l3ae_dist.linalg import closed_form as cf
from l3ae_dist.linalg.spectral import choose_dtype
from l3ae_dist.solve.semantic_certificate import certify_semantic

N = 40
RIDGES = (1e-8, 1e-4, 1.0)


def options(dtype="float64", route="woodbury"):
    return {"cluster": "synchronous", "threads": 1, "dtype": dtype, "tile_size": 16, "semantic_route": route}


def features(d, scale, n=N):
    """Random texts of one length, (d, n), exact in float32."""
    f = np.random.default_rng(1).standard_normal((d, n))
    return (scale * f / np.linalg.norm(f, axis=0)).astype(np.float32)


def exact_semantic(f, reg_f):
    """C in extended precision, by Cholesky: float64 fails at the smallest ridges."""
    f = f.astype(np.longdouble)
    n = f.shape[1]
    system = f.T @ f + np.longdouble(reg_f) * np.eye(n, dtype=np.longdouble)
    lower, inverse = np.zeros_like(system), np.zeros_like(system)
    for j in range(n):
        lower[j, j] = np.sqrt(system[j, j] - lower[j, :j] @ lower[j, :j])
        lower[j + 1 :, j] = (system[j + 1 :, j] - lower[j + 1 :, :j] @ lower[j, :j]) / lower[j, j]
    for i in range(n):
        inverse[i, i] = 1 / lower[i, i]
        inverse[i, :i] = -(lower[i, :i] @ inverse[:i, :i]) / lower[i, i]
    p1 = inverse.T @ inverse
    c = -p1 / np.diag(p1)
    np.fill_diagonal(c, 0)
    return c.astype(float)


def cancellation(f, reg_f):
    """``1 / (reg_f diag(P1))``, from the inverse that does not cancel."""
    f = f.astype(np.longdouble)
    return 1 / (reg_f * np.diag(np.linalg.inv((f.T @ f).astype(float) + reg_f * np.eye(f.shape[1]))).min())


MEMBERS = {
    "L3AE": (lambda reg_f: L3AE(-5.0, reg_f, 25.0), lambda x, c: cf.l3ae_dense(x, c, -5.0, 25.0)),
    "EASEText": (EASEText, lambda _, c: c),
    "AdditiveEASE": (
        lambda reg_f: AdditiveEASE(20.0, reg_f, 0.5, features="embeddings"),
        lambda x, c: cf.additive(cf.ease_dense(x, 20.0), c, 0.5),
    ),
}


@pytest.mark.parametrize("dtype", ["float64", "auto"])
@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize(
    ("d", "name"), [(8, "L3AE"), (40, "L3AE"), (100, "L3AE"), (100, "EASEText"), (60, "AdditiveEASE")]
)
def test_b_is_right_or_refused_and_refused_only_where_it_is_wrong(
    tmp_path, small_tables, d, name, scale, dtype
):
    log, items = small_tables
    member, dense = MEMBERS[name]
    f, x = features(d, scale), dense_x(log, N)
    for reg_f in RIDGES:
        want = dense(x, exact_semantic(f, reg_f))
        model = member(reg_f).set_params(compute=options(dtype))
        refused = fitted_or_refused(model, log, items, tmp_path / f"{reg_f}", f)
        if refused:
            # whatever woodbury computes in float64 would be off by about this
            assert d >= N
            assert scale**2 / reg_f * cancellation(f, reg_f) * 1e-16 > 1e-8
            continue
        error = np.abs(model.model_.weights(range(N)) - want).max() / np.abs(want).max()
        certificate = model.certificate_
        assert certificate["semantic"] <= certificate["semantic_tolerance"]
        assert error <= (2e-4 if certificate["dtype"] == "float32" else 3e-6)
        assert certificate["dtype"] == "float64" or cancellation(f, reg_f) <= 1e3


def fitted_or_refused(model, log, items, where, f):
    """Fit a model; return the error of one that is refused."""
    try:
        model.fit(log, items, workspace=str(where), embeddings=f.T)
    except NumericalError as error:
        refused = str(error)
    else:
        return None
    assert "compute.semantic_route direct" in refused
    return refused


def test_what_woodbury_refuses_the_direct_route_computes(tmp_path, small_tables):
    log, items = small_tables
    f = features(100, 30.0)
    messages = []
    with pytest.raises(NumericalError, match=r"compute\.semantic_route direct, or a larger reg_f"):
        L3AE(-5.0, 1e-4, 25.0, compute=options()).fit(
            log, items, workspace=str(tmp_path / "w"), embeddings=f.T,
            on_event=lambda event: messages.append(str(event.get("stage"))),
        )  # fmt: skip
    assert "factor" not in messages  # before the time is spent
    model = L3AE(-5.0, 1e-4, 25.0, compute=options(route="direct"))
    model.fit(log, items, workspace=str(tmp_path / "w"), embeddings=f.T)
    want = cf.l3ae_dense(dense_x(log, N), exact_semantic(f, 1e-4), -5.0, 25.0)
    assert np.abs(model.model_.weights(range(N)) - want).max() <= 1e-10 * np.abs(want).max()
    assert "semantic" not in model.certificate_


def test_float32_is_refused_where_sums_cancel_and_auto_takes_float64(tmp_path, small_tables):
    log, items = small_tables
    f = features(60, 30.0)
    with pytest.raises(NumericalError, match=r"float32 was demanded, but by woodbury .* 1e3"):
        L3AE(-5.0, 0.1, 25.0, compute=options("float32")).fit(
            log, items, workspace=str(tmp_path / "w"), embeddings=f.T
        )
    model = L3AE(-5.0, 0.1, 25.0, compute=options("auto"))
    assert (
        model.fit(log, items, workspace=str(tmp_path / "w"), embeddings=f.T).certificate_["dtype"]
        == "float64"
    )
    # few dimensions cancel nothing, however small the ridge
    model = L3AE(-5.0, 1e-3, 25.0, compute=options("float32"))
    few = model.fit(log, items, workspace=str(tmp_path / "few"), embeddings=features(8, 1.0).T)
    assert few.certificate_["dtype"] == "float32"
    assert few.certificate_["semantic"] < 1e-6


def test_precision_follows_the_cancellation():
    assert choose_dtype(10.0, cancellation=1e3) == "float32"
    assert choose_dtype(10.0, cancellation=1.1e3) == "float64"
    assert choose_dtype(10.0, "float64", 1e9) == "float64"
    with pytest.raises(NumericalError, match="beyond float64"):
        choose_dtype(10.0, cancellation=1e11)
    with pytest.raises(NumericalError, match="beyond float64"):
        choose_dtype(10.0, cancellation=np.inf)


@pytest.mark.parametrize("reg_f", [1e-6, 1e-4, 1e-3, 1e-2, 1.0])
@pytest.mark.parametrize("d", [40, 60, 100])
def test_the_estimate_is_the_error(d, reg_f):
    f = features(d, 30.0).astype(float)
    factor = cf.semantic_factor(f, reg_f)
    if not (factor.p1 > 0).all():
        return
    arrays = HeldRows(f.T), factor.a, HeldRows(factor.v.T), factor.m
    c, want = np.diag(factor.a) + f.T @ factor.v, exact_semantic(f, reg_f)
    np.fill_diagonal(c, 0)
    error = np.abs(c - want).max() / max(np.abs(want).max(), min(1.0, np.abs(factor.a).max()))
    if error > 1e-5:
        with pytest.raises(NumericalError, match="is off by"):
            certify_semantic(*arrays, reg_f, "float64")
    if error < 3e-7:
        found = certify_semantic(*arrays, reg_f, "float64")
        assert error / 30 <= found.error <= 30 * error + 1e-15


def test_texts_that_are_all_zero_have_no_error():
    f = np.zeros((3, 5))
    factor = cf.semantic_factor(f, 2.0)
    found = certify_semantic(HeldRows(f.T), factor.a, HeldRows(factor.v.T), factor.m, 2.0, "float32")
    assert (found.error, found.cancellation) == (0.0, 1.0)
