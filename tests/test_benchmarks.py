"""What the benchmarks compute from their measurements: rows, shares of time, replayed task graphs."""

import ast
import json
import re
import sys
from dataclasses import replace
from importlib import import_module
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

from l3ae_dist.graphs.blocks import BlockShape
from l3ae_dist.graphs.cholesky import CholeskyGraph
from l3ae_dist.graphs.inverse import InverseGraph
from l3ae_dist.linalg.tiles import TileGrid
from l3ae_dist.planning.plan import make_plan
from l3ae_dist.planning.plan_inputs import DataSize, Machine, ModelNeeds
from l3ae_dist.runtime.events import Message, event_of
from l3ae_dist.runtime.run_graph import StageStats

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in (
        "report",
        "accuracy",
        "accuracy.pages",
        "figures",
        "engine_runs",
        "engine_traffic",
        "gpu_engine",
        "gpu_options",
        "tile_solve",
        "precision",
        "scaling",
        "scaling.scaling_plot",
        "scaling.scaling_profile",
        "scaling.strong_weak",
        "scaling.jobs",
    ):
        sys.modules.pop(name, None)


def test_a_row_compares_rates_and_seconds_each_in_its_direction():
    from report import row

    rate = row("a", 30.0, "GFLOP/s", 10.0, 2)
    assert (rate["ratio"], rate["met"]) == (3.0, True)
    seconds = row("b", 5.0, "s", 10.0, 2.5, faster=True)
    assert (seconds["ours"], seconds["peer"], seconds["ratio"], seconds["met"]) == (5.0, 10.0, 2.0, False)
    assert row("c", 3.44, "", target=2.5, smaller=True)["met"] is False
    assert row("d", 1.0, "MiB", 4.0, 1 / 3, smaller=True)["met"] is True


def event(tile, pid, **times):
    array, i, j = tile
    base = {"kind": "tile", "stage": "factor", "array": array, "i": i, "j": j, "skipped": False, "flops": 1e9}
    return event_of({**base, "pid": pid, **times})


def test_shares_of_time_are_exclusive_and_add_up_to_one():
    from scaling.scaling_profile import kernel_rate, shares, tile_events

    # worker 1: reads 0-1, computes 1-5 of which 1 s waits for tiles, writes 5-6 and idles until 10
    first = event(("L", 0, 0), 1, started=0.0, staged=0.0, loaded=1.0, began=1.0, computed=4.0, stalled=1.0,
                  seconds=6.0)  # fmt: skip
    # worker 2: its second task reads while the first computes, and computes while the first writes
    second = event(("L", 1, 0), 2, started=0.0, staged=0.0, loaded=0.0, began=0.0, computed=5.0, stalled=0.0,
                   seconds=7.0)  # fmt: skip
    third = event(("L", 2, 0), 2, started=1.0, staged=1.0, loaded=2.0, began=5.0, computed=5.0, stalled=0.0,
                  seconds=9.0)  # fmt: skip
    skipped = replace(first, skipped=True)
    tiles = tile_events([first, second, third, skipped, Message()], "factor")
    assert len(tiles) == 3
    got = shares(tiles)
    assert got == {"computing": 13 / 20, "reading": 2 / 20, "writing": 1 / 20, "waiting": 4 / 20}
    assert kernel_rate(tiles) == pytest.approx(3 / 13)


def measured(graph, seconds):
    """An event of each task."""
    keys = ("started", "staged", "loaded", "began", "stalled", "seconds")
    times = dict.fromkeys(keys, 0.0)
    return [
        event((ref.array, ref.i, ref.j), 1, **times, computed=seconds)
        for task in graph.tasks()
        for ref in task.targets
    ]


def test_replaying_independent_tasks_divides_them_among_the_workers():
    from scaling.scaling_profile import makespan

    graph = InverseGraph(TileGrid(48, 4))  # 78 tasks that wait for nothing
    assert [makespan(graph, measured(graph, 2.0), workers) for workers in (1, 2, 5)] == [156, 78, 32]


def test_replaying_a_block_takes_the_time_of_all_its_tiles():
    from scaling.scaling_profile import makespan

    graph = InverseGraph(TileGrid(48, 4), block=BlockShape(3, 3))
    assert len(list(graph.tasks())) == 10
    assert makespan(graph, measured(graph, 2.0), 1) == 156


def test_replaying_a_factorisation_never_beats_its_critical_path():
    from scaling.scaling_profile import makespan

    graph = CholeskyGraph(TileGrid(48, 4), workers=2)
    tiles = measured(graph, 1.0)
    total = len(graph)
    assert makespan(graph, tiles, 1) == total
    # each column waits for its diagonal tile, which waits for the column before: two tasks a column
    assert max(total / 2, 2 * 12 - 1) <= makespan(graph, tiles, 2) < total
    assert makespan(graph, tiles, 1000) >= 2 * 12 - 1


def test_the_tables_of_the_page_are_those_of_the_results():
    from report import PAGE, stale, table

    text = PAGE.read_text()
    marks = re.findall(r"<!-- figures: ([\w-]+) -->", text)
    assert len(marks) == text.count("<!-- end -->") >= 9
    # the suites cannot have been counted before they have passed
    assert [name for name in marks if table(name) is None and name != "tests"] == [], "these have no result"
    assert stale(text) == [], "run python benchmarks/report.py --write"


def test_the_page_on_accuracy_says_what_is_not_measured_and_has_the_tables_of_what_is():
    from report import PAGES, stale, table

    text = next(page for page in PAGES if page.name == "accuracy.md").read_text()
    blocks = re.findall(r"<!-- figures: ([\w-]+) -->\n(.*?)\n<!-- end -->", text, re.DOTALL)
    assert {name for name, _ in blocks} >= {"accuracy", "accuracy-splits", "accuracy-toys", "accuracy-books"}
    assert [name for name, found in blocks if table(name) is None and found != "Not measured yet."] == []
    assert stale(text) == [], "run python benchmarks/report.py --write"


def test_a_changed_result_is_told_and_written(tmp_path, monkeypatch):
    from report import publish, renewed, row, stale

    monkeypatch.setenv("L3AE_BENCHMARK_RESULTS", str(tmp_path))
    text = "a\n<!-- figures: x-y -->\n| old |\n<!-- end -->\nb\n<!-- figures: main -->\n| by hand |\n<!-- end -->\n"
    assert stale(text) == []  # nothing is measured yet
    publish("x-y", [row("speed", 3.0, "GFLOP/s", 2.0, 1)])
    assert stale(text) == ["x-y"]
    new = renewed(text)
    assert "| speed | 3 GFLOP/s | 2 | 1.5 | 1 | met |\n<!-- end -->\nb\n" in new
    assert "| by hand |" in new
    assert stale(new) == []


def test_the_main_table_and_that_of_the_suites_come_from_results(tmp_path, monkeypatch):
    import shutil

    from report import publish, row, table

    monkeypatch.setenv("L3AE_BENCHMARK_RESULTS", str(tmp_path))
    assert table("main") is None
    shutil.copy(FOLDER / "results" / "books.json", tmp_path)
    rows = [
        row("the demo, everything made", 70.2, "s"),
        row("the demo again, everything complete", 1.31, "s"),
        row("test NDCG@20 of L3AE, against tuned EASE", 0.25, "", 0.2),
    ]
    publish(
        "demo", rows, items=9066, lift={"lift": 0.25, "lift_low": -0.01, "lift_high": 0.4, "users": 671.0}
    )
    main = table("main")
    assert "| Amazon Books, 38,519 items (dense float32 matrix: 5.9 GB), 2 GiB budget" in main
    assert "| MovieLens demo, 9,066 items: embed, tune 2 models, evaluate | 70 s | `make demo` |" in main
    assert "| +25.0 % (-1.0 to +40.0) |" in main
    publish("tests", [], suites={"make test": {"passed": 1585, "skipped": 2, "seconds": 564.0}})
    assert "| `make test` | 1,585 | 9.4 |" in table("tests")


def test_the_main_table_has_the_larger_run_where_it_was_measured(tmp_path, monkeypatch):
    import shutil

    from report import publish, result, row, table

    monkeypatch.setenv("L3AE_BENCHMARK_RESULTS", str(tmp_path))
    for name in ("books", "demo"):
        shutil.copy(FOLDER / "results" / f"{name}.json", tmp_path)
    before = table("main")
    assert "Book-Crossing" not in before
    lines = [line for line in result("books")["rows"] if not line["name"].startswith("wall time")]
    publish(
        "books-large",
        [*lines, row("wall time, embedding included", 43.21, "min", target=50, smaller=True)],
        plan={"items": 72_304, "memory_budget": 2**31},
        comparison={"lift": 0.1, "lift_low": 0.05, "lift_high": 0.15, "users": 30_000.0},
    )
    main = table("main")
    assert (
        "| Book-Crossing, 72,304 items (dense float32 matrix: 20.9 GB), 2 GiB budget per worker: embed, fit, "
        "evaluate | 43.2 min | `make bench-books-large` |"
    ) in main
    assert "over 30000 users | +10.0 % (+5.0 to +15.0)" in main
    assert set(before.splitlines()[2:]) < set(main.splitlines())


def test_every_target_is_named_for_contributors_and_every_step_has_its_script():
    from figures import STEPS

    makefile = (FOLDER.parent / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    named = re.search(
        r"`make help` lists all targets: `([^`]*)`", (FOLDER.parent / "CONTRIBUTING.md").read_text()
    )
    assert set(targets) - {"help"} == set(named[1].split())
    assert [name for name, (script, _) in STEPS.items() if not (FOLDER / script).is_file()] == []


def test_weak_scaling_gives_every_worker_the_same_work():
    from scaling.strong_weak import weak_size

    assert [weak_size(9728, workers, 1024) for workers in (1, 2, 8)] == [9728, 12_288, 19_456]


def script(path):
    """Return the Python code of a script, or of all code cells of a notebook without their magics."""
    if path.suffix == ".py":
        return path.read_text()
    cells = (cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code")
    lines = (line for cell in cells for line in [*cell["source"], "\n"])
    return "".join("\n" if line.startswith(("%", "!")) else line for line in lines)


SCRIPTS = sorted([*FOLDER.rglob("*.py"), *FOLDER.parent.glob("notebooks/*.py"),
                  *FOLDER.parent.glob("notebooks/*.ipynb")])  # fmt: skip


def package_names(tree):
    """Return what a script imports from the package, deferred imports included, by the name it has there."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "l3ae_dist":
            module = import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    import_module(f"{node.module}.{alias.name}")
                found[alias.asname or alias.name] = getattr(module, alias.name)
    return found


@pytest.mark.parametrize("path", SCRIPTS, ids=[f"{path.parent.name}/{path.name}" for path in SCRIPTS])
def test_a_script_that_no_test_runs_calls_the_package_as_it_is(path):
    tree = ast.parse(script(path))
    names = package_names(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in names:
            continue
        starred = any(isinstance(argument, ast.Starred) for argument in node.args)
        keywords = {keyword.arg: None for keyword in node.keywords if keyword.arg is not None}
        called = names[node.func.id]
        if isinstance(called, type) and issubclass(called, Exception):
            continue
        bind = signature(called)
        if starred or len(keywords) < len(node.keywords):
            assert set(keywords) <= set(bind.parameters), f"line {node.lineno}: {node.func.id}"
        else:
            bind.bind(*[None] * len(node.args), **keywords)


@pytest.mark.parametrize(
    ("n", "budget"), [(16_384, 832), (32_768, 832), (16_384, 2048), (32_768, 2048), (65_536, 2048)]
)
def test_the_factor_stage_is_planned_to_read_at_most_half_more_than_the_bound(n, budget):
    from engine_traffic import MIB, OVER_BOUND, over_bound, planned_reads, solve_plan

    plan = solve_plan(n, budget * MIB)
    ratio = over_bound(plan, planned_reads(plan, "factor"))
    assert 0.5 < ratio <= OVER_BOUND


@pytest.mark.parametrize(("moved", "met"), [(80, False), (92, True), (109, True), (120, False)])
def test_bytes_that_differ_from_the_plan_by_more_than_a_tenth_are_told(moved, met):
    from engine_traffic import as_planned

    line = as_planned("bytes", moved * 1e9, 100e9)
    assert (line["ours"], line["peer"], line["met"]) == (moved, 100, met)


def test_the_reads_of_blocks_stand_beside_those_of_single_tiles():
    from engine_traffic import single_tiles
    from tile_solve import Solved

    def solved(seconds, read, block):
        plan = make_plan(
            DataSize(items=8192, users=1, interactions=1), ModelNeeds(), Machine(832 * 2**20, block=block)
        )
        stages = {"factor": StageStats(bytes_read=read, seconds=seconds)}
        return Solved(plan, stages, {}, {}, None, 0.0, {})

    time, read = single_tiles(solved(4.0, 10**9, None), solved(5.0, 4 * 10**9, 1))
    assert "blocks of 6 x 6, against single tiles" in time["name"]
    assert (time["ours"], time["peer"], time["ratio"]) == (4.0, 5.0, 1.25)
    assert (read["ours"], read["peer"], read["ratio"]) == (1.0, 4.0, 0.25)


def test_the_mix_of_kernels_has_the_flops_of_the_tasks():
    from gpu_engine import flops_by_kernel

    from l3ae_dist.planning.trial_solve import solve_graphs

    want = sum(
        task.flops(TileGrid(40, 16)) for graph in solve_graphs(TileGrid(40, 16), 1) for task in graph.tasks()
    )
    assert sum(flops_by_kernel(40, 16).values()) == pytest.approx(want)


def test_a_refinement_squares_the_errors_of_the_diagonal_and_of_q_and_leaves_that_of_the_weights():
    from precision import Truth, interactions, tile_inverse

    x = interactions("few users", 128)
    gram = (x.T @ x).toarray()
    ridge = np.linalg.eigvalsh(gram)[-1] / 1e4
    truth = Truth(x, gram, ridge)
    found = {dtype: truth.row(tile_inverse(gram, ridge, 48, dtype)) for dtype in ("float32", "float64")}
    residual, diagonal, refined, q, sharper, b, refined_b, left, refined_left = found["float32"]
    assert refined < 1e-3 * diagonal
    assert sharper < 1e-3 * q
    assert 0.9 * b < refined_b < 1.2 * b
    assert left < 1e-14 < 1e-7 < refined_left
    assert found["float64"][0] < 0.5 * residual
    assert found["float64"][5] < 0.5 * b
