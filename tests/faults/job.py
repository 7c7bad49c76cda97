"""A small job as its users run it, what its processes recorded, and what it left behind."""

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import yaml

from l3ae_dist.config.load import make_config
from l3ae_dist.operations.verify import verify_workspace
from l3ae_dist.storage.layout.kinds import written_with

HERE = Path(__file__).parent
N, TILE, USERS, D = 1100, 96, 2000, 8
SIDE = -(-N // TILE)
LOWER = SIDE * (SIDE + 1) // 2


def write_inputs(folder):
    """A log, a catalog and embeddings as files, so that every process of every run reads the same."""
    rng = np.random.default_rng(0)
    log = {"user_id": rng.integers(0, USERS, 30000), "item_id": rng.integers(0, N, 30000)}
    pd.DataFrame(log).to_parquet(folder / "log.parquet")
    pd.DataFrame({"item_id": range(N)}).to_parquet(folder / "items.parquet")
    vectors = rng.standard_normal((N, D)).astype(np.float32)
    np.save(folder / "vectors.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def settings(inputs, workspace, **compute):
    """The configuration of a run as nested values."""
    return {
        "workspace": str(workspace),
        "data": {
            "interactions": str(inputs / "log.parquet"),
            "items": str(inputs / "items.parquet"),
            "embeddings": str(inputs / "vectors.npy"),
        },
        "model": {"name": "l3ae", "reg_x": 30, "reg_f": 2, "reg_e": 20},
        "compute": {
            "dtype": "float32",
            "tile_size": TILE,
            "memory_budget": "1GiB",
            "threads": 1,
            "dashboard": False,
            **compute,
        },
    }


def configuration(*args, **compute):
    """:func:`settings`, validated."""
    return make_config(settings(*args, **compute))


def environment(record=None, **more):
    """Variables for the processes of a run; ``record`` is where they note what they compute."""
    values = {**os.environ, "COLUMNS": "200", **more}
    if record is not None:
        paths = [str(HERE / "everywhere"), values.get("PYTHONPATH", "")]
        values |= {"L3AE_FAULT_RECORD": str(record), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return values


class Command:
    """``l3ae-dist`` with some arguments, in its own process group."""

    def __init__(self, *arguments, record=None, **variables):
        code = "from l3ae_dist.cli.app import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(record, **variables),
            start_new_session=True,
        )
        self.pid = self.process.pid

    def finish(self, timeout=200):
        """Wait; returns exit code, standard output and standard error."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        return self.process.returncode, out, err

    def kill(self):
        """SIGKILL to every process of the run; returns when all of them are gone."""
        family = [self.process, *_descendants(self.pid)]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for member in family[1:]:
            with contextlib.suppress(psutil.Error):
                member.kill()
        self.process.communicate()
        psutil.wait_procs(family[1:], timeout=20)

    def kill_when(self, condition, timeout=120):
        """SIGKILL to the whole run as soon as ``condition()`` holds; it must hold before the run ends."""
        self.wait_until(condition, timeout)
        self.kill()

    def wait_until(self, condition, timeout=120):
        """Wait for ``condition()`` while the run goes on."""
        deadline = time.monotonic() + timeout
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"the run ended (or {timeout} s passed) before the moment came")
            time.sleep(0.01)


def _descendants(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def write_config(path, values):
    """A configuration file for the command line."""
    path.write_text(yaml.safe_dump(values))
    return path


# made anew by every certificate, and the small vector c by every save of a model
SCRATCH = ("probe", "image", "c")


class Record:
    """What the processes noted: which chunks were begun and written, in order."""

    def __init__(self, path):
        self.path = Path(path)
        self.held = []

    def empty(self):
        """Forget everything."""
        self.path.unlink(missing_ok=True)
        self.held = []

    def kill_worker(self, kind, pid, timeout=60):
        """SIGKILL to a worker at its next note of that kind: in mid-tile, or with the tile not reported.

        ``held`` is then the chunk (one for each of its threads) that it was stopped at.
        """
        with self.holding(kind, pid):
            deadline = time.monotonic() + timeout
            while not self.stands(pid) and time.monotonic() < deadline:
                time.sleep(0.005)
            os.kill(pid, signal.SIGKILL)
        rows = (line.split() for line in self.path.read_text().splitlines())
        self.held = [(path, int(i), int(j)) for _, path, i, j, _, state in rows if state == "held"]

    @contextlib.contextmanager
    def holding(self, kind, pid):
        """Stop a process at its next note of that kind, for a minute at most."""
        hold, new = (self.path.with_name(self.path.name + end) for end in (".hold", ".hold.new"))
        new.write_text(f"{kind} {pid}")
        new.rename(hold)
        try:
            yield
        finally:
            hold.unlink()

    def stands(self, pid=None):
        """Tell whether a process (any, without an id) has been stopped at one of its notes."""
        return f"{'' if pid is None else f' {pid}'} held\n" in self.path.read_text()

    def notes(self):
        """(kind, array, i, j, process id) of every note so far."""
        if not self.path.exists():
            return []
        text = self.path.read_text()
        rows = (line.split() for line in text[: text.rfind("\n") + 1].splitlines())
        return [(kind, path, int(i), int(j), int(pid)) for kind, path, i, j, pid, _ in rows]

    def lines(self):
        """(kind, array, i, j) of every note so far."""
        return [note[:4] for note in self.notes()]

    def in_flight(self):
        """Chunks begun and not written, with the process that is at it."""
        begun = {}
        for kind, path, i, j, pid in self.notes():
            if kind == "begin":
                begun[path, i, j] = pid
            else:
                begun.pop((path, i, j), None)
        return begun

    def written(self, *names):
        """Chunks written, as (array, i, j), each as often as it was; of the arrays so named."""
        return self._of("written", names)

    def begun(self, *names):
        """Chunks whose computation began."""
        return self._of("begin", names)

    def progress(self):
        """How many of the chunks that a finished run keeps have been written."""
        kept = {chunk for chunk in self.written() if "/partials/" not in chunk[0]}
        return sum(chunk[0].rsplit("/", 1)[1] not in ("probe", "image") for chunk in kept)

    def twice(self, *names):
        """Chunks computed again: begun more than once, or written more than once."""
        counts = collections.Counter(self.begun(*names)), collections.Counter(self.written(*names))
        return {chunk for count in counts for chunk, times in count.items() if times > 1}

    def after_finished(self):
        """Notes of chunks that had been finished before: begun or written once more.

        What a task writes beside its chunk is finished with that chunk.
        """
        finished, again = set(), []
        for kind, path, i, j in self.lines():
            if path.rsplit("/", 1)[1] in SCRATCH:
                continue
            if (written_with(path) or path, i, j) in finished:
                again.append((kind, path, i, j))
            if kind == "written":
                finished.add((path, i, j))
        return again

    def _of(self, kind, names):
        found = [tuple(chunk) for what, *chunk in self.lines() if what == kind]
        return [chunk for chunk in found if not names or chunk[0].rsplit("/", 1)[1] in names]


def artifacts(workspace):
    """Bytes of every chunk of the model and what it is made of, by relative path."""
    root = Path(workspace)
    folders = ("grams", "factors", "embeddings", "semantic", "crosses", "models")
    return {
        str(path.relative_to(root)): path.read_bytes()
        for folder in folders
        for path in sorted((root / folder).rglob("c/*/*"))
        if path.is_file() and not path.name.endswith(".partial")
    }


def assert_same_bits(workspace, reference):
    """Every chunk of the model equals that of the undisturbed run, and each is sound."""
    ours, want = artifacts(workspace), artifacts(reference)
    assert set(ours) == set(want)
    different = [path for path in want if ours[path] != want[path]]
    assert different == []
    assert damage(workspace) == []


def damage(workspace):
    """What ``verify`` finds, as (array, i, j)."""
    found = verify_workspace(str(workspace), lambda event: None).damage
    return [(item.array, item.i, item.j) for item in found]


def events_of(workspace):
    """All events that finished runs left in the workspace."""
    files = sorted(Path(workspace).glob("meta/events/*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]
