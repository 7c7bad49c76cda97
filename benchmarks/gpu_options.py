"""What the parts of the GPU benchmark share: what is asked of them, processes of their peers, the device."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tile_solve import GIB

Rows = list[dict[str, Any]]
Details = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What is asked of the parts; a test asks for small ones, on tensors of the CPU.

    Parameters
    ----------
    device
        Of kernels and tiles: ``cuda``, or ``torch:cpu``.
    sizes
        Items of the systems that are factored and inverted.
    wide
        Whether they are computed in float64 too.
    tile
        Rows of the tiles that kernels are measured on.
    gemm
        Rows of the matrices that the device's own products are measured on.
    texts
        How many are embedded.
    actors
        How many embed, sharing the GPU; None for one, and on CPUs for one a core.
    items, users
        Of the fit.
    device_memory
        Bytes of the device that the fit may use; None for nine tenths of what is free.
    memory_budget
        Host memory of the one worker: the largest tiles with their buffers, and a cache beside them.
    shared, disk
        Folders of workspaces: in memory, and on the disk.
    """

    device: str = "cuda"
    sizes: tuple[int, ...] = (32_768, 65_536)
    wide: bool = True
    tile: int = 4096
    gemm: int = 8192
    texts: int = 38_519
    actors: int | None = None
    items: int = 91_599
    users: int = 300_000
    device_memory: int | None = None
    memory_budget: int = 24 * GIB
    shared: str = "/dev/shm"
    disk: str | None = None

    @property
    def on_gpu(self) -> bool:
        """True where the device is a GPU."""
        return self.device == "cuda"

    @property
    def torch_device(self) -> str:
        """The device as torch names it."""
        return "cuda" if self.on_gpu else "cpu"

    def document(self) -> Details:
        """Return the options as values of JSON."""
        return asdict(self)


def run_peer(script: str, name: str, **values: Any) -> Details:
    """Run a peer of a script in a process of its own, so that no GPU memory is shared.

    Parameters
    ----------
    script
        File of this folder, which calls :func:`answer_as_peer`.
    name, values
        Name of the peer, and its arguments.
    """
    command = [sys.executable, str(Path(__file__).with_name(script)), name, json.dumps(values)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: Details = json.loads(done.stdout.splitlines()[-1])
    return result


def answer_as_peer(peers: dict[str, Callable[..., Details]]) -> None:
    """Run the peer that the command line names, and print its result as one line of JSON."""
    name, values = sys.argv[1:]
    print(json.dumps(peers[name](**json.loads(values))))


def synchronize(device: str) -> None:
    """Wait until a torch device has done everything."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def device_seconds(work: Callable[[], Any], device: str, repeats: int = 5) -> float:
    """Return the median seconds of some work on a torch device, after once without a clock."""
    work()
    taken = []
    for _ in range(repeats):
        synchronize(device)
        started = time.perf_counter()
        work()
        synchronize(device)
        taken.append(time.perf_counter() - started)
    return median(taken)


def device_name(options: Options) -> str:
    """Return the name of the GPU, or what stands in for it."""
    if not options.on_gpu:
        return options.device
    import torch

    return str(torch.cuda.get_device_name())


@dataclass
class DeviceUse:
    """Bytes of the GPU: all, those free at first, and the most that were taken since; 0 without a GPU."""

    total: int = 0
    free: int = 0
    peak: int = 0
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)

    def sample(self) -> None:
        """Look at what is free now."""
        import torch

        free, self.total = torch.cuda.mem_get_info()
        self.free = self.free or free
        self.peak = max(self.peak, self.free - free)


@contextlib.contextmanager
def watched_device(options: Options, interval: float = 0.1) -> Iterator[DeviceUse]:
    """Watch how much of the GPU all processes take during the ``with`` block."""
    use = DeviceUse()
    if not options.on_gpu:
        yield use
        return

    def watch() -> None:
        while not use._ended.wait(interval):
            use.sample()

    use.sample()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield use
    finally:
        use._ended.set()
        thread.join()
