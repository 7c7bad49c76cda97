"""Faults of real processes: the command line with a local Dask cluster, and signals to it and its workers."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from chaos.job import HANG_SECONDS, Answer, waited


@dataclass
class Run:
    """One process of the command line, in a session of its own.

    Parameters
    ----------
    process
        Of the command line.
    """

    process: "subprocess.Popen[str]"
    told: tuple[str, str] = ("", "")
    """What it wrote to its two streams, once it has ended."""

    @classmethod
    def start(cls, arguments: list[object], **variables: str) -> "Run":
        """Start ``l3ae-dist`` with some arguments."""
        process = subprocess.Popen(
            [sys.executable, "-c", "from l3ae_dist.cli.app import main; main()", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "200", **variables},
            start_new_session=True,
        )
        return cls(process)

    def finish(self) -> Answer:
        """Wait for its end; one that hangs is killed."""
        ended = waited(self._has_ended)
        self.kill()
        if not ended:
            return Answer(1, crash=f"hangs for {HANG_SECONDS:.0f} s")
        return Answer(self.process.returncode, *self.told)

    def _has_ended(self, seconds: float) -> bool:
        try:
            self.told = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL to all its processes."""
        for one in self.family():
            with contextlib.suppress(psutil.Error):
                one.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(ValueError):
            self.process.communicate()

    def family(self) -> list[psutil.Process]:
        """Return its processes, itself first."""
        try:
            client = psutil.Process(self.process.pid)
            return [client, *client.children(recursive=True)]
        except psutil.Error:
            return []

    def workers(self) -> list[psutil.Process]:
        """Return the processes that compute: children of the client, not the helpers of multiprocessing."""
        found = []
        for one in self.family()[1:]:
            with contextlib.suppress(psutil.Error):
                if "spawn_main" in " ".join(one.cmdline()):
                    found.append(one)
        return found


def written(workspace: Path) -> int:
    """Count the chunks that are done."""
    # unlike Path.rglob it passes over folders that the run deletes meanwhile
    return sum(len(files) for _, _, files in os.walk(workspace / "meta" / "done"))


@dataclass(frozen=True)
class Moment:
    """When a fault strikes; not before the run holds the workspace, since until then a process only starts.

    Parameters
    ----------
    done
        So many more chunks are done.
    seconds
        So long after that.
    """

    done: int
    seconds: float

    @classmethod
    def drawn(cls, rng: random.Random, chunks: int) -> "Moment":
        """Draw a moment of a run that writes so many chunks."""
        return cls(rng.randint(0, chunks), rng.random() ** 2 * 2)

    def wait(self, run: Run, workspace: Path, before: int) -> None:
        """Wait for the moment, or for the end of the run; there were ``before`` chunks."""

        def has_come(_: float) -> bool:
            time.sleep(0.03)
            ended = run.process.poll() is not None
            return ended or (_is_held(workspace) and written(workspace) >= before + self.done)

        waited(has_come)
        time.sleep(self.seconds)

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s after {self.done} chunks"


def _is_held(workspace: Path) -> bool:
    try:
        return b'"released": false' in (workspace / "meta" / "lock.json").read_bytes()
    except OSError:
        return False


Strike = Callable[[random.Random, Run], str]


def kill_all(rng: random.Random, run: Run) -> str:
    """SIGKILL to the client and all workers."""
    run.kill()
    return "everything killed"


def kill_client(rng: random.Random, run: Run) -> str:
    """SIGKILL to the client alone: its workers notice by themselves."""
    run.process.kill()
    return "client killed"


def kill_worker(rng: random.Random, run: Run) -> str:
    """SIGKILL to a worker."""
    return f"{_signalled(rng, run, signal.SIGKILL)} killed"


def freeze_worker(rng: random.Random, run: Run) -> str:
    """SIGSTOP to a worker, for good."""
    return f"{_signalled(rng, run, signal.SIGSTOP)} frozen"


def freeze_client(rng: random.Random, run: Run) -> str:
    """SIGSTOP to the client, SIGCONT after some seconds."""
    seconds = rng.choice([0.5, 3.0, 8.0])
    with contextlib.suppress(ProcessLookupError):
        os.kill(run.process.pid, signal.SIGSTOP)
    timer = threading.Timer(seconds, _go_on, (run.process.pid,))
    timer.daemon = True
    timer.start()
    return f"client frozen for {seconds} s"


def interrupt(rng: random.Random, run: Run) -> str:
    """Ctrl-C in the terminal: SIGINT to every process of the group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.process.pid, signal.SIGINT)
    return "Ctrl-C"


def terminate(rng: random.Random, run: Run) -> str:
    """SIGTERM to the client, as a cluster's manager sends it."""
    run.process.terminate()
    return "SIGTERM"


def _signalled(rng: random.Random, run: Run, number: int) -> str:
    workers = run.workers()
    if not workers:
        return "no worker"
    chosen = rng.randrange(len(workers))
    with contextlib.suppress(psutil.Error):
        workers[chosen].send_signal(number)
    return f"worker {chosen} of {len(workers)}"


def _go_on(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


STRIKES: dict[str, Strike] = {
    one.__name__.replace("_", " "): one
    for one in (kill_all, kill_client, kill_worker, freeze_worker, freeze_client, interrupt, terminate)
}
