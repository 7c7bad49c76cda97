"""Out of core: the 72,304 books of Book-Crossing with at least 3 readers (a dense float32 matrix of 21 GB).

They are embedded, fitted, certified and evaluated within 2 GiB per worker. ``--all`` takes all 119,054 books
(57 GB); where the disk has no room for three triangles of theirs, that run ends with the factor stage, is
killed half-way and resumed, and the rest is estimated. Needs the reference data (``L3AE_REFERENCE``, or a
folder ``shared`` beside the repository), and is run with ``make bench-books-large``, or
``make bench-books-large BOOKS=--all``.
"""

import argparse
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from books_factor import Killed, factor_with_a_kill
from books_runs import (
    TILE_STAGES,
    Rows,
    began_anew,
    books_config,
    data_folder,
    memory_rows,
    model_rows,
    progress,
    run_rows,
)
from engine_traffic import OVER_BOUND, over_bound, planned_reads
from report import publish, row

from l3ae_dist.config.run_config import RunConfig
from l3ae_dist.pipeline.run import run
from l3ae_dist.planning.calibrate import calibrate
from l3ae_dist.planning.data_size import given_size
from l3ae_dist.planning.forecast import Forecast, forecast
from l3ae_dist.planning.rates import assumed_rates
from l3ae_dist.planning.resources import Resources
from l3ae_dist.units import human_bytes, parse_bytes

GB = 1e9
ITEM_READERS, USER_BOOKS = 3, 2
MINUTES = 50
# Matrices n x n of float64 that the published code holds at one time.
PUBLISHED_COPIES = 8


@dataclass(frozen=True)
class Books:
    """The books and readers of a run, as tables in files, with what a plan needs to know of them."""

    data: dict[str, object]
    items: int
    users: int
    training: int
    dim: int | None


@dataclass(frozen=True)
class Measured:
    """What was measured: what the name of the result ends in, its rows, the run's result, and details."""

    suffix: str
    rows: Rows
    result: dict[str, Any]
    details: dict[str, Any]


def core(log: pd.DataFrame) -> pd.DataFrame:
    """Return the largest part of a log whose books have at least 3 readers and whose readers 2 books."""
    while True:
        readers = log.groupby("item_id")["user_id"].transform("size")
        rest = log[readers >= ITEM_READERS]
        rest = rest[rest.groupby("user_id")["item_id"].transform("size") >= USER_BOOKS]
        if len(rest) == len(log):
            return log
        log = rest


def most_popular(log: pd.DataFrame, items: pd.DataFrame, count: int) -> np.ndarray:
    """Tell for each row of the items whether it is of the ``count`` with the most readers."""
    readers = items["item_id"].map(log["item_id"].value_counts()).fillna(0)
    order = np.argsort(-readers.to_numpy(), kind="stable")
    chosen = np.zeros(len(items), bool)
    chosen[order[:count]] = True
    return chosen


def select(folder: Path, target: Path, *, whole: bool, count: int | None, embeddings: str | None) -> Books:
    """Write the tables of the chosen books to ``target``, unless they are there.

    A workspace knows its sources by their files, so that those of a kept one stay.
    """
    log = pd.read_parquet(folder / "interactions.parquet")
    items = pd.read_parquet(folder / "items.parquet")
    if not whole:
        log = core(log)
    chosen = items["item_id"].isin(log["item_id"]).to_numpy() | whole
    if count is not None:
        chosen &= most_popular(log, items, count)
    kept, log = items[chosen], log[log["item_id"].isin(items["item_id"][chosen])]
    data: dict[str, object] = {"options": {"split_column": "split"}}
    for name, table in (("interactions", log), ("items", kept)):
        data[name] = str(target / f"{name}-{len(kept)}.parquet")
        if not Path(str(data[name])).exists():
            table.to_parquet(target / "unfinished")
            (target / "unfinished").rename(str(data[name]))
    dim = None
    if embeddings is not None:
        rows = np.load(embeddings, mmap_mode="r")[np.flatnonzero(chosen)]
        dim = rows.shape[1]
        data["embeddings"] = str(target / f"embeddings-{len(kept)}.npy")
        if not Path(str(data["embeddings"])).exists():
            np.save(str(data["embeddings"]), rows)
    return Books(data, len(kept), log["user_id"].nunique(), int((log["split"] == "train").sum()), dim)


def expected(config: RunConfig, books: Books, *, measured: bool) -> Forecast:
    """Return the plan of a run with its estimates, at rates that are measured now, or assumed ones."""
    threads = max(1, (os.cpu_count() or 1) // config.compute.workers)
    rates = calibrate(config, on_event=progress) if measured else assumed_rates(threads, "cpu")
    size = given_size(config, books.items, books.users, books.training, books.dim)
    assert size is not None
    return forecast(config, size, Resources(rates))


def room(folder: Path) -> int:
    """Return the bytes of the disk that a run in this folder may take, those of an earlier run included."""
    return shutil.disk_usage(folder).free + sum(one.stat().st_size for one in folder.rglob("*"))


def needed(plan: Forecast, *, whole: bool) -> float:
    """Return the bytes of three triangles and the vectors, or of the two that the factor stage needs."""
    return plan.storage_bytes if whole else 2 * written(plan, "gram")


def written(plan: Forecast, name: str) -> float:
    return next(stage.bytes_written for stage in plan.stages if stage.name == name)


def seconds(plan: Forecast, *names: str) -> float:
    """Add up the estimated seconds of stages."""
    return sum(stage.seconds for stage in plan.stages if stage.name in names)


def ends_with_the_factor(plan: Forecast, free: float, *, may: bool) -> bool:
    """Tell whether there is room for the factor stage alone; ends the benchmark where not even that fits."""
    if free >= needed(plan, whole=True):
        return False
    if may and free >= needed(plan, whole=False):
        return True
    least, what = human_bytes(needed(plan, whole=not may)), " as far as the factor" if may else ""
    raise SystemExit(
        f"{plan.plan.grid.n:,} books take {least} of disk{what}, and {human_bytes(free)} are free; free "
        "space there, or name a folder on a larger disk with --folder."
    )


# ---- rows


def against_memory(peak: float, n: int) -> Rows:
    """Compare the worker's memory with the matrices that others hold."""
    what = "peak memory of the worker, against "
    return [
        row(f"{what}the dense float32 matrix", peak / GB, "GB", 4 * n**2 / GB, 1, smaller=True),
        row(f"{what}{PUBLISHED_COPIES} float64 matrices of the published route", peak / GB, "GB",
            PUBLISHED_COPIES * 8 * n**2 / GB, 1, smaller=True),
    ]  # fmt: skip


def lift_rows(comparison: dict[str, Any]) -> Rows:
    """Return the lift of L3AE over EASE with its interval, in percent."""
    name = f"lift of the test {comparison['metric']} of L3AE over EASE"
    users = f"{comparison['users']:,.0f} users"
    return [
        row(f"{name}, {users}", 100 * comparison["lift"], "%"),
        row("  its 95 % interval, from", 100 * comparison["lift_low"], "%"),
        row("  its 95 % interval, to", 100 * comparison["lift_high"], "%"),
    ]


def whole_rows(result: dict[str, Any], plan: Forecast, *, minutes: float | None) -> Rows:
    """Return the rows of a run to its end."""
    stages, peak = result["stages"], result["peak_memory_bytes"]["worker_max"]
    read = sum(stages[name]["bytes_read"] for name in TILE_STAGES)
    wanted = sum(planned_reads(plan.plan, name) for name in TILE_STAGES)
    memory = against_memory(peak, result["dataset"]["n_items"])
    return [
        *run_rows(result, minutes),
        row("wall time, against the plan's estimate", result["seconds"] / 60, "min", plan.seconds / 60),
        *memory,
        row("words read by the factor stage over the bound",
            over_bound(plan.plan, stages["factor"]["bytes_read"]), "", target=OVER_BOUND, smaller=True),
        row("bytes read by factor, linv and invert, against those planned", read / GB, "GB", wanted / GB, 1.1,
            smaller=True),
        *lift_rows(result["comparison"]),
    ]  # fmt: skip


def resumed_rows(result: dict[str, Any]) -> Rows:
    """Return the rows of a run that went on with tiles of an earlier one, whose time is that of the rest."""
    peak = result["peak_memory_bytes"]["worker_max"]
    return [
        row("wall time of the rest", result["seconds"] / 60, "min"),
        *memory_rows(result),
        *against_memory(peak, result["dataset"]["n_items"]),
        *model_rows(result),
        *lift_rows(result["comparison"]),
    ]


def factor_rows(killed: Killed, plan: Forecast) -> Rows:
    """Return the rows of a run that was killed on its way to the factor, and estimates of the rest."""
    kill, result, n = killed.kill, killed.result, plan.plan.grid.n
    block = plan.plan.block.rows * plan.plan.block.columns * plan.plan.workers
    rest = [stage.name for stage in plan.stages]
    rest = rest[rest.index("factor") + 1 :]
    factor = next(stage for stage in plan.stages if stage.name == "factor")
    return [
        row("wall time to the end of the factor stage, embedding and the resumed run included",
            (kill.seconds + killed.resumed_seconds) / 60, "min"),
        row("factor, what the resumed run made of it", result["stages"]["factor"]["flops"]
            / result["stages"]["factor"]["seconds"] / 1e9, "GFLOP/s"),
        row("tiles of the factor finished when the run was killed, of all", kill.finished, "", kill.tiles),
        row("finished tiles that the resumed run made again", kill.again, "", target=0, smaller=True),
        row("tiles in the making when it was killed, which were made again: at most a block of each worker",
            min(block, kill.tiles - kill.finished), ""),
        row("  of them written without a done-mark", kill.unmarked, ""),
        row("time since a tile was finished last, which the kill cost at most", kill.lost_seconds, "s"),
        *memory_rows(result),
        *against_memory(result["peak_memory_bytes"]["worker_max"], n),
        row("words that the factor stage is planned to read over the bound",
            over_bound(plan.plan, factor.bytes_read), "", target=OVER_BOUND, smaller=True),
        row("Gram matrix and factor on the disk", needed(plan, whole=False) / GB, "GB"),
        row("estimate of the factor stage", factor.seconds / 60, "min"),
        row("estimate of the rest: inverse, certificate, models, evaluation", seconds(plan, *rest) / 60,
            "min"),
        row("estimate of the whole run", plan.seconds / 60, "min"),
    ]  # fmt: skip


# ---- the command


@contextlib.contextmanager
def kept_or_temporary(folder: str | None) -> Iterator[Path]:
    """Make the folder of workspace and tables; one that was not asked for is removed."""
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="l3ae-books-") as made:
        yield Path(made)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="all 119,054 books")
    parser.add_argument("--items", type=int, metavar="N", help="a trial: of these, the N with most readers")
    parser.add_argument("--data", help="folder with interactions.parquet and items.parquet")
    parser.add_argument("--embeddings", help="an .npy file with the rows of items.parquet, instead of MiniLM")
    parser.add_argument("--folder", help="keep workspace and tables here; the same command goes on with them")
    parser.add_argument("--budget", default="2GiB", help="memory of a worker")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--tile", type=int, help="rows of a tile; chosen if not given")
    parser.add_argument("--disk", help="a trial: bytes of the disk that the run may take")
    parser.add_argument("--assumed-rates", action="store_true", help="estimate without a calibration")
    return parser


def run_to_the_factor(config: RunConfig, folder: Path, plan: Forecast) -> Measured:
    """Run as far as the factor stage, with a kill on the way."""
    written_down = folder / "config.yaml"
    written_down.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    killed = factor_with_a_kill(str(written_down), config.workspace, str(folder / "result.json"))
    return Measured("", factor_rows(killed, plan), killed.result, {"kill": killed.document()})


def run_to_the_end(config: RunConfig, plan: Forecast, minutes: float | None) -> Measured:
    """Run all stages, within so many minutes where they are given."""
    result = run(config, on_event=progress)
    if result["reused"]:
        raise SystemExit(
            f"{config.workspace} holds this run to its end; name another --folder to measure one."
        )
    details = {part: result[part] for part in ("certificate", "comparison", "models")}
    if began_anew(result):
        return Measured("", whole_rows(result, plan, minutes=minutes), result, details)
    return Measured("-resumed", resumed_rows(result), result, details)


def measure(given: argparse.Namespace, source: Path, folder: Path) -> None:
    """Choose the books, plan, run as far as the disk allows, and write the result."""
    books = select(source, folder, whole=given.all, count=given.items, embeddings=given.embeddings)
    config = books_config(
        str(folder / "workspace"),
        books.data,
        memory_budget=given.budget,
        workers=given.workers,
        tile_size=given.tile,
    )
    plan = expected(config, books, measured=not given.assumed_rates)
    free = room(folder) if given.disk is None else parse_bytes(given.disk)
    print(
        f"{plan.plan.headline}; {human_bytes(plan.storage_bytes)} of disk, {human_bytes(free)} free",
        flush=True,
    )
    if ends_with_the_factor(plan, free, may=given.all):
        found = run_to_the_factor(config, folder, plan)
    else:
        found = run_to_the_end(config, plan, None if given.all else MINUTES)
    name = "books-trial" if given.items else "books-all" if given.all else "books-large"
    result = {part: found.result[part] for part in ("plan", "stages", "stage_seconds")}
    size = {"items": books.items, "users": books.users, "training": books.training}
    publish(name + found.suffix, found.rows, **result, **found.details, data=size, estimate=plan.summary())


def main(arguments: list[str] | None = None) -> None:
    given = options().parse_args(arguments)
    source = data_folder("book-crossing-2core", "Book-Crossing", given.data)
    with kept_or_temporary(given.folder) as folder:
        measure(given, source, folder)


if __name__ == "__main__":
    main()
