"""Every figure of docs/benchmarks.md: all benchmarks and suites one after the other, then its tables.

It takes about four hours, alone on the machine. A step that fails ends it; ``--only demo,books``
goes on from there, or repeats single steps. The tables are written after the last step.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
# script and minutes on two cores
STEPS = {
    "demo": ("demo.py", 2),
    "books": ("books_out_of_core.py", 9),
    "books-large": ("books_large.py", 45),
    "engine": ("engine.py", 24),
    "model": ("model.py", 10),
    "cluster": ("cluster.py", 8),
    "intake": ("intake.py", 11),
    "scaling": ("scaling/strong_weak.py", 5),
    "simulator": ("scaling/simulator.py", 12),
    "million": ("scaling/million.py", 12),
    "plan": ("plan_check.py", 1),
    "chaos": ("chaos.py", 60),
    "tests": ("suites.py", 26),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help=f"comma-separated steps of {', '.join(STEPS)}")
    parser.add_argument("--list", action="store_true", help="show the steps and end")
    given = parser.parse_args()
    chosen = given.only.split(",") if given.only else list(STEPS)
    if unknown := sorted(set(chosen) - set(STEPS)):
        parser.error(f"unknown steps {', '.join(unknown)}; known are {', '.join(STEPS)}")
    total = sum(STEPS[name][1] for name in chosen)
    print(f"{len(chosen)} steps, about {total} minutes in all: {', '.join(chosen)}", flush=True)
    if given.list:
        return
    for number, name in enumerate(chosen, start=1):
        script, minutes = STEPS[name]
        print(f"[{number}/{len(chosen)}] {name}, about {minutes} minutes", flush=True)
        started = time.perf_counter()
        code = subprocess.run([sys.executable, str(FOLDER / script)]).returncode
        if code:
            raise SystemExit(
                f"{script} ended with code {code}; go on with --only {','.join(chosen[number - 1 :])}"
            )
        print(f"  {name} took {(time.perf_counter() - started) / 60:.1f} minutes", flush=True)
    subprocess.run([sys.executable, str(FOLDER / "report.py"), "--write"], check=True)


if __name__ == "__main__":
    main()
