"""Part of the benchmark of a model that lives: the HTTP service under an open-loop load, with swaps.

The peer is a bare FastAPI endpoint of the same web server that reads the same requests and returns an answer
of the same length that is there already, under the same load in the same run. The service is asked
through Ray Serve, too, for what that holds.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from report import row
from scipy import sparse

from l3ae_dist.data.synthetic import zipf_items
from l3ae_dist.model.export_folder import file_digests
from l3ae_dist.solve.certificate import exact
from l3ae_dist.storage.documents import sealed
from l3ae_dist.storage.export_header import FORMAT, FORMAT_VERSION, HEADER, ITEMS, WEIGHTS

ITEMS_COUNT, K, RATE, SECONDS, SWAP_SECONDS = 38_519, 100, 1000.0, 60.0, 6.0
HISTORY, N = 10, 20
# Rates that are tried for five seconds each, after the one that is asked for.
HIGHER = (1500.0, 2000.0, 2500.0, 3000.0)
THROUGH_RAY = (50.0, 100.0, 200.0, 300.0, 400.0)


def write_export(folder: Path, n: int, seed: int) -> None:
    """Write an export of random weights: K of each column, of popular items more often."""
    rng = np.random.default_rng(seed)
    rows = zipf_items(n, K, n, exponent=0.6, seed=seed)
    values = rng.random(rows.size, np.float32) * rng.choice([1, 1, 1, -1], rows.size).astype(np.float32)
    columns = np.repeat(np.arange(n), K)
    weights = sparse.csr_matrix((values, (rows.ravel(), columns)), (n, n))
    weights.sum_duplicates()
    weights = sparse.csr_matrix(weights)
    folder.mkdir()
    sparse.save_npz(folder / WEIGHTS, weights, compressed=False)
    titles = [f"The {number}th book of a long title, volume {seed}".encode() for number in range(n)]
    ends = np.concatenate([[0], np.cumsum([len(title) for title in titles])])
    np.savez(
        folder / ITEMS,
        ids=np.arange(n),
        titles=np.frombuffer(b"".join(titles), np.uint8),
        titles_offsets=ends,
    )
    header = {
        "format": FORMAT, "format_version": FORMAT_VERSION, "package_version": "0", "model": "EASE",
        "params": {}, "k": K, "n_items": n, "entries": int(weights.nnz), "dtype": "float32",
        "certificate": exact("float32").document(), "files": file_digests(folder),
    }  # fmt: skip
    (folder / HEADER).write_bytes(sealed(HEADER, header) + b"\n")


def write_requests(path: Path, n: int) -> None:
    """Write a thousand requests, each with the history of one user."""
    histories = zipf_items(1000, HISTORY, n, exponent=0.6)
    lines = [
        json.dumps({"histories": [list(map(int, dict.fromkeys(one)))], "n": N}) for one in histories.tolist()
    ]
    path.write_text("\n".join(lines))


@contextmanager
def server(*command: str) -> Iterator[int]:
    """Run a server that says where it listens; yields its port."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = next(word for word in line.split() if word.startswith("http://"))
            yield int(address.rstrip(";").rsplit(":", 1)[1])
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def load(port: int, path: str, bodies: Path, rate: float, seconds: float) -> dict[str, Any]:
    """Send requests for some time, and return what the client found."""
    script = str(Path(__file__).with_name("open_loop.py"))
    command = [sys.executable, script, str(port), path, str(bodies), str(rate), str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def load_with_swaps(port: int, link: Path, names: list[str], bodies: Path, seconds: float) -> dict[str, Any]:
    """Send requests while the export is replaced again and again."""
    script = str(Path(__file__).with_name("open_loop.py"))
    command = [sys.executable, script, str(port), "/recommend", str(bodies), str(RATE), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        for number in range(int(seconds / SWAP_SECONDS)):
            time.sleep(SWAP_SECONDS if number else SWAP_SECONDS / 2)
            following = link.with_name("following")
            following.symlink_to(names[(number + 1) % len(names)])
            os.replace(following, link)
        assert client.stdout is not None
        found: dict[str, Any] = json.loads(client.stdout.read())
    return found


def swaps(port: int) -> int:
    """Return how many models took over, as the service counts."""
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return int(float(next(line for line in lines if line.startswith("l3ae_model_swaps_total")).split()[1]))


BARE = """
import contextlib, socket, sys
import uvicorn
from fastapi import FastAPI
from fastapi.responses import Response
from l3ae_dist.serve.schema import RecommendRequest
body = b"x" * int(sys.argv[1])
api = FastAPI()
@api.post("/recommend")
async def recommend(asked: RecommendRequest) -> Response:
    return Response(body, media_type="application/json")
with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
    print(f"at http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(uvicorn.Config(api, access_log=False, log_level="warning")).run(sockets=[listening])
"""


ON_RAY = """
import contextlib, random, socket, sys, time
from l3ae_dist.runtime.backends.ray_session import ray_session
for port in random.sample(range(20_000, 30_000), 100):  # below those that Ray's own sockets are given
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
        break
with contextlib.suppress(KeyboardInterrupt), ray_session(num_cpus=2):
    from ray import serve
    from l3ae_dist.serve.ray_application import Arguments, application
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(application(Arguments(target=sys.argv[1], most=1)))
        print(f"at http://127.0.0.1:{port}", flush=True)
        time.sleep(3600)
    finally:
        serve.shutdown()
"""


def through_ray(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Set out what one copy behind the proxy of Ray Serve holds."""
    held = [one for one in found if held_up(one, 50)]
    best = held[-1] if held else found[0]
    return [
        row(f"through Ray Serve, one copy: requests/s held with p99 below 50 ms, of {THROUGH_RAY[0]:g} to "
            f"{THROUGH_RAY[-1]:g}", best["rate"] if held else 0.0, "requests/s"),
        row(f"through Ray Serve, one copy: p99 at {best['rate']:g} requests/s",
            best["milliseconds"]["p99"], "ms"),
    ]  # fmt: skip


def answer_length(port: int, bodies: Path) -> int:
    """Return the bytes of the answer to the first request."""
    from urllib.request import Request, urlopen

    asked = Request(
        f"http://127.0.0.1:{port}/recommend", bodies.read_bytes().splitlines()[0],
        {"Content-Type": "application/json"},
    )  # fmt: skip
    with urlopen(asked) as answer:
        return len(answer.read())


def rows(details: dict[str, Any], n: int = ITEMS_COUNT, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Measure the service beside the bare endpoint, and then what it holds without a set rate."""
    folder = Path(tempfile.mkdtemp(prefix="l3ae-living-"))
    try:
        names = ["one", "two"]
        for seed, name in enumerate(names):
            write_export(folder / name, n, seed)
        link, bodies = folder / "current", folder / "bodies"
        link.symlink_to(names[0])
        write_requests(bodies, n)
        with server(sys.executable, "-m", "l3ae_dist", "serve", str(link), "--port", "0") as port:
            length = answer_length(port, bodies)
            load(port, "/recommend", bodies, RATE, 2)
            ours = load_with_swaps(port, link, names, bodies, seconds)
            swapped = swaps(port)
            most = [load(port, "/recommend", bodies, rate, 5) for rate in HIGHER]
        with server(sys.executable, "-c", BARE, str(length)) as port:
            load(port, "/recommend", bodies, RATE, 2)
            bare = load(port, "/recommend", bodies, RATE, seconds)
        with server(sys.executable, "-c", ON_RAY, str(link)) as port:
            load(port, "/recommend", bodies, THROUGH_RAY[0], 2)
            details["through Ray Serve"] = [load(port, "/recommend", bodies, rate, 5) for rate in THROUGH_RAY]
    finally:
        shutil.rmtree(folder)
    details.update(
        {"ours": ours, "bare": bare, "rates": most, "bytes of an answer": length, "swaps": swapped}
    )
    held = max([one["rate"] for one in (ours, *most) if held_up(one)], default=0.0)
    wrong = sum(count for status, count in ours["statuses"].items() if status != "200")
    p50, p99 = (ours["milliseconds"][name] for name in ("p50", "p99"))
    bare50, bare99 = (bare["milliseconds"][name] for name in ("p50", "p99"))
    what = f"{RATE:g} requests/s for {seconds:g} s, {swapped} swaps, {n:,} items"
    return [
        row(f"{what}: requests that were not answered with 200", wrong, "", target=0, smaller=True),
        row(f"{what}: swaps", swapped, "", target=int(seconds / SWAP_SECONDS)),
        row(f"{what}: p50, beside a bare endpoint", p50, "ms", bare50),
        row(f"{what}: p50", p50, "ms", target=2.0, smaller=True),
        row(f"{what}: p99, beside a bare endpoint", p99, "ms", bare99),
        row(f"{what}: p99, against 5 ms or twice that of the bare endpoint", p99, "ms", max(5.0, 2 * bare99),
            1.0, smaller=True),
        row(f"requests/s held with p99 below 10 ms, of {RATE:g} to {HIGHER[-1]:g}", held, "requests/s"),
        *through_ray(details["through Ray Serve"]),
    ]  # fmt: skip


def held_up(found: dict[str, Any], milliseconds: float = 10) -> bool:
    """Tell whether a rate was held: all requests answered, 99 of 100 within some time."""
    return set(found["statuses"]) == {"200"} and found["milliseconds"]["p99"] < milliseconds
