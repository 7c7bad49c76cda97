"""Tile kernels against NumPy's own arithmetic, at 8 n eps of the result's scale."""

import contextlib

import numpy as np
import pytest

from l3ae_dist.errors import BudgetError, ConfigError, NotPositiveDefiniteError
from l3ae_dist.linalg.kernels import CpuKernels, get_kernels
from l3ae_dist.linalg.staging import Staging, tensor_view
from l3ae_dist.linalg.torch_kernels import TorchKernels, resolve_device
from l3ae_dist.linalg.visible_gpus import gpu_of, gpu_visible, visible_gpus

SIZES = [(1, 1, 1), (3, 5, 2), (64, 64, 64), (700, 300, 513), (1100, 1100, 1100)]


needs_gpu = pytest.mark.skipif(resolve_device("auto") != "cuda", reason="torch sees no GPU")


class Stub:
    """Stands for a CUDA stream or event where there is no GPU: everything is done at once."""

    def __init__(self, *arguments):
        pass

    def __getattr__(self, name):
        return lambda *arguments: None


def staged_kernels(monkeypatch, arithmetic="float32"):
    """Torch on the CPU by the path of a GPU: handles are copies, operands go through the buffers."""
    import torch

    monkeypatch.setattr(torch.cuda, "Stream", Stub)
    monkeypatch.setattr(torch.cuda, "Event", Stub)
    monkeypatch.setattr(torch.cuda, "current_stream", Stub)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: None)
    kernels = TorchKernels("cpu", arithmetic)
    kernels._staging = Staging(kernels.device)
    return kernels


@pytest.fixture(params=["cpu", "torch:cpu", "staged", pytest.param("cuda", marks=needs_gpu)])
def kernels(request, monkeypatch):
    """Each back end in turn."""
    return staged_kernels(monkeypatch) if request.param == "staged" else get_kernels(request.param)


@pytest.fixture
def run(kernels):
    """Load, one kernel, store; operands are read-only, as the reader hands them out."""

    def call(name, acc, *operands):
        for operand in operands:
            if isinstance(operand, np.ndarray):
                operand.flags.writeable = False
        handle = kernels.load(acc)
        getattr(kernels, name)(handle, *operands)
        kernels.store(handle, acc)

    return call


def random(rng, dtype, *shape, padded=False):
    if padded:  # a ragged tile is a view with the row stride of the full chunk
        return rng.standard_normal((shape[0] + 3, shape[1] + 5)).astype(dtype)[: shape[0], : shape[1]]
    return rng.standard_normal(shape).astype(dtype)


def lower_factor(rng, dtype, n):
    return (np.tril(rng.standard_normal((n, n)) / np.sqrt(n)) + 2 * np.eye(n)).astype(dtype)


def assert_close(got, want, dtype, n):
    np.testing.assert_allclose(got, want, atol=8 * n * np.finfo(dtype).eps * np.abs(want).max(), rtol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("m", "n", "k"), SIZES)
def test_products_equal_numpy(run, dtype, padded, m, n, k):
    rng = np.random.default_rng(0)
    acc = random(rng, dtype, m, n, padded=padded)
    for kernel, a, b, want in [
        ("gemm_nt", (m, k), (n, k), lambda c, a, b: c - a @ b.T),
        ("gemm_nn", (m, k), (k, n), lambda c, a, b: c + a @ b),
        ("gemm_tn", (k, m), (k, n), lambda c, a, b: c + a.T @ b),
    ]:
        x, y = random(rng, dtype, *a, padded=padded), random(rng, dtype, *b, padded=padded)
        expected = want(acc.astype(float), x.astype(float), y.astype(float))
        run(kernel, acc, x, y)
        assert_close(acc, expected, dtype, k + 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 3), (300, 700), (1100, 60)])
def test_symmetric_updates_touch_the_lower_triangle_only(run, dtype, n, k):
    rng = np.random.default_rng(1)
    for kernel, shape, want in [
        ("syrk_n", (n, k), lambda c, a: c - a @ a.T),
        ("syrk_t", (k, n), lambda c, a: c + a.T @ a),
    ]:
        acc, a = random(rng, dtype, n, n), random(rng, dtype, *shape)
        expected = np.tril(want(acc.astype(float), a.astype(float))) + np.triu(acc, 1)
        run(kernel, acc, a)
        assert_close(acc, expected, dtype, k + 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 130, 513, 1500])
def test_triangular_kernels_equal_numpy(run, dtype, n):
    rng = np.random.default_rng(2)
    lower = lower_factor(rng, dtype, n)
    exact = lower.astype(float)
    inverse = np.linalg.inv(exact)
    read = lower + np.triu(random(rng, dtype, n, n), 1)  # what is above the diagonal must not count
    m = 70
    for kernel, shape, want in [
        ("trsm_rt", (m, n), lambda x: x @ inverse.T),
        ("trsm_ll", (n, m), lambda x: -inverse @ x),
        ("trmm_rn", (m, n), lambda x: x @ exact),
        ("trmm_lt", (n, m), lambda x: exact.T @ x),
    ]:
        x = random(rng, dtype, *shape)
        expected = want(x.astype(float))
        run(kernel, x, read)
        assert_close(x, expected, dtype, 4 * n)
    factor = np.tril(exact @ exact.T).astype(dtype) + np.triu(read, 1)
    run("potrf", factor)
    assert_close(factor, exact, dtype, 16 * n)
    w = read.copy()
    run("trtri", w)
    assert_close(w, inverse, dtype, 4 * n)
    for strict in (factor, w):
        assert not np.triu(strict, 1).any()
    p = w.copy()
    run("lauum", p)
    run("symmetrize", p)
    assert_close(p, inverse.T @ inverse, dtype, 16 * n)
    np.testing.assert_array_equal(p, p.T)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_work_in_place_on_ragged_tiles(run, dtype):
    rng = np.random.default_rng(4)
    lower = lower_factor(rng, dtype, 130)
    exact = lower.astype(float)
    chunk = np.full((140, 200), 7, dtype)
    tile = chunk[:130, :130]
    tile[:] = exact @ exact.T
    run("add_ridge", tile, 0.5)
    expected = np.linalg.cholesky(exact @ exact.T + 0.5 * np.eye(130))
    run("potrf", tile)
    assert_close(tile, expected, dtype, 16 * 130)
    assert (chunk[130:] == 7).all()
    assert (chunk[:, 130:] == 7).all()


@pytest.mark.parametrize("bad", [-1.0, 0.0])
def test_a_bad_pivot_is_named(run, bad):
    a = np.eye(1300)
    a[1207, 1207] = bad
    with pytest.raises(NotPositiveDefiniteError) as error:
        run("potrf", a)
    assert error.value.item == 1207


@pytest.mark.parametrize("device", ["torch:cpu", pytest.param("cuda", marks=needs_gpu)])
def test_a_pivot_that_is_not_a_number_is_named(device):
    kernels = get_kernels(device)
    a = np.eye(300)
    a[207, 207] = np.nan
    handle = kernels.load(a)
    with pytest.raises(NotPositiveDefiniteError) as error:
        kernels.potrf(handle)
    assert error.value.item == 207


@pytest.mark.parametrize("device", ["cpu", "torch:cpu", "staged", pytest.param("cuda", marks=needs_gpu)])
def test_float32_tiles_computed_in_float64_are_rounded_once(monkeypatch, device):
    """Each result is the float64 result rounded: a sum in float32 is off by far more than half a unit."""
    wide = staged_kernels(monkeypatch, "float64") if device == "staged" else get_kernels(device, "float64")
    rng = np.random.default_rng(7)
    n, m, k = 130, 70, 513
    square, tall = (random(rng, np.float32, *shape, padded=True) for shape in ((n, n), (n, k)))
    other, rows = random(rng, np.float32, m, k), random(rng, np.float32, m, n)
    lower = lower_factor(rng, np.float32, n)
    exact, big = lower.astype(float), square.astype(float)
    spd = (exact @ exact.T).astype(np.float32)
    inverse = np.linalg.inv(exact)
    operations = [
        ("gemm_nt", rows.T, (tall, other), rows.T.astype(float) - tall.astype(float) @ other.T),
        ("gemm_nn", rows, (other, tall.T.copy()), rows + other.astype(float) @ tall.T),
        ("gemm_tn", rows, (other.T.copy(), tall.T.copy()), rows + other.astype(float) @ tall.T),
        ("syrk_n", square, (tall,), np.tril(big - tall.astype(float) @ tall.T) + np.triu(big, 1)),
        ("trsm_rt", rows, (lower,), rows @ inverse.T),
        ("trsm_ll", rows.T, (lower,), -inverse @ rows.T),
        ("trmm_rn", rows, (lower,), rows @ exact),
        ("trmm_lt", rows.T, (lower,), exact.T @ rows.T),
        ("potrf", spd, (), np.linalg.cholesky(spd.astype(float))),
        ("trtri", lower, (), inverse),
    ]
    for kernel, start, operands, want in operations:
        acc = np.array(start, np.float32, order="C")
        for operand in operands:
            operand.flags.writeable = False
        handle = wide.load(acc)
        getattr(wide, kernel)(handle, *operands)
        wide.store(handle, acc)
        np.testing.assert_allclose(acc, want.astype(np.float32), rtol=2e-7, atol=1e-9, err_msg=kernel)


def test_arithmetic_never_narrows_tiles(monkeypatch):
    acc = np.full((2, 2), 1 + 1e-12)
    for kernels in (CpuKernels("float32"), TorchKernels("cpu", "float32"), staged_kernels(monkeypatch)):
        handle = kernels.load(acc)
        kernels.add_ridge(handle, 1.0)
        kernels.store(handle, acc)
    assert acc[0, 0] == pytest.approx(4 + 1e-12, abs=1e-15)


def test_an_accumulator_stays_loaded_over_many_updates_of_changing_operands(kernels):
    rng = np.random.default_rng(5)
    acc = np.zeros((40, 30))
    expected = np.zeros_like(acc)
    a, b = np.empty((40, 20)), np.empty((20, 30))  # buffers that the reader fills again and again
    handle = kernels.load(acc)
    for _ in range(9):
        a[:], b[:] = rng.standard_normal(a.shape), rng.standard_normal(b.shape)
        expected += a @ b
        kernels.gemm_nn(handle, a, b)
    kernels.store(handle, acc)
    assert_close(acc, expected, np.float64, 200)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 300), (40, 33)])
def test_tiles_reach_the_device_and_come_back_in_pieces(monkeypatch, rows, columns):
    monkeypatch.setattr("l3ae_dist.linalg.staging.PIECE_BYTES", 2000)
    staging = staged_kernels(monkeypatch)._staging
    tile = random(np.random.default_rng(3), np.float32, rows, columns, padded=True)
    tile.flags.writeable = False
    there, back = staging.upload(tile), np.zeros_like(tile)
    staging.download(there, back, staging.mark())
    assert there.shape == tile.shape
    np.testing.assert_array_equal(back, tile)


def test_a_tensor_on_a_read_only_tile_shares_its_memory():
    tile = np.arange(12.0).reshape(3, 4)[:, :3]
    tile.flags.writeable = False
    view = tensor_view(tile)
    assert view.data_ptr() == tile.ctypes.data
    np.testing.assert_array_equal(view.numpy(), tile)


@pytest.mark.parametrize("message", [None, "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"])
def test_a_full_device_is_an_error_with_bytes_and_the_next_step(monkeypatch, message):
    import torch

    def full(*arguments):
        raise torch.OutOfMemoryError("no room") if message is None else RuntimeError(message)

    kernels = TorchKernels("cpu")
    handle = kernels.load(np.eye(10))
    monkeypatch.setattr("l3ae_dist.linalg.torch_kernels._lower_product", full)
    with pytest.raises(BudgetError, match=r"tile of 800 bytes .* lower compute.block or compute.tile_size"):
        kernels.lauum(handle)


def test_other_errors_of_torch_keep_their_kind():
    kernels = TorchKernels("cpu")
    handle = kernels.load(np.eye(3))
    with pytest.raises(RuntimeError, match="size"):
        kernels.gemm_nn(handle, np.eye(2), np.eye(2))


def test_auto_takes_a_gpu_only_where_one_is_seen(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not gpu_visible()
    assert resolve_device("auto") == "cpu"
    assert isinstance(get_kernels("auto"), CpuKernels)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert gpu_visible()  # torch has the last word
    assert resolve_device("auto") in ("cuda", "cpu")


@pytest.mark.parametrize(
    ("named", "seen"),
    [
        ("", []),
        ("-1", []),
        ("0", ["0"]),
        ("2, 0", ["2", "0"]),
        ("1,-1,0", ["1"]),
        ("MIG-a,MIG-b", ["MIG-a", "MIG-b"]),
    ],
)
def test_the_gpus_of_a_process_are_those_its_environment_names(monkeypatch, named, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == seen
    assert gpu_visible() == bool(seen)


def test_without_that_variable_every_device_file_is_a_gpu(monkeypatch):
    files = ["/dev/nvidia10", "/dev/nvidia2", "/dev/nvidia0-caps"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("glob.glob", lambda pattern: files)
    assert visible_gpus() == ["0", "1"]  # CUDA numbers what it sees from 0


def test_processes_share_gpus_out_in_turns(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    seen = [gpu_of(number)["CUDA_VISIBLE_DEVICES"] for number in range(4)]
    assert seen == ["3", "1", "3", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert gpu_of(1) == {}  # all see the one


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:99", "torch:tpu"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ConfigError, match="cpu"):
        get_kernels(device)


def test_tf32_is_off_even_after_it_was_asked_for():
    """In a process of its own, since the setting is global."""
    import subprocess
    import sys

    script = (
        "import torch; from l3ae_dist.linalg.torch_kernels import require_exact_float32 as off;"
        "torch.set_float32_matmul_precision('high'); off();"
        "assert torch.backends.cuda.matmul.allow_tf32 is False;"
        "assert getattr(torch.backends.cuda.matmul, 'fp32_precision', 'ieee') == 'ieee'"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
