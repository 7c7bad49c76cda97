"""Resources of estimates and simulations beside a configuration: rates, actors, network and disk."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isinf

from l3ae_dist.planning.rates import ASSUMED_COPY_BYTES_S, ASSUMED_PEER_BYTES_S, Rates


def _no_rates() -> None:
    """Know no rates."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Rates of the workers, and what else bounds a run on a cluster.

    Parameters
    ----------
    rates
        Of a worker; assumed ones are told of.
    run_rates
        Gives the rates that the run itself knows, by which it chooses where the configuration says ``auto``:
        those of its workspace's calibration, or None where it knows none. Asked only where they decide, since
        the workspace may be on a store that does not answer.
    actors
        Embedding actors.
    network_bytes_s
        Bytes a second that the network of a worker carries, both ways together.
    peers
        Whether workers read tiles from each other's caches.
    disk_bytes
        Bytes that the workspace may take; None when it is not known.
    """

    rates: Rates
    actors: int = 1
    network_bytes_s: float = float("inf")
    disk_bytes: int | None = None
    peers: bool = False
    run_rates: Callable[[], Rates | None] = _no_rates

    @property
    def peer_bytes_s(self) -> float:
        """Bytes a second that a worker receives from others while it sends as many.

        As measured, at most half of what the network carries; without either the assumed rate.
        """
        own = self.rates.peer_bytes_s
        if own is None:
            own = ASSUMED_PEER_BYTES_S if isinf(self.network_bytes_s) else self.network_bytes_s
        return min(own, self.network_bytes_s / 2)


def assumed_lines(resources: Resources) -> list[str]:
    """Say which rates of tiles on their way were not measured, and what is assumed instead."""
    rates, lines = resources.rates, []
    if rates.assumed:  # what is said of all of them
        return []
    if resources.peers and rates.peer_bytes_s is None:
        why = "with one worker" if rates.workers == 1 else "by an earlier version"
        lines.append(
            f"peers: the rate of tiles between workers was not measured (calibrated {why}); "
            f"{gigabytes_s(resources.peer_bytes_s)} a worker is assumed"
        )
    if rates.device == "cuda":
        missing = {"to": rates.upload_bytes_s, "from": rates.download_bytes_s}
        lines += [
            f"copies: the rate {way} the GPU was not measured; {gigabytes_s(ASSUMED_COPY_BYTES_S)} is assumed"
            for way, rate in missing.items()
            if rate is None
        ]
    return lines


def peer_sentence(resources: Resources) -> str:
    """Say at which rate a worker receives tiles from others, and where that is from."""
    rate = f"{gigabytes_s(resources.peer_bytes_s)} a worker while it sends as much"
    if resources.rates.peer_bytes_s is not None:
        return f"{rate}, measured ({gigabytes_s(ASSUMED_PEER_BYTES_S)} would be assumed)"
    if isinf(resources.network_bytes_s):
        return f"{rate}, assumed: `l3ae-dist calibrate` with two workers or more measures it"
    return f"{rate}, not measured: half of what the network carries"


def gigabytes_s(rate: float) -> str:
    """Write a rate.

    >>> gigabytes_s(6.2e8)
    '0.62 GB/s'
    """
    return f"{rate / 1e9:,.2f} GB/s"
