"""The benchmarks of ``asv_bench`` without asv: every one once, and its counts against the expected ones.

``python benchmarks/bench_once.py --write`` makes today's counts the expected ones.
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asv_runner._aux import update_sys_path
from asv_runner.discovery import disc_benchmarks

FOLDER = Path(__file__).parent / "asv_bench"
EXPECTED = FOLDER / "expected.json"
COUNTS = ("track_num_tasks", "track_bytes_read")


def cases() -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """Name, benchmark and parameters of every benchmark, as asv finds them."""
    update_sys_path(str(FOLDER))
    for benchmark in disc_benchmarks(str(FOLDER)):
        for chosen in itertools.product(*benchmark._params):
            label = ", ".join(
                f"{name}={value}" for name, value in zip(benchmark.param_names, chosen, strict=True)
            )
            yield f"{benchmark.name}({label})", benchmark, chosen


def run_once(benchmark: Any, chosen: tuple[Any, ...]) -> Any:
    """Call a benchmark's function once after its setup, and return its value."""
    benchmark._current_params = chosen
    benchmark.do_setup()
    try:
        return benchmark.func(*chosen)
    finally:
        benchmark.do_teardown()


def is_count(name: str) -> bool:
    """Tell whether a case counts tasks or bytes, which must not change by themselves."""
    return name.partition("(")[0].rpartition(".")[2] in COUNTS


def expected() -> dict[str, int]:
    """Read the counts of the last accepted version."""
    found: dict[str, int] = json.loads(EXPECTED.read_text())
    return found


def difference(name: str, found: int, wanted: int | None) -> str:
    """Describe a changed count in a sentence; empty where nothing changed.

    >>> difference("Gram.track_num_tasks(tile=4)", 12, 10)[:60]
    'Gram.track_num_tasks(tile=4) is 12 and was 10 (+20.0 %); fin'
    """
    if found == wanted:
        return ""
    if wanted is None:
        return f"{name} is {found:,} and has no expected value; run python benchmarks/bench_once.py --write."
    change = f" ({found / wanted - 1:+.1%})".replace("%", " %") if wanted else ""
    return (
        f"{name} is {found:,} and was {wanted:,}{change}; find what changed it, or, if it is meant, run "
        "python benchmarks/bench_once.py --write and say why in CHANGELOG.md."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="make today's counts the expected ones")
    write = parser.parse_args().write
    counts = {name: int(run_once(benchmark, chosen)) for name, benchmark, chosen in cases() if is_count(name)}
    wanted = expected() if EXPECTED.exists() else {}
    for name, count in counts.items():
        if text := difference(name, count, wanted.get(name)):
            print(text)
    if write:
        EXPECTED.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")
    print(f"{len(counts)} counts")


if __name__ == "__main__":
    main()
