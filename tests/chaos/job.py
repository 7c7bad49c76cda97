"""The small job: its inputs, its configurations, and its commands in this process or in one of its own."""

import contextlib
import getpass
import json
import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

N, USERS, D, TILE = 40, 60, 8, 16
WRITTEN = 1_700_000_000
# a minute on a machine that does nothing else
HANG_SECONDS = 60.0
# Ridges of two runs on the same data: the second finds much of the first's work done.
RIDGES = {
    "first": {"reg_x": 10.0, "reg_f": 5.0, "reg_e": 10.0},
    "second": {"reg_x": 14.0, "reg_f": 5.0, "reg_e": 6.0},
}


def waited(ready: Callable[[float], bool], seconds: float = HANG_SECONDS) -> bool:
    """Wait until something is ready, and tell whether it was in time.

    Of the time during which several processes wait for each core, one's share counts: a command that others
    keep from the cores does not hang.

    Parameters
    ----------
    ready
        Waits for so many seconds at most, and tells whether it is ready.
    seconds
        Longest time, of a machine that does nothing else.
    """
    while seconds > 0:
        began = time.monotonic()
        if ready(min(1.0, seconds)):
            return True
        waiting = os.getloadavg()[0] / (os.cpu_count() or 1)
        seconds -= (time.monotonic() - began) / max(1.0, waiting)
    return False


@dataclass(frozen=True)
class Answer:
    """What a command said.

    Parameters
    ----------
    code
        Exit code; negative for the signal that ended it.
    out, err
        Its two streams.
    crash
        Traceback of an exception that left the command.
    """

    code: int
    out: str = ""
    err: str = ""
    crash: str = ""


@dataclass(frozen=True)
class Job:
    """A folder with log, catalog and embeddings.

    Parameters
    ----------
    folder
        Where they lie.
    """

    folder: Path

    @classmethod
    def of_this_machine(cls) -> "Job":
        """Return the job whose inputs are the same for all draws of this user, and written when they are not there.

        Files are known by path and time: the same ones give the same ids in every workspace, and so the same draws.
        """
        job = cls(Path(tempfile.gettempdir()) / f"l3ae-chaos-inputs-{getpass.getuser()}")
        if not job.folder.exists():
            made = Path(tempfile.mkdtemp(prefix="l3ae-chaos-"))
            cls(made).write_inputs()
            with contextlib.suppress(OSError):  # another machine was first
                made.rename(job.folder)
        return job

    def write_inputs(self) -> None:
        """Write the inputs."""
        rng = np.random.default_rng(3)
        drawn = zip(rng.integers(0, USERS, 500), rng.integers(0, N, 500), strict=True)
        pairs = sorted({(int(user), int(item)) for user, item in drawn})
        tables = {
            "log.csv": pd.DataFrame(pairs, columns=["user_id", "item_id"]),
            "more.csv": pd.DataFrame({"user_id": range(50, 70), "item_id": rng.integers(0, N, 20)}),
            "items.csv": pd.DataFrame({"item_id": range(N), "title": [f"title {i}" for i in range(N)]}),
        }
        for name, table in tables.items():
            table.to_csv(self.folder / name, index=False)
        np.save(self.folder / "vectors.npy", rng.standard_normal((N, D)).astype(np.float32))
        for path in self.folder.iterdir():
            os.utime(path, (WRITTEN, WRITTEN))

    def config(self, workspace: str, version: str, where: Path, **compute: object) -> Path:
        """Write the configuration of a version of the job into ``where``, and return its path."""
        data = {"interactions": "log.csv", "items": "items.csv", "embeddings": "vectors.npy"}
        engine = {"cluster": "synchronous", "threads": 1, "tile_size": TILE, "dashboard": False, **compute}
        values = {
            "workspace": workspace,
            "data": {name: str(self.folder / file) for name, file in data.items()},
            "model": {"name": "l3ae", **RIDGES[version]},
            "evaluate": {"ks": [3, 5], "bootstrap": 50},
            "compute": engine,
            "report": False,
        }
        path = where / f"{version}.yaml"
        path.write_text(yaml.safe_dump(values))
        return path


def command(*arguments: object) -> Answer:
    """Call the command line in this process."""
    from typer import testing

    from l3ae_dist.cli import app

    # the tree of commands is the same every time, and takes a third of a small command's time
    if not hasattr(testing._get_command, "cache_info"):
        testing._get_command = cache(testing._get_command)
    done = testing.CliRunner().invoke(app.app, [str(one) for one in arguments])
    crash = ""
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        crash = "".join(traceback.format_exception(done.exception))
    return Answer(done.exit_code, done.stdout, done.stderr, crash)


def command_apart(
    arguments: Sequence[object],
    prepare: Callable[[], None] = lambda: None,
    watch: Callable[[int], None] = lambda pid: None,
) -> Answer:
    """Call the command line in a process of its own, forked from this one, which a fault may kill.

    Parameters
    ----------
    arguments
        Of the command line.
    prepare
        Called in the new process first.
    watch
        Called in this process with the new one's id while it runs.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_answer, args=(there, [str(one) for one in arguments], prepare))
    process.start()
    there.close()
    watch(process.pid or 0)
    try:
        answer = here.recv() if waited(here.poll) else Answer(0, crash=f"hangs for {HANG_SECONDS:.0f} s")
    except EOFError:
        answer = None
    if answer is not None and answer.crash.startswith("hangs"):
        process.kill()
    process.join(10)
    here.close()
    return Answer(process.exitcode or -9) if answer is None else answer


def _answer(pipe: Connection, arguments: list[str], prepare: Callable[[], None]) -> None:
    prepare()
    pipe.send(command(*arguments))
    pipe.close()
    os._exit(0)


@dataclass(frozen=True)
class Questions:
    """The commands whose answers are compared, for a version of the job in a workspace.

    Parameters
    ----------
    job, workspace
        The job, and a path or URL.
    version
        A configuration, or ``"append"``: more interactions for the model of the first one.
    scratch
        Folder for the configuration and for what commands write.
    """

    job: Job
    workspace: str
    version: str
    scratch: Path
    of: dict[str, list[object]] = field(init=False)
    mending: list[object] = field(init=False)
    """What makes the data sound again that are appended to."""

    def __post_init__(self) -> None:
        w, append = self.workspace, self.version == "append"
        config = self.job.config(w, "first" if append else self.version, self.scratch)
        engine = ["--set", "compute.cluster=synchronous", "--set", "compute.threads=1"]
        told = {
            "run": ["run", config, "--json"],
            "evaluate": ["evaluate", config, "--json"],
            "status": ["status", w, "--json"],
            "verify": ["verify", w, "--json"],
            "recommend": ["recommend", w, 3, 7, 11, "--n", 10, "--json"],
            "reasons": ["recommend", w, 5, 58, "--n", 5, "--reasons", 2, "--include-liked", "--json"],
            "similar": ["similar", w, 3, 30, "--json"],
            "collaborative": ["similar", w, 17, "--kind", "collaborative", "--json"],
            "explain": ["explain", w, 3, 5, "--json"],
            "du": ["du", w, "--json"],
            "gc": ["gc", w, "--dry-run", "--json"],
            "report": ["report", w, "--json"],
            "export": ["export", w, self.scratch / "export", "--json"],
            "everyone": ["recommend", w, "--all", "--output", self.scratch / "all.parquet", "--json"],
        }
        object.__setattr__(self, "mending", told["run"] if append else [])
        if append:
            told["run"] = [
                "append",
                w,
                self.job.folder / "more.csv",
                "--json",
                *engine,
                "--set",
                f"compute.tile_size={TILE}",
            ]
            told["evaluate"] = [
                "evaluate",
                w,
                "--json",
                *engine,
                "--set",
                "evaluate.ks=[3, 5]",
                "--set",
                "evaluate.bootstrap=50",
            ]
        object.__setattr__(self, "of", told)

    def ask(self, name: str) -> Answer:
        """Ask one, in this process."""
        return command(*self.of[name])

    def told(self, name: str, answer: Answer) -> object:
        """Return what an answer says, as values: of a file that was written, what is in it."""
        if name == "everyone":
            return pd.read_parquet(self.scratch / "all.parquet").to_dict("list")
        if name == "export":
            with np.load(self.scratch / "export" / "weights.npz") as weights:
                return {key: weights[key].tolist() for key in weights}
        return json.loads(answer.out)
