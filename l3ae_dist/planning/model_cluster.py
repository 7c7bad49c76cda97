"""The cluster of a simulation: its workers, and the trouble that they are in."""

from dataclasses import dataclass

from l3ae_dist.graphs.blocks import SINGLE
from l3ae_dist.planning.rates import Rates
from l3ae_dist.planning.worker_memory import accumulators


@dataclass(frozen=True)
class Trouble:
    """Failures and slow workers of a simulation, and the look-ahead of its submission window.

    Parameters
    ----------
    lookahead
        Tasks that the submission window holds.
    mtbf_seconds
        Mean time between failures of one worker; None for workers that do not fail.
    restart_seconds
        Until a failed worker is back, with an empty cache.
    straggler_share, straggler_factor
        Share of the workers that take so many times as long for their kernels.
    seed
        Of failures and stragglers.
    """

    lookahead: int = 2000
    mtbf_seconds: float | None = None
    restart_seconds: float = 60.0
    straggler_share: float = 0.0
    straggler_factor: float = 2.0
    seed: int = 0


@dataclass(frozen=True)
class ModelCluster:
    """The workers of a simulation, all alike.

    Parameters
    ----------
    workers
        Worker processes.
    rates
        Of each, and of the storage they share.
    cache_bytes
        What the tile cache of each holds.
    network_bytes_s
        What a worker's network carries at most, to and from storage and peers together.
    peers
        Whether workers read tiles from each other's caches.
    peer_bytes_s
        What a worker receives from others at most while it sends as much.
    device_cache_bytes
        What the device of each keeps; 0 for workers that compute in the memory of their process.
    trouble
        Failures, slow workers, the window.
    unwritten
        Arrays whose tiles a worker writes only where its cache has no room for them.
    accumulators
        Tiles of a worker that are computed, or on their way to and from the store.
    local_bytes
        What copies of tiles take on the local disk of each.
    """

    workers: int
    rates: Rates
    cache_bytes: int
    network_bytes_s: float = float("inf")
    peers: bool = False
    peer_bytes_s: float = float("inf")
    device_cache_bytes: int = 0
    trouble: Trouble = Trouble()
    unwritten: frozenset[str] = frozenset()
    accumulators: int = accumulators(SINGLE)
    local_bytes: int = 0
