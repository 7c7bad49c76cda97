"""One NVIDIA GPU: kernels, the tile engine, embedding and a whole fit, beside their peers in the same run.

``make bench-gpu`` on a machine with a GPU; without one it says so and writes nothing. The parts:

* ``kernels``: the kernels of a fit against ``sgemm``, and copies to and from the device;
* ``memory``: factor + invert with the workspace in /dev/shm, against torch in device memory;
* ``disk``: the same with the workspace on the disk of the temporary folder, against what bounds it;
* ``embedding``: texts embedded by Ray actors, against plain ``SentenceTransformer.encode``;
* ``fit``: 91,599 synthetic items from training matrix to certified model, with the workspace in /dev/shm.

``--only kernels,memory`` runs some parts and keeps the figures of the others. Results are written after each
part, with its device and its date. ``--list`` prints how long each is expected to take.
"""

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from gpu_embedding import embedding, embedding_seconds
from gpu_engine import disk, disk_seconds, kernels, kernels_seconds, memory, memory_seconds
from gpu_fit import fit, fit_seconds
from gpu_options import Details, Options, Rows, device_name
from report import gpu_parts, publish, results_folder

from l3ae_dist.linalg.torch_kernels import resolve_device
from l3ae_dist.runtime.versions import machine


class Part(NamedTuple):
    """A part of the benchmark, and the estimate of its seconds."""

    run: Callable[[Options, Details], Rows]
    seconds: Callable[[Options], float]


PARTS = {
    "kernels": Part(kernels, kernels_seconds),
    "memory": Part(memory, memory_seconds),
    "disk": Part(disk, disk_seconds),
    "embedding": Part(embedding, embedding_seconds),
    "fit": Part(fit, fit_seconds),
}


def run_part(name: str, options: Options) -> dict[str, Any]:
    """Run a part, and return its rows with its device, machine, date and details."""
    details: Details = {}
    expected, started = PARTS[name].seconds(options), time.perf_counter()
    print(f"{name}, about {expected:.0f} s", flush=True)
    rows = PARTS[name].run(options, details)
    seconds = time.perf_counter() - started
    print(f"  {name} took {seconds:.0f} s", flush=True)
    return {
        "device": device_name(options),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "seconds": round(seconds, 1),
        "rows": rows,
        "details": details,
    }


def run_parts(names: list[str], options: Options) -> None:
    """Run parts, and write what is there after each; those that are not run keep their figures."""
    path = results_folder() / "gpu.json"
    parts = gpu_parts(json.loads(path.read_text())) if path.exists() else {}
    for name in names:
        parts[name] = run_part(name, options)
        parts = {name: parts[name] for name in PARTS if name in parts}
        publish("gpu", [line for part in parts.values() for line in part["rows"]], parts=parts)


def given_options() -> tuple[argparse.Namespace, Options]:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = Options()
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--list", action="store_true", help="print the parts with their estimates, and end")
    parser.add_argument("--sizes", default=",".join(map(str, usual.sizes)),
                        help="items of memory and disk, separated by commas")  # fmt: skip
    parser.add_argument("--no-wide", action="store_true", help="leave out arithmetic in float64")
    parser.add_argument("--texts", type=int, default=usual.texts, help="texts that are embedded")
    parser.add_argument("--actors", type=int, help="embedding actors that share the GPU, one when not given")
    parser.add_argument("--items", type=int, default=usual.items, help="items of the fit")
    parser.add_argument("--users", type=int, default=usual.users, help="users of the fit")
    parser.add_argument("--device-memory", type=int, help="bytes of the device that the fit may use")
    given = parser.parse_args()
    if unknown := sorted(set(given.only.split(",")) - set(PARTS)):
        parser.error(f"unknown parts {', '.join(unknown)}; known are {', '.join(PARTS)}")
    try:
        sizes = tuple(int(size) for size in given.sizes.split(","))
    except ValueError:
        parser.error(f"--sizes is {given.sizes!r} but must be whole numbers separated by commas")
    options = Options(
        sizes=sizes, wide=not given.no_wide, texts=given.texts, actors=given.actors, items=given.items,
        users=given.users, device_memory=given.device_memory,
    )  # fmt: skip
    return given, options


def main() -> None:
    given, options = given_options()
    names = given.only.split(",")
    expected = {name: PARTS[name].seconds(options) for name in names}
    each = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in expected.items())
    print(f"about {sum(expected.values()) / 60:.1f} minutes: {each}", flush=True)
    if given.list:
        return
    if resolve_device("auto") != "cuda":
        raise SystemExit("torch sees no GPU here; bench-gpu needs one.")
    run_parts(names, options)


if __name__ == "__main__":
    main()
