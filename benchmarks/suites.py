"""The test suites, one after the other: how many pass, and how long they take."""

import re
import subprocess
import sys
import time
from typing import Any

from report import publish

SUITES = {
    "make test-ray": (["-m", "ray and not slow and not faults and not parity"],),
    "make test-others": (
        ["-n", "2", "--dist", "loadfile", "-m", "not ray and not slow and not faults and not parity"],
    ),
    "make faults": (["-m", "faults"],),
    "make parity": (["-m", "parity"],),
    "make bench-once": (["benchmarks"],),
}
_COUNT = re.compile(r"(\d+) (passed|skipped|failed|error)")


def counts(summary: str) -> dict[str, int]:
    """Read the counts of pytest's last line.

    >>> counts("== 12 passed, 1 skipped, 3 deselected in 9.21s ==")
    {'passed': 12, 'skipped': 1}
    """
    found = dict.fromkeys(("passed", "skipped"), 0)
    return found | {what: int(count) for count, what in _COUNT.findall(summary)}


def run(name: str, arguments: list[str]) -> dict[str, int]:
    """Run one command of a suite, and count its tests; end here when one fails."""
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    last = done.stdout.strip().splitlines()[-1]
    print(f"{name}: {last}", flush=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stdout[-4000:]}")
    return counts(last)


def main() -> None:
    suites: dict[str, Any] = {}
    for name, commands in SUITES.items():
        started = time.perf_counter()
        found = [run(name, arguments) for arguments in commands]
        total = {what: sum(one[what] for one in found) for what in found[0]}
        suites[name] = {**total, "seconds": round(time.perf_counter() - started, 1)}
    publish("tests", [], suites=suites)


if __name__ == "__main__":
    main()
