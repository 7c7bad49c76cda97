"""Systems with known inverses, systems that need more digits, and systems that have no inverse."""

import numpy as np
import pytest
from job import configuration
from tile_runs import read_lower, run_all, setup

from l3ae_dist.config.load import make_config
from l3ae_dist.data.dataset import Dataset
from l3ae_dist.data.linear_systems import spectrum
from l3ae_dist.errors import NotPositiveDefiniteError, NumericalError
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.linalg.spectral import certificate_tolerance, choose_dtype
from l3ae_dist.pipeline.run import run
from l3ae_dist.runtime.executors import DaskExecutor
from l3ae_dist.runtime.run_graph import run_graph
from l3ae_dist.storage.workspace import Workspace

pytestmark = [pytest.mark.faults]

SIZE, ENGINE_TILE = 210, 32


def tridiagonal(diagonal, beside):
    return np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)


def kms(rho, n=SIZE):
    """``rho^|i-j|`` (Kac, Murdock, Szegő) and its inverse."""
    index = np.arange(n)
    diagonal = np.full(n, 1 + rho**2)
    diagonal[[0, -1]] = 1
    inverse = tridiagonal(diagonal, np.full(n - 1, -rho)) / (1 - rho**2)
    return rho ** np.abs(index[:, None] - index), inverse


def smaller_index(n=SIZE):
    """``min(i, j)`` and its inverse."""
    index = np.arange(1, n + 1)
    diagonal = np.full(n, 2.0)
    diagonal[-1] = 1
    return np.minimum(index[:, None], index).astype(float), tridiagonal(diagonal, np.full(n - 1, -1.0))


KNOWN = {
    "kms 0.3": lambda: kms(0.3),
    "kms 0.9": lambda: kms(0.9),
    "kms 0.999": lambda: kms(0.999),
    "kms -0.9": lambda: kms(-0.9),
    "min(i, j)": smaller_index,
}


def inverse_of(tmp_path, matrix, dtype):
    arrays, context = setup(tmp_path, matrix, ENGINE_TILE, dtype)
    run_all(context, 0.0)
    lower = np.tril(read_lower(arrays["P"]))
    return lower + np.tril(lower, -1).T


@pytest.mark.parametrize("name", KNOWN)
def test_known_inverses_are_found_to_the_digits_that_the_condition_leaves(tmp_path, name):
    matrix, inverse = KNOWN[name]()
    kappa = np.linalg.cond(matrix)
    dtype = choose_dtype(kappa)
    assert dtype == ("float32" if kappa <= 1e4 else "float64")
    error = np.abs(inverse_of(tmp_path, matrix, dtype) - inverse).max() / np.abs(inverse).max()
    bound = 10 * np.finfo(dtype).eps * kappa
    print(f"{name}: kappa {kappa:.1e}, {dtype}, error {error:.1e}, bound {bound:.1e}")
    assert error <= bound


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bad_scaling_costs_no_digits(tmp_path, dtype):
    """``D A D``: the condition is that of A, however far the entries of D are apart (van der Sluis 1969)."""
    matrix, inverse = kms(0.9)
    scale = 10.0 ** np.random.default_rng(0).uniform(-4, 4, SIZE)
    scaled = matrix * np.outer(scale, scale)
    assert np.linalg.cond(scaled) > 1e12
    got = inverse_of(tmp_path, scaled, dtype) * np.outer(scale, scale)
    bound = 10 * np.finfo(dtype).eps * np.linalg.cond(matrix)
    assert np.abs(got - inverse).max() <= bound * np.abs(inverse).max()


def test_too_few_digits_are_noticed_and_named(tmp_path):
    basis = np.linalg.qr(np.random.default_rng(1).standard_normal((SIZE, SIZE)))[0]
    matrix = (basis * np.logspace(0, -9, SIZE)) @ basis.T  # positive definite, but not in float32
    with pytest.raises(
        NotPositiveDefiniteError, match=r"item \d+ .*in float32; use a larger ridge or float64"
    ):
        inverse_of(tmp_path / "single", matrix, "float32")
    got = inverse_of(tmp_path / "double", matrix, "float64")
    assert np.abs(got @ matrix - np.eye(SIZE)).max() <= 10 * np.finfo(float).eps * 1e9


@pytest.mark.dask
@pytest.mark.parametrize("item", [0, 31, 32, 137, SIZE - 1])
def test_an_indefinite_system_names_the_item_across_processes(tmp_path, cluster, item):
    matrix = kms(0.5)[0]
    matrix[item, item] = -1
    _, context = setup(tmp_path, matrix, ENGINE_TILE, "float64")
    executor = DaskExecutor(cluster.client)
    with pytest.raises(NotPositiveDefiniteError, match=rf"item {item} .*ridge 0\.25") as error:
        run_graph(CholeskyGraph(context.grid, ridge=0.25), context, executor, targets={"L"})
    assert (error.value.tile, error.value.item) == (item // ENGINE_TILE, item)


@pytest.fixture(scope="module")
def largest_eigenvalue(inputs, tmp_path_factory):
    """Of the catalog's Gram matrix, by the estimate that runs use."""
    where = tmp_path_factory.mktemp("spectrum") / "w"
    result = run(configuration(inputs, where), until="ingest")
    workspace = Workspace.open(where)
    return spectrum(workspace, Dataset(workspace, result["dataset"]["id"]))


def with_condition(inputs, where, kappa, lambda_max, dtype, compute):
    values = configuration(inputs, where, **{**compute, "dtype": dtype, "tile_size": 256}).model_dump()
    values["model"] = {"name": "ease", "reg_x": lambda_max / (kappa - 1)}
    return make_config(values)


@pytest.mark.dask
@pytest.mark.parametrize(
    ("kappa", "dtype", "arithmetic"),
    [
        (0.999e4, "float32", "float32"),
        (0.999e5, "float32", "float64"),
        (1.01e4, "float64", "auto"),
        (1e6, "float64", "float64"),
        (1e8, "float64", "auto"),
    ],
)
def test_the_condition_chooses_the_precision_and_the_certificate_says_so(
    tmp_path, inputs, on_cluster, largest_eigenvalue, kappa, dtype, arithmetic
):
    compute = {**on_cluster, "arithmetic": arithmetic}
    config = with_condition(inputs, tmp_path / "w", kappa, largest_eigenvalue, "auto", compute)
    certificate = run(config, until="fit")["certificate"]
    print(certificate)
    assert certificate["dtype"] == dtype
    assert certificate["condition"] == pytest.approx(kappa, rel=1e-6)
    assert certificate["arithmetic"] == (dtype if arithmetic == "auto" else arithmetic)
    both = (dtype, certificate["condition"], certificate["arithmetic"])
    assert certificate["tolerance"] == certificate_tolerance(*both)
    assert 0 < certificate["residual"] <= certificate["tolerance"]


@pytest.mark.dask
@pytest.mark.parametrize(
    ("kappa", "dtype", "sentence"),
    [
        (1.01e4, "float32", "float32 was demanded, but the condition estimate 1.0e\\+04"),
        (1e6, "float32", "float32 was demanded, but the condition estimate 1.0e\\+06"),
        (1e8, "float32", "float32 was demanded, but the condition estimate 1.0e\\+08"),
        (1e14, "auto", "1.0e\\+14 is beyond float64"),
        (1e14, "float64", "1.0e\\+14 is beyond float64"),
    ],
)
def test_too_little_precision_is_refused_before_the_cluster_is_used(
    tmp_path, inputs, on_cluster, record, largest_eigenvalue, kappa, dtype, sentence
):
    config = with_condition(inputs, tmp_path / "w", kappa, largest_eigenvalue, dtype, on_cluster)
    with pytest.raises(NumericalError, match=f"{sentence}.*larger ridge"):
        run(config, until="fit")
    assert record.lines() == []
