"""The tile engine against dense NumPy: factor, triangular inverse and inverse through a workspace."""

from dataclasses import replace

import numpy as np
import pytest
from tile_runs import read_lower, run_all, setup, spd

from l3ae_dist.errors import ClusterError, NotPositiveDefiniteError
from l3ae_dist.graphs.assemble import product_rows, row_graph
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.context import Unwritten
from l3ae_dist.graphs.inverse import InverseGraph
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.linalg.torch_kernels import resolve_device
from l3ae_dist.runtime.executors import SerialExecutor, TaskOutcome
from l3ae_dist.runtime.run_graph import run_graph
from l3ae_dist.runtime.submission_window import SubmissionWindow
from l3ae_dist.storage.chunks import ChunkArray

needs_gpu = pytest.mark.skipif(resolve_device("auto") != "cuda", reason="torch sees no GPU")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "tile"), [(1, 4), (7, 16), (48, 16), (53, 16), (131, 16)])
def test_factor_and_inverse_equal_numpy(tmp_path, n, tile, dtype):
    matrix, ridge = spd(n), 0.5
    arrays, context = setup(tmp_path, matrix, tile, dtype)
    run_all(context, ridge)
    system = matrix + ridge * np.eye(n)
    bound = 20 * np.finfo(dtype).eps * np.linalg.cond(system) * max(n, 4)
    lower = np.linalg.cholesky(system)
    assert np.abs(read_lower(arrays["L"]) - lower).max() <= bound * np.abs(lower).max()
    inverse = np.linalg.inv(system)
    got = np.tril(read_lower(arrays["P"]))
    assert np.abs(got - np.tril(inverse)).max() <= bound * np.abs(inverse).max()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("device", ["torch:cpu", pytest.param("cuda", marks=needs_gpu)])
def test_every_device_computes_the_tiles_of_the_cpu(tmp_path, device, dtype):
    n, ridge = 53, 0.5
    matrix = spd(n)
    condition = np.linalg.cond(matrix + ridge * np.eye(n))
    results = {}
    for name in ("cpu", device):
        arrays, context = setup(tmp_path / name.replace(":", "-"), matrix, 16, dtype)
        run_all(replace(context, device=name), ridge)
        results[name] = {key: read_lower(arrays[key]) for key in ("L", "Linv", "P")}
    for key, want in results["cpu"].items():
        bound = 20 * np.finfo(dtype).eps * condition * n * np.abs(want).max()
        np.testing.assert_allclose(results[device][key], want, rtol=0, atol=bound)


@pytest.mark.parametrize("device", ["torch:cpu", pytest.param("cuda", marks=needs_gpu)])
def test_float32_tiles_computed_in_float64_hardly_depend_on_the_device(tmp_path, device):
    """Sums in float64 differ far below the rounding of the tiles, so that nearly all bits are the same."""
    n, ridge = 131, 0.5
    matrix = spd(n)
    lower = np.linalg.cholesky(matrix + ridge * np.eye(n))
    same = {}
    for arithmetic in ("float32", "float64"):
        factors = []
        for name in ("cpu", device):
            arrays, context = setup(tmp_path / arithmetic / name.replace(":", "-"), matrix, 64, "float32")
            run_all(replace(context, device=name, arithmetic=arithmetic), ridge)
            assert arrays["P"].dtype == np.float32
            factors.append(read_lower(arrays["L"]))
        same[arithmetic] = np.mean(factors[0] == factors[1])
        error = np.abs(factors[1] - lower).max() / np.abs(lower).max()
    assert same["float64"] > 0.99 > same["float32"]
    assert error < 2 * np.finfo("float32").eps


def test_row_tasks_and_bad_pivots_work_on_another_device(tmp_path):
    matrix = spd(40)
    arrays, context = setup(tmp_path / "good", matrix, 16, "float64")
    context = replace(context, device="torch:cpu")
    run_all(context)
    operand = np.random.default_rng(1).standard_normal((40, 3))
    ws = arrays["P"].workspace
    for name in ("operand", "image"):
        arrays[name] = ChunkArray.create(ws, name, shape=(40, 3), chunks=(16, 3), dtype="float64")
    for i in range(3):
        arrays["operand"].write(i, 0, operand[16 * i : 16 * (i + 1)])
    context = replace(context, paths={name: name for name in ("P", "operand", "image")})
    graph = row_graph(context.grid, "image", product_rows)
    run_graph(graph, context, SerialExecutor(), targets={"image"})
    image = np.concatenate([arrays["image"].read(i, 0) for i in range(3)])
    np.testing.assert_allclose((matrix + np.eye(40)) @ image, operand, atol=1e-10)
    matrix[37, 37] = -9
    _, context = setup(tmp_path / "bad", matrix, 16, "float64")
    with pytest.raises(NotPositiveDefiniteError, match="item 37"):
        run_all(replace(context, device="torch:cpu"))


def test_a_second_run_writes_nothing(tmp_path):
    _, context = setup(tmp_path, spd(40), 16, "float64")
    assert [stats.written for stats in run_all(context)] == [6, 6, 6]
    assert [stats.written for stats in run_all(context)] == [0, 0, 0]


def test_only_missing_tiles_are_computed_again_and_bits_are_equal(tmp_path):
    arrays, context = setup(tmp_path, spd(60), 16, "float32")
    run_all(context)
    before = read_lower(arrays["P"])
    arrays["P"].discard(2, 1)
    stats = run_graph(InverseGraph(context.grid), context, SerialExecutor(), targets={"P"})
    assert stats.written == 1
    np.testing.assert_array_equal(read_lower(arrays["P"]), before)


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "missing"])
def test_a_damaged_tile_is_made_again_before_its_consumer(tmp_path, damage):
    arrays, context = setup(tmp_path, spd(60), 16, "float32")
    run_all(context)
    before = read_lower(arrays["L"])
    path = tmp_path / "w" / "L" / "c" / "2" / "1"
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[100] ^= 4  # the trailing checksum still agrees with the done-mark
        path.write_bytes(data)
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:50] if damage == "truncate" else b"")
    arrays["L"].discard(3, 2)  # its task reads tile (2, 1)
    events = []
    run_graph(
        CholeskyGraph(context.grid, ridge=1.0),
        context,
        SerialExecutor(),
        targets={"L"},
        on_event=events.append,
    )
    np.testing.assert_array_equal(read_lower(arrays["L"]), before)
    assert any(event["kind"] == "bad_tile" for event in events) == (damage == "flip")


def test_an_indefinite_system_names_the_item(tmp_path):
    matrix = np.eye(40)
    matrix[37, 37] = -3
    _, context = setup(tmp_path, matrix, 16, "float64")
    with pytest.raises(NotPositiveDefiniteError, match="item 37") as error:
        run_all(context)
    assert (error.value.tile, error.value.item) == (2, 37)


@pytest.mark.parametrize("kill_at", [None, 30, 70, 85])
def test_panel_groups_give_the_same_bits_leave_no_partial_tile_and_resume(tmp_path, kill_at):
    matrix = spd(180)
    arrays, context = setup(tmp_path, matrix, 16, "float32")
    run_graph(CholeskyGraph(context.grid, ridge=1.0), context, SerialExecutor(), targets={"L"})
    graph = CholeskyGraph(context.grid, workers=2, ridge=1.0)
    assert graph.partials == ("partial0", "partial1")
    names = ("gram", "L", *graph.partials)
    split = replace(context, paths={name: name if name == "gram" else f"split/{name}" for name in names})
    ws = arrays["L"].workspace
    for name in names[1:]:
        ChunkArray.create(ws, f"split/{name}", shape=arrays["L"].shape, chunks=(16, 16), dtype="float32")
    events = []

    def stop(event):
        events.append(event)
        if kill_at is not None and len(events) == kill_at:
            raise KeyboardInterrupt

    if kill_at is not None:
        with pytest.raises(KeyboardInterrupt):
            run_graph(graph, split, SerialExecutor(), targets=set(names[1:]), on_event=stop)
    before = [(e["array"], e["i"], e["j"]) for e in events if e["kind"] == "tile"]
    stats = run_graph(graph, split, SerialExecutor(), targets=set(names[1:]), on_event=events.append)
    made = [(e["array"], e["i"], e["j"]) for e in events if e["kind"] == "tile" and not e["skipped"]]
    assert len(made) == len(set(made)) == len(graph)
    assert stats.written == len(graph) - len(before)
    np.testing.assert_array_equal(read_lower(ChunkArray.open(ws, "split/L")), read_lower(arrays["L"]))
    for name in graph.partials:
        assert not ChunkArray.open(ws, f"split/{name}").done()
        assert not list(ws.blobs.list(f"split/{name}/c"))


def test_a_partial_sum_is_superfluous_once_a_later_one_of_its_tile_is_done():
    chain = [
        task
        for task in CholeskyGraph(TileGrid(1100, 64), 2).tasks()
        if (task.target.i, task.target.j) == (17, 17)
    ]
    names = [task.target.array for task in chain]
    assert names == ["partial0", "partial1", "partial2", "partial3", "L"]
    for done, left in ((1, ["partial2"]), (2, ["partial3"]), (4, [])):
        window = SubmissionWindow(
            chain, {chain[done].target, *(ref for task in chain for ref in task.deps if ref.array == "L")}
        )
        found = []
        while (task := window.pop()) is not None:
            found.append(task.target.array)
        assert found == left


class Failing(SerialExecutor):
    """Fails with the error of another library, or says that a worker was killed."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def wait(self):
        return TaskOutcome(self._queue.popleft()[1], None, self.error)


@pytest.mark.parametrize(
    ("names", "kept"),
    [(set(), "kept."), ({"L"}, "kept but for tiles of L in memory alone, which are made again.")],
)
def test_a_stage_that_fails_says_what_is_kept_and_what_is_not(tmp_path, names, kept):
    from distributed.scheduler import NoValidWorkerError

    _, context = setup(tmp_path, spd(20), 16, "float64")
    context = replace(context, unwritten=Unwritten("one", frozenset(names)))
    for error in (RuntimeError("no"), NoValidWorkerError("task", set(), set(), set(), set())):
        with pytest.raises(ClusterError) as ended:
            run_graph(CholeskyGraph(context.grid, 1, 0.5), context, Failing(error), targets={"L"})
        assert str(ended.value).endswith(f"run the same command again: what was finished is {kept}")
