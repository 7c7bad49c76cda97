"""Strong and weak scaling of a fit over 1 to N workers, here or on a cluster; ``make bench-scaling``.

Strong scaling is one size on more and more workers; weak scaling gives each worker the same n^3. Times are
those of the fit and leave the start of processes out. Writes ``scaling.json`` and ``scaling.png``.

    python benchmarks/scaling/strong_weak.py --workers 1,2,4,8 --n 32768 --weak-n 16384
    python benchmarks/scaling/strong_weak.py --cluster address --address tls://head:8786 \\
        --workers 1,4,16 --workspace s3://bucket/scaling
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from report import publish, results_folder, row

from l3ae_dist.errors import L3AEError
from l3ae_dist.runtime.backends.ray_session import ray_session
from scaling.jobs import Job, in_turns, medians
from scaling.scaling_plot import plot_scaling

REPEATS = 3
WORKERS = (1, 2)
STRONG, WEAK = 12_288, 9728


def weak_size(n: int, workers: int, tile: int) -> int:
    """Return the items that make ``workers`` times the work of ``n``, in halves of tiles.

    >>> weak_size(9728, 2, 1024), weak_size(9728, 8, 1024)
    (12288, 19456)
    """
    half = max(1, tile // 2)
    return round(n * workers ** (1 / 3) / half) * half


def measure(
    job: Job, workers: Sequence[int], weak: int, repeats: int = REPEATS, picture: str = "scaling"
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measure both kinds of scaling; return rows and details, and draw ``picture``.png.

    Parameters
    ----------
    job
        The fit of strong scaling.
    workers
        Ascending; the first is what the others are compared with.
    weak
        Items of weak scaling with the first number of workers.
    repeats
        Runs of each, of which the median counts.
    picture
        Name of the plot in the folder of the results.
    """
    first = workers[0]
    sizes = {w: weak_size(weak, w / first, job.tile) for w in workers}
    jobs = {f"strong {w}": job.sized(job.n, w) for w in workers}
    # a size that both kinds measure is measured once
    same = {w for w in workers if sizes[w] == job.n}
    jobs |= {f"weak {w}": job.sized(sizes[w], w) for w in workers if w not in same}
    runs = in_turns(jobs, repeats)
    runs |= {f"weak {w}": runs[f"strong {w}"] for w in same}
    took = {name: one["fit"] for name, one in medians(runs).items()}
    strong = {w: took[f"strong {w}"] for w in workers}
    # seconds as if the work of each worker were exactly that of the first
    share = {w: took[f"weak {w}"] * (w / first) / (sizes[w] / sizes[first]) ** 3 for w in workers}
    titles = (f"strong scaling, n = {job.n}", f"weak scaling, n = {sizes[first]} to {sizes[workers[-1]]}")
    plot_scaling(results_folder() / f"{picture}.png", strong, share, titles, job.threads)
    what, against = f"on {job.cluster}", f"against {first} x {job.threads}"
    rows = [
        row(f"strong scaling {what}, n = {job.n}: {w} workers x {job.threads} thread"
            f"{'s' * (job.threads > 1)} {against}", strong[first] / strong[w], "times faster")
        for w in workers[1:]
    ] + [
        row(f"weak scaling {what}, n = {sizes[w]} with {w} workers against n = {sizes[first]} with {first}: "
            "efficiency", share[first] / share[w], "")
        for w in workers[1:]
    ]  # fmt: skip
    return rows, {"job": vars(job) | {"address": None, "base": None}, "sizes": sizes, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", default=",".join(map(str, WORKERS)), help="numbers of workers")
    parser.add_argument("--cluster", choices=("local", "ray", "address"), default="local")
    parser.add_argument("--address", help="the scheduler, with --cluster address")
    parser.add_argument(
        "--insecure", action="store_true", help="allow tcp:// to a scheduler off this machine"
    )
    parser.add_argument("--threads", type=int, default=1, help="BLAS threads of a worker")
    parser.add_argument("--n", type=int, default=STRONG, help="items of strong scaling")
    parser.add_argument("--weak-n", type=int, default=WEAK, help="items of weak scaling for the first number")
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--memory-budget", default="1GiB")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--workspace", help="path or URL that every node sees, for the temporary workspaces")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    given = parser.parse_args()
    workers = sorted({int(text) for text in given.workers.split(",")})
    job = Job(
        n=given.n, workers=workers[0], threads=given.threads, cluster=given.cluster, address=given.address,
        insecure=given.insecure, tile=given.tile, memory_budget=given.memory_budget, users=given.users,
        base=given.workspace,
    )  # fmt: skip
    try:
        with ray_session() if given.cluster == "ray" else contextlib.nullcontext():
            rows, details = measure(job, workers, given.weak_n, given.repeats)
    except L3AEError as error:
        raise SystemExit(f"error: {error}") from None
    publish("scaling", rows, **details)


if __name__ == "__main__":
    main()
