"""Accuracy of every member of the family beside other recommenders; ``make bench-accuracy``.

Each method is tuned for the same time on the validation part, its pick is fitted once more in a process of
its own, and only then the test part is read. Writes ``accuracy.json`` after each data set. What is finished
is kept in a folder, so that the same command goes on after an interruption.

    python benchmarks/accuracy/run.py --list
    python benchmarks/accuracy/run.py --only industrial,toys/als,toys/l3ae
    python benchmarks/accuracy/run.py --budget 1 --only industrial
    python benchmarks/accuracy/run.py --budget industrial=1,toys=2 --only toys
"""

import argparse
import math
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from report import publish

from accuracy import heads, splits
from accuracy.jobs import JobFailed, Task, key_of, measured, outcome_of, run_process
from accuracy.methods import Method
from accuracy.registry import chosen, lacking, methods, slug, uses_embeddings
from accuracy.splits import SOURCES, Split
from accuracy.tables import Measured, Row, all_compared, extrapolated, peer_versions, rows_of, total_rows

WORK = Path(__file__).resolve().parents[2] / "accuracy-work"


@dataclass(frozen=True)
class Options:
    """What is asked for: minutes of tuning where they are not those of the data set, and where results go.

    Parameters
    ----------
    minutes, folder
        Of the tuning by data set, and of the results.
    heads
        Whether the time of a thousand heads on five inverses is measured too.
    """

    minutes: dict[str, float]
    folder: Path
    heads: bool = False

    def task(self, data: str, method: Method) -> Task:
        """Return a method on a data set, as a task."""
        source = SOURCES[data]
        minutes = self.minutes.get(data, source.minutes)
        return Task(data, method.name, 60 * minutes, source.inverses, str(self.folder))


def arguments(given: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="data sets, methods, or DATA/METHOD, separated by commas")
    parser.add_argument(
        "--list", action="store_true", help="print what is run and how long it takes, and end"
    )
    parser.add_argument(
        "--budget",
        type=budgets,
        default={},
        metavar="MINUTES",
        help="for the tuning of each method, on every data set; or DATA=MINUTES, separated by commas",
    )
    parser.add_argument("--slow", action="store_true", help="LightGCN and AlphaRec on every data set")
    parser.add_argument(
        "--heads",
        action="store_true",
        help=f"measure {heads.DATA} with 1,000 heads on 5 inverses too, as without --only",
    )
    parser.add_argument("--folder", default=str(WORK), help=f"of what is made ({WORK.name})")
    return parser.parse_args(given)


def budgets(given: str) -> dict[str, float]:
    """Read the minutes of each data set.

    >>> budgets("industrial=1,toys=2.5")
    {'industrial': 1.0, 'toys': 2.5}
    """
    found: dict[str, float] = {}
    for part in given.split(","):
        data, _, minutes = part.strip().rpartition("=")
        if data and data not in SOURCES:
            raise argparse.ArgumentTypeError(f"{data!r} is no data set ({', '.join(SOURCES)})")
        try:
            value = float(minutes)
        except ValueError:
            value = 0.0
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{minutes!r} must be more than 0 minutes")
        found.update(dict.fromkeys([data] if data else SOURCES, value))
    return found


def listed(wanted: dict[str, list[Method]], options: Options) -> None:
    """Print every data set with its methods, and the minutes that their tuning takes."""
    total = 0.0
    for data, some in wanted.items():
        tuned = [method for method in some if method.published and lacking(method) is None]
        minutes = sum(options.task(data, method).seconds for method in tuned) / 60
        total += minutes
        each = options.task(data, some[0]).seconds / 60
        print(
            f"{data}: {minutes:.0f} minutes of tuning, {each:g} for each of {len(tuned)} methods", flush=True
        )
        print(f"  {', '.join(slug(method.name) for method in some)}")
        if lack := splits.missing(data):
            print(f"  left out: {lack}")
    print(f"{total / 60:.1f} hours of tuning in all, and a fit of each pick")


def with_embeddings(task: Task, split: Split, some: list[Method]) -> bool:
    """Make sure that the text embeddings are there, where a method reads them; tell whether they are."""
    if split.vectors is not None or task.vectors.is_file() or not any(map(uses_embeddings, some)):
        return True
    print("  the items' text is embedded, once for all methods", flush=True)
    try:
        run_process("embed", Task(task.data, "embedding", 0, None, task.folder))
    except JobFailed as error:
        print(f"  {error}; methods that read them are left out", flush=True)
        return False
    return True


def on_data(data: str, some: list[Method], options: Options) -> Measured:
    """Measure methods on a data set, and take those that were measured before.

    Parameters
    ----------
    data, some, options
        The data set, the methods that are asked for, and what else is.
    """
    split = splits.load(data)
    found = Measured(split)
    print(f"{data}: {split.summary()}", flush=True)
    embedded = not some or with_embeddings(options.task(data, some[0]), split, some)
    asked = {method.name for method in some}
    for name, method in methods().items():
        task = options.task(data, method)
        if name not in asked:
            taken_before(found, task, method)
            continue
        reason = lacking(method)
        if reason is None and uses_embeddings(method) and not embedded:
            reason = "the text could not be embedded"
        if reason is None:
            try:
                found.add(method, measured(task, method, split.fingerprint), task)
                continue
            except JobFailed as error:
                reason = f"failed: {error}"
        print(f"  {name} is not run: {reason}", flush=True)
        found.not_run[name] = reason
    return found


def taken_before(found: Measured, task: Task, method: Method) -> None:
    """Take what an earlier call measured on the same split, with the same time for tuning.

    Parameters
    ----------
    found, task, method
        Where it goes, and what it is.
    """
    outcome = outcome_of(task)
    if outcome and outcome["key"] == key_of(task, method, found.split.fingerprint) and task.lists.exists():
        found.add(method, outcome, task)


def measure_heads(split: Split, options: Options) -> None:
    """Measure the time of many heads, where the text embeddings of the data set are there."""
    task = Task(heads.DATA, "embedding", 0, None, str(options.folder))
    vectors = next(
        (path for path in (split.vectors, task.vectors) if path is not None and path.is_file()), None
    )
    if vectors is not None:
        print(f"{heads.DATA}: 1,000 heads on 5 inverses", flush=True)
        heads.measure(options.folder, split, vectors)


def write(timed: dict[str, Measured], many: Row | None = None) -> None:
    """Write the result of the data sets that were measured, and of many heads where they were."""
    rows: list[Row] = []
    documents: dict[str, Row] = {}
    for data, found in timed.items():
        for name, method in methods().items():
            if method.slow and name not in found.outcomes and name not in found.not_run:
                found.not_run[name] = extrapolated(method, found.split, timed)
        comparisons = all_compared(found)
        documents[data] = found.document(comparisons)
        rows += rows_of(data, found, comparisons)
    rows = [*total_rows(documents, rows), *rows, *([] if many is None else [heads.heads_row(many)])]
    publish("accuracy", rows, data=documents, peers=peer_versions(), heads=many)


def main(given: list[str] | None = None) -> None:
    options = arguments(given)
    wanted = chosen(options.only, slow=options.slow)
    folder = Path(options.folder).resolve()
    what = Options(options.budget, folder, heads=options.heads or options.only is None)
    listed(wanted, what)
    if options.list:
        return
    if find_spec("optuna") is None:
        raise SystemExit("optuna is not installed; run pip install 'l3ae-dist[peers]'.")
    try:
        measured_all = on_all(wanted, what)
    except KeyboardInterrupt:
        raise SystemExit("interrupted; the same command goes on with what is finished.") from None
    if not measured_all:
        raise SystemExit("none of the data sets is on this machine; set L3AE_REFERENCE to their folder.")


def on_all(wanted: dict[str, list[Method]], options: Options) -> int:
    """Measure every data set that is here, and write the result after each; return how many they were."""
    timed: dict[str, Measured] = {}
    for data in SOURCES:
        some = wanted.get(data, [])
        if splits.missing(data) is None and (some or (options.folder / data).is_dir()):
            timed[data] = on_data(data, some, options)
            if data == heads.DATA and options.heads:
                measure_heads(timed[data].split, options)
            write(timed, heads.kept(options.folder))
    return len(timed)


if __name__ == "__main__":
    main()
