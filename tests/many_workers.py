"""Several workers in this process: each has its memory, and reads tiles from the others and the workspace."""

from collections import deque

import numpy as np

from l3ae_dist.graphs import make_tiles
from l3ae_dist.graphs.execute import STAGED, run_task
from l3ae_dist.graphs.tile_memory import HostMemory
from l3ae_dist.linalg.kernels import CpuKernels
from l3ae_dist.runtime.executors import TaskOutcome
from l3ae_dist.runtime.peer_reads import with_account
from l3ae_dist.runtime.tile_holders import TileHolders
from l3ae_dist.storage.accumulators import Accumulators
from l3ae_dist.storage.sent_chunks import accepted
from l3ae_dist.storage.tile_reader import TileReader


class _Peers:
    """Other workers of this process, which answer at once."""

    def __init__(self, readers, own):
        self._readers, self._own = readers, own

    def read(self, request, buffer):
        for address in request.holders:
            held = None if address == self._own else self._readers[address].pinned(request.key)
            if held is None:
                continue
            array = request.array
            chunk = buffer[: array.chunk_nbytes].view(array.dtype).reshape(array.chunks)
            chunk[...] = 0
            rows, columns = held.tile.shape
            chunk[:rows, :columns] = held.tile
            self._readers[address].release(held)
            return accepted(request, buffer), 0.0
        return None


class ManyWorkers:
    """Executor of tile tasks by several workers of equal pace, which take turns in an order drawn each time.

    Parameters
    ----------
    monkeypatch
        Gives the tasks the memory of their worker.
    count
        Workers.
    peers
        Whether they read from each other.
    seed
        Of the order.
    """

    def __init__(self, monkeypatch, count, *, peers=True, seed=7):
        self.slots = (STAGED + 1) * count
        self.holders = TileHolders()
        self._readers = {f"worker-{number}": TileReader() for number in range(count)}
        self._memories = {
            address: HostMemory(CpuKernels(), reader, Accumulators(reader))
            for address, reader in self._readers.items()
        }
        for address, reader in self._readers.items():
            reader.peers = _Peers(self._readers, address) if peers else None
        self._queues = {address: deque() for address in self._readers}
        self._random = np.random.default_rng(seed)
        self._round, self._now = [], None
        monkeypatch.setattr(
            make_tiles, "process_memory", lambda device, arithmetic: self._memories[self._now]
        )

    def worker_limit(self):
        return None

    def submit(self, function, task, context):
        address = min(self._queues, key=lambda address: len(self._queues[address]))
        self._queues[address].append((task, context))

    def wait(self):
        while not self._round or not self._queues[self._round[-1]]:
            if self._round:
                self._round.pop()
            else:
                self._round = list(self._random.permutation(list(self._queues)))
        self._now = self._round.pop()
        task, context = self._queues[self._now].popleft()
        try:
            records = run_task(task, context)
        except Exception as error:
            return TaskOutcome(task, None, error)
        reader = self._readers[self._now]
        return TaskOutcome(task, with_account(records, task, context, reader, self._now), None)

    def cancel(self):
        for queue in self._queues.values():
            queue.clear()
