"""The tile engine against dense NumPy: factor, triangular inverse and inverse through a workspace."""

from dataclasses import replace

import numpy as np
import pytest
from tile_runs import read_lower, run_all, setup, spd

from l3ae_dist.errors import NotPositiveDefiniteError
from l3ae_dist.graphs.assemble import product_rows, row_graph
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.inverse import InverseGraph
from l3ae_dist.linalg.torch_kernels import resolve_device
from l3ae_dist.runtime.executors import SerialExecutor
from l3ae_dist.runtime.run_graph import run_graph
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
