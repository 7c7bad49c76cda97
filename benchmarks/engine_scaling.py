"""Two workers of one thread against one of one thread, and against one of two threads."""

from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from engine_runs import BUDGET, Details, Rows, peer, summary
from engine_traffic import planned_traffic
from report import row
from scaling.scaling_profile import kernel_rate, makespan, overlapping_groups, shares, tile_events
from tile_solve import Solved, tile_solve

from l3ae_dist.runtime.watch.task_times import KINDS

REPEATS = 5
# Workers and threads of each.
ONE, TWO, THREADS = (1, 1), (2, 1), (1, 2)
STAGES = {
    "factor + invert": ("factor", "linv", "invert"),
    "factor": ("factor",),
    "invert": ("linv", "invert"),
}
Runs = dict[tuple[int, int], list[Solved]]


def scaling(details: Details, n: int = 12_288, tile: int = 1024, repeats: int = REPEATS) -> Rows:
    """Run all three in turns, and compare them by the runs of median time."""
    runs: Runs = {ONE: [], TWO: [], THREADS: []}
    for _ in range(repeats):
        for (workers, threads), found in runs.items():
            found.append(
                tile_solve(
                    n, memory_budget=BUDGET, workers=workers, threads=threads, tile=tile, sample_seconds=5.0
                )
            )
            print(f"  run: {workers} x {threads}: {found[-1].seconds:.1f} s", flush=True)
    details["scaling"] = {f"{w} x {t}": [summary(one) for one in found] for (w, t), found in runs.items()}
    ahead = overlapping_groups(runs[TWO][0].events)
    return [
        *together(runs),
        second_core(),
        *(line for name in ("factor", "invert") for line in stage_rows(name, runs, details)),
        row("panel groups computed beside tiles of earlier columns", float(ahead), "groups", target=1),
        *planned_traffic(runs[TWO]),
    ]


def seconds(solved: Solved, name: str) -> float:
    """Add up the seconds of some stages of a run."""
    return sum(solved.stages[stage].seconds for stage in STAGES[name])


def middle(found: list[Solved], name: str) -> Solved:
    """Return the run whose stages take the median time."""
    return sorted(found, key=lambda solved: seconds(solved, name))[len(found) // 2]


def together(runs: Runs) -> Rows:
    """Compare two workers with one that has one thread, or their two, by all three stages together."""
    name = "factor + invert"
    one, two, threads = (middle(runs[key], name) for key in (ONE, TWO, THREADS))
    what = f"{name}, n = {one.plan.grid.n}, {one.plan.grid.count} tiles a side: 2 workers x 1 thread against"
    return [
        row(f"{what} 1 x 1", seconds(two, name), "s", seconds(one, name), 1.65, faster=True),
        row(f"{what} 1 x 2", seconds(two, name), "s", seconds(threads, name), 0.9, faster=True),
    ]


def second_core(n: int = 4096) -> dict[str, Any]:
    """Measure what two processes of one thread do at once, over one alone: the most it can give."""
    alone, both = [], []
    for _ in range(3):
        alone.append(peer("sgemm", n, threads=1)["sgemm_gflops"])
        with ThreadPoolExecutor(2) as pool:
            pair = pool.map(lambda _: peer("sgemm", n, threads=1)["sgemm_gflops"], range(2))
            both.append(sum(pair))
    return row(
        f"sgemm at n = {n}: two processes of one thread at once, against one",
        median(both),
        "GFLOP/s",
        median(alone),
    )


def stage_rows(name: str, runs: Runs, details: Details) -> Rows:
    """Compare two workers with one in some stages, and explain what is missing to twice."""
    one, two = (middle(runs[key], name) for key in (ONE, TWO))
    lone, pair = ([tile_events(solved.events, stage) for stage in STAGES[name]] for solved in (one, two))
    graphs = [two.graphs[stage] for stage in STAGES[name]]
    bound = [
        sum(makespan(graph, tiles, workers) for graph, tiles in zip(graphs, pair, strict=True))
        for workers in (1, 2)
    ]
    rates = [kernel_rate([e for tiles in found for e in tiles]) for found in (lone, pair)]
    spent = [shares([e for tiles in found for e in tiles]) for found in (lone, pair)]
    details[f"profile_{name}"] = {"shares": spent, "kernel_gflops": rates, "makespan": bound}
    side = f"{one.plan.grid.count} tiles a side"
    return [
        row(f"{name}, n = {one.plan.grid.n}, {side}: 2 workers x 1 thread against 1 x 1",
            seconds(two, name), "s", seconds(one, name), 1.6, faster=True),
        row(f"{name}: its task graph with the measured kernel times and no other cost, 2 against 1 worker",
            bound[1], "s", bound[0], faster=True),
        row(f"{name}: rate of the kernels of a worker, with 2 workers against 1",
            rates[1], "GFLOP/s", rates[0]),
        *(row(f"{name}: share of a worker's time {kind}, with 2 workers against 1", spent[1][kind], "",
              spent[0][kind]) for kind in KINDS),
    ]  # fmt: skip
