"""The factor stage of a run, killed once on the way and resumed: what was redone.

``python books_factor.py CONFIG RESULT`` is the run itself, as far as the factor stage, for which room for the
Gram matrix and its factor is enough; :func:`factor_with_a_kill` starts it, kills it, and starts it again.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from books_runs import progress

from l3ae_dist.config.load import load_config
from l3ae_dist.pipeline.inputs import Inputs
from l3ae_dist.pipeline.job import Job
from l3ae_dist.pipeline.run import run_job
from l3ae_dist.runtime.events import Event, StageStart, TileDone
from l3ae_dist.solve.artifact_store import SolveSettings
from l3ae_dist.solve.factorisation import Factorisation
from l3ae_dist.storage.done_marks import marked_chunks
from l3ae_dist.storage.layout import name_of
from l3ae_dist.storage.stages import Stage
from l3ae_dist.storage.workspace import Workspace

# A tile of the factor, and the time at which its file was written.
Written = dict[tuple[int, int], int]


class FactorIsMade(Exception):
    """The stage after the factor was about to begin."""


class FactorJob(Job):
    """A run that ends with the Cholesky factor."""

    def _storage(self, *_: object) -> dict[str, object]:
        """Tell nothing: a run as far as the factor needs less than what is refused."""
        return {}

    def _settings(self, *given: Any) -> SolveSettings:
        return replace(super()._settings(*given), on_event=self._until_the_factor)

    def _until_the_factor(self, event: Event) -> None:
        if isinstance(event, StageStart) and event.stage == Stage.LINV:
            raise FactorIsMade
        self.events(event)

    def _fit_and_evaluate(self, store: Any, family: Any, specs: Any) -> None:  # type: ignore[override]
        try:
            Factorisation(store, family.dataset).inverse(self.config.model.ridge)
        except FactorIsMade:
            return


@dataclass(frozen=True)
class Kill:
    """What a run had done when it was killed, and what the run after it did again.

    Parameters
    ----------
    tiles
        Of the factor.
    finished
        Those that were finished when the run was killed.
    unmarked
        Those that were written, and not finished.
    again
        Finished ones that the resumed run wrote once more.
    seconds
        From the first start to the kill.
    lost_seconds
        Since a tile was finished last: the work that the kill cost at most.
    """

    tiles: int
    finished: int
    unmarked: int
    again: int
    seconds: float
    lost_seconds: float


@dataclass(frozen=True)
class Killed:
    """A killed run that was resumed: its kill, the seconds of the resumed one, and the result of that."""

    kill: Kill
    resumed_seconds: float
    result: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """Return it as values of JSON."""
        return {**asdict(self.kill), "resumed_seconds": self.resumed_seconds}


def factor_with_a_kill(config: str, workspace: str, result: str) -> Killed:
    """Run as far as the factor with SIGKILL of the whole run half-way; ``result`` is the path of its result.

    A run that stands half-way already, since its workspace was kept, is killed at the next tile.
    """
    began = time.time()
    killed_at = kill_half_way([config, result, "--stand-still", "0.5"])
    finished, written = finished_tiles(workspace), written_tiles(workspace)
    print(f"   killed with {len(finished)} tiles finished", flush=True)
    resumed = time.time()
    subprocess.run(command([config, result]), check=True)
    ended = time.time()
    found = json.loads(Path(result).read_text())
    after = written_tiles(workspace)
    return Killed(
        Kill(
            tiles=found["stages"]["factor"]["tasks"],
            finished=len(finished),
            unmarked=len(written.keys() - finished),
            again=sum(after[tile] != written[tile] for tile in finished),
            seconds=killed_at - began,
            lost_seconds=killed_at - max((written[tile] for tile in finished), default=began * 1e9) / 1e9,
        ),
        ended - resumed,
        found,
    )


def command(arguments: list[str]) -> list[str]:
    return [sys.executable, __file__, *arguments]


def kill_half_way(arguments: list[str]) -> float:
    """Start a run that stands still half-way, and kill all its processes; return the time of the kill.

    The client stands still, and the workers go on for half of the time of a block, so that the kill meets
    tiles in the making however small the run is.
    """
    run = subprocess.Popen(
        command(arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert run.stdout is not None
    block_seconds = None
    for line in run.stdout:
        if line.startswith("half-way "):
            block_seconds = float(line.split()[1])
            break
        print(line, end="", flush=True)
    if block_seconds is None:
        raise SystemExit(f"the run ended with code {run.wait()} before it could be killed half-way.")
    time.sleep(block_seconds / 2)
    family = psutil.Process(run.pid).children(recursive=True)
    os.killpg(run.pid, signal.SIGKILL)
    killed_at = time.time()
    for process in family:  # those in sessions of their own
        if process.is_running():
            process.kill()
    run.communicate()
    psutil.wait_procs(family, timeout=20)
    return killed_at


def finished_tiles(workspace: str) -> set[tuple[int, int]]:
    """Return the tiles of the factor that have a done-mark."""
    marked = marked_chunks(Workspace.open(workspace).blobs)
    return next((chunks for path, chunks in marked.items() if name_of(path) == "L"), set())


def written_tiles(workspace: str) -> Written:
    """Return the times in nanoseconds at which the files of the factor's tiles were written."""
    files = (path for path in Path(workspace).rglob("L/c/*/*") if path.name.isdecimal())
    return {(int(path.parent.name), int(path.name)): path.stat().st_mtime_ns for path in files}


def stand_still(share: float, event: Event) -> None:
    """Wait for ever at the first finished tile of the factor beyond a share of them; say so before."""
    if isinstance(event, TileDone) and event.stage == Stage.FACTOR and event.done >= share * event.total:
        print(f"half-way {event.seconds}", flush=True)
        sys.stdin.read()  # ends where whoever was to kill this run is gone
        raise SystemExit("the benchmark that was to kill this run has ended.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("result")
    parser.add_argument("--stand-still", type=float, metavar="SHARE", help="of the factor's tiles")
    given = parser.parse_args()

    def told(event: Event) -> None:
        progress(event)
        if given.stand_still is not None:
            stand_still(given.stand_still, event)

    result: Mapping[str, Any] = run_job(
        FactorJob, load_config(given.config), Inputs(), until="factor", on_event=told
    )
    Path(given.result).write_text(json.dumps(result, default=str))


if __name__ == "__main__":
    main()
