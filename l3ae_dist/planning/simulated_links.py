"""The ways of tiles in a simulation: storage that all share, the network of each worker, the peers' caches.

What is on its way at a time shares a way evenly. A tile that a peer sends is charged to the networks of
both, and there is no broadcast: each worker that wants a tile has it sent to itself. Whether a worker asks a
peer or the storage is decided as in a real one, by :class:`~l3ae_dist.storage.tier_pace.TierPace`.
"""

from collections.abc import Sequence

from l3ae_dist.graphs.blocks import AnyTask
from l3ae_dist.graphs.holders import NOBODY, Holders, as_bits, tiles_known
from l3ae_dist.graphs.tasks import TileRef
from l3ae_dist.planning.model_cluster import ModelCluster
from l3ae_dist.runtime.tile_holders import TileHolders
from l3ae_dist.storage.tier_pace import TierPace
from l3ae_dist.storage.tile_cache import TileCache


class _SameNames(dict[str, str]):
    """The paths of arrays that lie where their names say."""

    def __missing__(self, key: str) -> str:
        return key


_PATHS = _SameNames()


class Peers:
    """Tiles that modelled workers hold, and the account of them that their client keeps.

    Parameters
    ----------
    caches
        Of the workers, by their numbers.
    """

    def __init__(self, caches: Sequence[TileCache[TileRef]]) -> None:
        self.caches = list(caches)
        self._account = TileHolders()

    def told(self, task: AnyTask) -> Holders:
        """Return what a task is told when it is sent."""
        return self._account.of(task, _PATHS)

    def kept(self, task: AnyTask, worker: int) -> int:
        """Return what a worker tells of the tiles of a task that ended."""
        return as_bits([ref in self.caches[worker] for ref in tiles_known(task)])

    def note(self, task: AnyTask, worker: int, kept: int) -> None:
        """Let the client learn it.

        Parameters
        ----------
        task, worker, kept
            Of the task that ended, as :meth:`kept` returned it.
        """
        self._account.note_kept(task, _PATHS, str(worker), kept)

    def lose(self, worker: int, cache: TileCache[TileRef]) -> None:
        """Give a worker that failed an empty cache."""
        self.caches[worker] = cache
        self._account.forget(str(worker))

    def holding(self, ref: TileRef, told: Holders, worker: int) -> list[int]:
        """Return those workers that a task was told of which do hold a tile, without its own.

        Parameters
        ----------
        ref
            The tile.
        told, worker
            Of the task.
        """
        numbers = map(int, told.of(ref))
        return [number for number in numbers if number != worker and ref in self.caches[number]]


class Links:
    """Streams on every way now; one that is active for a part of the time counts in part.

    Parameters
    ----------
    cluster
        Rates of workers, network and storage.
    peers
        What the workers hold.
    """

    def __init__(self, cluster: ModelCluster, peers: Peers) -> None:
        self.cluster, self.rates = cluster, cluster.rates
        # measured with both ends at work, each of which is charged
        self._between = min(cluster.network_bytes_s, 2 * cluster.peer_bytes_s)
        self._peers = peers
        self._paces = [TierPace() for _ in range(cluster.workers)]
        self.clear()

    def clear(self) -> None:
        """Forget what is on its way, and nothing of what workers hold."""
        self.network = [0.0] * self.cluster.workers
        self.own = [0.0] * self.cluster.workers
        self.storage = 0.0

    def add(self, load: "Load", sign: float = 1.0) -> None:
        """Count a load among the streams, or take it from them.

        Parameters
        ----------
        load
            Shares of time of a worker's transfers.
        sign
            1 when it begins, -1 when it ends.
        """
        self.storage += sign * load.storage
        self.own[load.worker] += sign * load.storage
        self.network[load.worker] += sign * load.network
        for holder, share in load.peers.items():
            self.network[holder] += sign * share

    def read(self, worker: int, size: float, tiles: Sequence[TileRef], told: Holders = NOBODY) -> "Load":
        """Return what a read of tiles takes: from peers and from storage side by side.

        Parameters
        ----------
        worker
            That reads.
        size
            Bytes of a tile.
        tiles
            The tiles.
        told
            Workers that the task was told of.
        """
        load, pace, rates = Load(worker), self._paces[worker], self.rates
        busy = 1 + self.network[worker]
        mine, received = size * busy / self.cluster.network_bytes_s, size * busy / self._between
        slot = self._storage(worker, size, rates.read_bytes_s, rates.shared_read_bytes_s)
        stored = sent = 0.0
        for ref in tiles:
            holder = self._holder(ref, worker, told)
            if holder is not None and pace.prefers_peers():
                each = size * (1 + self.network[holder]) / self._between
                pace.peers_took(max(each, received) + rates.latency_seconds, int(size))
                sent += each
                load.peers[holder] = load.peers.get(holder, 0.0) + each
                load.bytes_peers += size
            else:
                pace.workspace_took(max(slot, mine) + rates.read_seconds, int(size))
                stored += slot
                load.bytes_storage += size
        wire = (received * load.bytes_peers + mine * load.bytes_storage) / size
        load.storage, load.network = stored, max(wire, stored, sent)
        load.seconds = max(
            wire + rates.latency_seconds * bool(sent),
            stored + rates.read_seconds * bool(stored),
            sent + rates.latency_seconds * bool(sent),
        )
        return load

    def write(self, worker: int, size: float, tiles: int = 1) -> "Load":
        """Return what writes of tiles take, one after the other.

        Parameters
        ----------
        worker, size
            That writes, and its bytes in all.
        tiles
            That these are.
        """
        wire = size * (1 + self.network[worker]) / self.cluster.network_bytes_s
        stored = self._storage(worker, size, self.rates.write_bytes_s, self.rates.shared_write_bytes_s)
        load = Load(worker, storage=stored, network=max(wire, stored))
        load.seconds = tiles * self.rates.write_seconds + load.network + self.rates.download_seconds(size)
        return load

    def _storage(self, worker: int, size: float, own: float, shared: float) -> float:
        return size / min(own / (1 + self.own[worker]), shared / (1 + self.storage))

    def _holder(self, ref: TileRef, worker: int, told: Holders) -> int | None:
        """Return the least busy of the peers that hold a tile."""
        return min(self._peers.holding(ref, told, worker), key=self.network.__getitem__, default=None)


class Load:
    """Seconds that transfers of a worker are on their ways, or shares of time.

    Parameters
    ----------
    worker
        Whose transfers.
    storage, network
        From or to the storage, and on the worker's network.
    """

    def __init__(self, worker: int, storage: float = 0.0, network: float = 0.0) -> None:
        self.worker, self.storage, self.network = worker, storage, network
        self.peers: dict[int, float] = {}
        self.seconds = self.bytes_storage = self.bytes_peers = 0.0

    def join(self, other: "Load") -> None:
        """Add another one of the same worker."""
        self.seconds += other.seconds
        self.storage += other.storage
        self.network += other.network
        self.bytes_storage += other.bytes_storage
        self.bytes_peers += other.bytes_peers
        for holder, seconds in other.peers.items():
            self.peers[holder] = self.peers.get(holder, 0.0) + seconds

    def over(self, length: float) -> "Load":
        """Turn seconds into shares of a length of time."""
        length = length or 1.0  # of no length nothing is on its way
        self.storage = min(1.0, self.storage / length)
        self.network = min(1.0, self.network / length)
        self.peers = {holder: min(1.0, seconds / length) for holder, seconds in self.peers.items()}
        return self
