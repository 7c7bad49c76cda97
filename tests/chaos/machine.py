"""Draws one after the other, each in a process of its own with a limit of time, and their report."""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from chaos.draws import REAL, Draw, Outcome, World, build
from chaos.job import HANG_SECONDS, waited

ROOT = Path(__file__).resolve().parents[2]
PRELOADED = ["chaos.preload"]


def make_draw(folder: Path, seed: int, index: int, pipe: Connection) -> None:
    """Make one draw in this process, and tell every step and the outcome through a pipe."""
    pipe.send("begun")
    outcome = Draw(World.load(folder), seed, index, pipe.send).make()
    shutil.rmtree(folder / f"draw-{seed}-{index}", ignore_errors=True)
    pipe.send(outcome)


def draw(folder: Path, seed: int, index: int) -> Outcome:
    """Make one draw in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe()
    process = context.Process(target=make_draw, args=(folder, seed, index, there))
    process.start()
    there.close()
    steps: list[str] = []
    try:
        while True:
            if not waited(here.poll, HANG_SECONDS + 10):
                process.kill()
                return Outcome(index, ["?"], steps, f"hangs for {HANG_SECONDS + 10:.0f} s", "hang")
            told = here.recv()
            if isinstance(told, Outcome):
                return told
            steps.append(told)
    except EOFError:
        process.join(10)
        return Outcome(index, ["?"], steps, f"the process ended with code {process.exitcode}", "traceback")
    finally:
        process.join(10)
        here.close()


@contextmanager
def world(s3: bool) -> Iterator[Path]:
    """Build what every draw finds, in a temporary folder."""
    from object_store import s3_server

    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as name,
        s3_server() if s3 else nullcontext({}) as environment,
    ):
        folder = Path(name)
        os.environ.update(environment)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        builder = context.Process(target=build, args=(folder, environment.get("AWS_ENDPOINT_URL")))
        builder.start()
        builder.join()
        if builder.exitcode:
            raise SystemExit("the undisturbed job fails")
        yield folder


@dataclass
class Machine:
    """Draws in several processes.

    Parameters
    ----------
    folder
        What :func:`world` yields.
    seed
        Of every draw.
    indices
        Of the draws.
    until
        Time at which no draw is begun.
    """

    folder: Path
    seed: int
    indices: Iterator[int]
    until: float
    outcomes: list[Outcome] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def drive(self) -> None:
        """Make draws until there is no more time, and print those that fail."""
        while time.perf_counter() < self.until:
            with self.lock:
                index = next(self.indices, None)
            if index is None:
                return
            outcome = draw(self.folder, self.seed, index)
            with self.lock:
                self.outcomes.append(outcome)
                if outcome.verdict != "passed":
                    show(self.seed, outcome)

    def run(self, processes: int) -> None:
        """Drive so many processes."""
        drivers = [threading.Thread(target=self.drive) for _ in range(processes)]
        for one in drivers:
            one.start()
        for one in drivers:
            one.join()


def report(seed: int, outcomes: list[Outcome], seconds: float) -> int:
    """Print what was tried by kind and the verdicts; return the exit status."""
    kinds = Counter(kind for one in outcomes for kind in one.kinds)
    verdicts = Counter(one.verdict for one in outcomes)
    real = sum(one.index % 20 in REAL for one in outcomes)
    print(f"seed {seed}: {len(outcomes)} draws ({real} with processes of their own) in {seconds:.0f} s, "
          f"{verdicts['passed']} passed, {verdicts['wrong']} wrong, {verdicts['traceback']} tracebacks, "
          f"{verdicts['hang']} hangs")  # fmt: skip
    for kind, count in sorted(kinds.items()):
        failed = sum(kind in one.kinds for one in outcomes if one.verdict != "passed")
        print(f"{count:>6}  {kind}{f', of which {failed} in draws that failed' if failed else ''}")
    return int(verdicts["passed"] < len(outcomes))


def show(seed: int, outcome: Outcome) -> None:
    """Print a draw that failed, and the command that repeats it."""
    print(f"\ndraw {outcome.index} {outcome.verdict}: {outcome.wrong}")
    print("".join(f"    {step}\n" for step in outcome.steps), end="")
    print(f"  again: make chaos CHAOS='--seed {seed} --index {outcome.index}'", flush=True)


def keep_results(seed: int, outcomes: list[Outcome], seconds: float) -> None:
    """Write ``benchmarks/results/chaos.json``: the rows, what was tried, and what was tested."""
    sys.path.append(str(ROOT / "benchmarks"))
    from report import publish, row

    verdicts = Counter(one.verdict for one in outcomes)
    real = sum(one.index % 20 in REAL for one in outcomes)
    rows = [
        row("draws", len(outcomes), "", target=1000),
        row("of them in one process", len(outcomes) - real, "", target=850),
        row("of them with processes of their own", real, "", target=150),
        *(row(name, verdicts[verdict], "", target=0, smaller=True)
          for name, verdict in (("wrong", "wrong"), ("tracebacks", "traceback"), ("hangs", "hang"))),
        row("minutes", seconds / 60, "min"),
    ]  # fmt: skip
    kinds = Counter(kind for one in outcomes for kind in one.kinds)
    failed = _failed(outcomes)
    publish("chaos", rows, seed=seed, kinds=dict(sorted(kinds.items())), failed=failed, trees=trees())


def _failed(outcomes: list[Outcome]) -> dict[str, list[str]]:
    return {str(one.index): [one.verdict, one.wrong[:300]] for one in outcomes if one.verdict != "passed"}


def keep_again(outcomes: list[Outcome]) -> None:
    """Put draws that failed and were made again into ``benchmarks/results/chaos.json``, with what was tested."""
    path = ROOT / "benchmarks" / "results" / "chaos.json"
    document = json.loads(path.read_text())
    document["failed"] |= _failed(outcomes)
    for one in outcomes:
        if one.verdict == "passed":
            failure = document["failed"].pop(str(one.index))
            document.setdefault("mended", {})[str(one.index)] = {"failed": failure, "passes": trees()}
    verdicts = Counter(verdict for verdict, _ in document["failed"].values())
    names = {"wrong": "wrong", "tracebacks": "traceback", "hangs": "hang"}
    for line in document["rows"]:
        if line["name"] in names:
            line["ours"] = verdicts[names[line["name"]]]
            line["met"] = line["ours"] <= line["target"]
    path.write_text(json.dumps(document, indent=1) + "\n")


def trees() -> dict[str, str]:
    """Return the hashes of the package and of the machine in the index of Git; refuse changes that it lacks."""
    told = {}
    for folder in ("l3ae_dist", "tests/chaos"):
        if subprocess.run(
            ["git", "-C", ROOT, "status", "--porcelain", "--", folder], capture_output=True, check=True
        ).stdout:
            raise SystemExit(
                f"{folder} has changes that are not committed; results name the tree that was tested"
            )
        name = subprocess.run(
            ["git", "-C", ROOT, "rev-parse", f"HEAD:{folder}"], capture_output=True, text=True, check=True
        )
        told[folder] = name.stdout.strip()
    return told


def parsed() -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=None, help="of every draw; a new one when not given")
    parser.add_argument("--index", type=int, default=None, help="one draw alone, step by step")
    parser.add_argument("--start", type=int, default=0, help="first index: where an earlier series ended")
    parser.add_argument("--draws", type=int, default=None, help="how many draws")
    parser.add_argument(
        "--seconds", type=float, default=None, help="no draw is begun after so long; 180 without --draws"
    )
    parser.add_argument("--processes", type=int, default=1, help="draws at once")
    parser.add_argument("--no-s3", action="store_true", help="without an S3 server")
    parser.add_argument(
        "--again",
        action="store_true",
        help="the draws of benchmarks/results/chaos.json that failed, once more",
    )
    parser.add_argument("--results", action="store_true", help="write benchmarks/results/chaos.json")
    return parser.parse_args()


def main() -> int:
    """Make the draws that the arguments ask for; return the exit status."""
    given = parsed()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    seconds = given.seconds or (180.0 if given.draws is None and given.index is None else float("inf"))
    end = sys.maxsize if given.draws is None else given.start + given.draws
    indices = range(given.start, end) if given.index is None else [given.index]
    if given.again:
        document = json.loads((ROOT / "benchmarks" / "results" / "chaos.json").read_text())
        seed, indices = document["seed"], [int(index) for index in document["failed"]]
    print(f"seed {seed}", flush=True)
    if given.results or given.again:
        trees()
    with world(not given.no_s3) as folder:
        began = time.perf_counter()
        machine = Machine(folder, seed, iter(indices), began + seconds)
        machine.run(given.processes)
        taken = time.perf_counter() - began
    if given.index is not None and machine.outcomes[0].verdict == "passed":
        print("\n".join(machine.outcomes[0].steps))
    if given.again:
        keep_again(machine.outcomes)
    elif given.results:
        keep_results(seed, machine.outcomes, taken)
    return report(seed, machine.outcomes, taken)


if __name__ == "__main__":
    sys.exit(main())
