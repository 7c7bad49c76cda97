"""One method on one data set: it is tuned within its time, then its pick is fitted once more.

Each is a process of its own. What is made stays in a folder for each method: the trials, line by line, the
pick's top lists, and how long it took and what memory. A benchmark that was interrupted goes on with them.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import psutil
from scipy import sparse

from accuracy import splits
from accuracy.methods import Data, Method, Setting
from accuracy.registry import methods, slug
from accuracy.search import Limits, Notebook, popular_for_strangers_of, search
from l3ae_dist.runtime.memory import process_bytes

_SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class Task:
    """What is done: a method on a data set, the seconds of its tuning, and the folder of all results.

    Parameters
    ----------
    data, method
        Names of both.
    seconds, inverses
        Limits of the tuning.
    folder
        Of the whole benchmark.
    """

    data: str
    method: str
    seconds: float
    inverses: int | None
    folder: str

    @property
    def place(self) -> Path:
        """Folder of this method's results."""
        return Path(self.folder) / self.data / slug(self.method)

    @property
    def trials(self) -> Path:
        """File of the trials."""
        return self.place / "trials.jsonl"

    @property
    def lists(self) -> Path:
        """File of the pick's top lists."""
        return self.place / "lists.npz"

    @property
    def outcome(self) -> Path:
        """File of the outcome."""
        return self.place / "outcome.json"

    @property
    def vectors(self) -> Path:
        """File of the embeddings that the benchmark makes itself."""
        return Path(self.folder) / self.data / "embeddings.npy"


class Outcome(TypedDict):
    """The outcome of a method on a data set.

    ``key`` is what it depends on. ``setting`` and ``valid`` are of the pick, ``tried`` counts the trials and
    ``refused`` those of them that failed, ``search_seconds`` is the time of all, and ``cut`` tells why it
    ended before its time, if it did; the fit, lists and peak memory are those of the pick's own process.
    """

    key: dict[str, object]
    setting: Setting
    valid: float
    tried: int
    refused: int
    search_seconds: float
    cut: str | None
    fit_seconds: float
    list_seconds: float
    peak_bytes: int


# Folders of a machine within a message: what is published names files alone.
_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/:()'\"]+/)+")


class JobFailed(Exception):
    """A process of a method that ended without its result; its message has no folders of the machine."""

    def __init__(self, reason: str) -> None:
        super().__init__(_FOLDERS.sub("", reason))


def key_of(task: Task, method: Method, fingerprint: str) -> dict[str, object]:
    """Return what an outcome depends on: it is kept while that is the same.

    Parameters
    ----------
    task, method, fingerprint
        What is done, how, and on which split.
    """
    search = {"published": method.published, "shared": list(method.shared), "run": method.run}
    key = {"fingerprint": fingerprint, "seconds": task.seconds, "inverses": task.inverses, **search}
    found: dict[str, object] = json.loads(json.dumps(key))
    return found


def outcome_of(task: Task) -> Outcome | None:
    """Read the outcome of a method, None where there is none."""
    if not task.outcome.exists():
        return None
    found: Outcome = json.loads(task.outcome.read_text())
    return found


def lists_of(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Read the users with test items, and their top lists by the pick."""
    with np.load(task.lists) as found:
        return found["users"], found["lists"]


def measured(task: Task, method: Method, fingerprint: str) -> Outcome:
    """Tune a method and fit its pick, unless that is done already.

    Parameters
    ----------
    task, method, fingerprint
        What is done, how, and on which split.

    Raises
    ------
    JobFailed
        When no setting could be fitted, or a process ended without its result.
    """
    key = key_of(task, method, fingerprint)
    done = outcome_of(task)
    if done is not None and done["key"] == key and task.lists.exists():
        print(f"  {task.method}: done before", flush=True)
        return done
    begin(task, key)
    print(f"  {task.method}: tuned for {task.seconds / 60:.1f} minutes", flush=True)
    cut = tuned(task)
    book = Notebook(task.trials)
    if book.best is None:
        raise JobFailed(cut or (book.trials[-1].trouble if book.trials else None) or "no trial was finished")
    peak = run_process("fit", task)
    fit = json.loads((task.place / "fit.json").read_text())
    refused = sum(trial.valid is None for trial in book.trials)
    outcome = Outcome(
        key=key,
        setting=book.best.setting,
        valid=float(book.best.valid or 0.0),
        tried=len(book.trials),
        refused=refused,
        search_seconds=book.spent,
        cut=cut,
        fit_seconds=fit["fit_seconds"],
        list_seconds=fit["list_seconds"],
        peak_bytes=peak,
    )
    write(task.outcome, outcome)
    return outcome


def tuned(task: Task) -> str | None:
    """Tune in a process of its own; return why it ended before its time, if it did."""
    try:
        run_process("tune", task)
    except JobFailed as error:
        return str(error)
    return None


def begin(task: Task, key: dict[str, object]) -> None:
    """Make the folder of a method; trials of another split, time or method there are removed.

    So are those of a search in which none succeeded: what was wrong then may be mended.
    """
    note = task.place / "key.json"
    if note.exists() and json.loads(note.read_text()) != key:
        shutil.rmtree(task.place)
    task.place.mkdir(parents=True, exist_ok=True)
    if Notebook(task.trials).best is None:
        task.trials.unlink(missing_ok=True)
    write(note, key)
    task.outcome.unlink(missing_ok=True)


def write(path: Path, document: object) -> None:
    """Write a document in one step."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(document, indent=1) + "\n")
    unfinished.rename(path)


def run_process(part: str, task: Task) -> int:
    """Run a part of a task in a process of its own; return the peak bytes of it and its children.

    Parameters
    ----------
    part, task
        ``tune``, ``fit`` or ``embed``, and of what.

    Raises
    ------
    JobFailed
        When it fails.
    """
    command = [sys.executable, "-m", "accuracy.jobs", part, json.dumps(asdict(task))]
    log = task.place / f"{part}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    scratch = task.place / "scratch"
    with log.open("w") as output:
        child = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=output, stderr=output)
        try:
            peak = watched(child)
        finally:
            stop(child)
            shutil.rmtree(scratch, ignore_errors=True)
    if child.returncode:
        last = [line for line in log.read_text().splitlines() if line.strip()][-1:]
        reason = last[0][:300] if last else "without a word"
        raise JobFailed(f"the process of {part} ended with code {child.returncode}: {reason}")
    return peak


def watched(child: subprocess.Popen[bytes]) -> int:
    """Wait for a process; return the most bytes that it and its children had at one time."""
    peak = 0
    while child.poll() is None:
        peak = max(peak, sum(process_bytes(pid) for pid in family(child.pid)))
        time.sleep(_SAMPLE_SECONDS)
    return peak


def family(pid: int) -> list[int]:
    """List a process and its children that are alive."""
    try:
        return [pid, *(one.pid for one in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return []


def stop(child: subprocess.Popen[bytes]) -> None:
    """End a process that is still there, with its children: the benchmark was interrupted."""
    if child.poll() is None:
        for pid in reversed(family(child.pid)):
            if psutil.pid_exists(pid):
                psutil.Process(pid).kill()
        child.wait()


# ---- in the process of a task


def data_of(task: Task, split: splits.Split, train: sparse.csr_matrix, valid: sparse.csr_matrix) -> Data:
    """Return what the method may know.

    Parameters
    ----------
    task, split
        What is done, and the data set.
    train, valid
        Histories, and what may stop a fit early.
    """
    scratch = task.place / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    made = task.vectors if task.vectors.is_file() else None
    return Data(train, valid, split.items, split.vectors or made, scratch)


def tune(task: Task) -> None:
    """Try settings; what is in the test part is not read."""
    split = splits.load(task.data)
    data = data_of(task, split, split.train, split.valid)
    method = methods()[task.method]
    method.ready()
    search(method, data, Notebook(task.trials), Limits(task.seconds, task.inverses))


def fit(task: Task) -> None:
    """Fit the pick, and list the best items of the users that have test items."""
    split = splits.load(task.data)
    pick = Notebook(task.trials).best
    assert pick is not None
    data = data_of(task, split, split.known(), sparse.csr_matrix(split.train.shape, dtype=np.float32))
    method = methods()[task.method]
    method.ready()
    started = time.perf_counter()
    model = method.fit(data, pick.setting, None)
    fitted = time.perf_counter()
    users = np.flatnonzero(np.diff(split.test.indptr))
    lists = model.top_lists(users)
    listed = time.perf_counter()
    np.savez(task.lists, users=users, lists=popular_for_strangers_of(lists, data, users))
    write(task.place / "fit.json", {"fit_seconds": fitted - started, "list_seconds": listed - fitted})


def embed(task: Task) -> None:
    """Embed the items' text by the package's usual encoder, once for all methods."""
    import tempfile

    import pandas as pd

    from l3ae_dist import make_config, run
    from l3ae_dist.data.features import open_rows
    from l3ae_dist.storage import layout
    from l3ae_dist.storage.workspace import Workspace

    split = splits.load(task.data)
    links = split.train.tocoo()
    with tempfile.TemporaryDirectory(dir=Path(task.folder) / task.data) as place:
        config = make_config({"workspace": place, "data": {"options": {"split": "none"}}})
        log = pd.DataFrame({"user_id": links.row, "item_id": links.col})
        items = split.items.assign(item_id=np.arange(len(split.items)))
        result = run(config, interactions=log, items=items, until="embed")
        rows = open_rows(Workspace.open(place), layout.features(str(result["embedding"])))
        np.save(task.vectors, np.asarray(rows.item_rows(0, len(items)), np.float32))


PARTS = {"tune": tune, "fit": fit, "embed": embed}

if __name__ == "__main__":
    PARTS[sys.argv[1]](Task(**json.loads(sys.argv[2])))
