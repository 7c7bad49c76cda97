"""Resources of estimates and simulations beside a configuration: rates, actors, network and disk."""

from dataclasses import dataclass

from l3ae_dist.planning.rates import Rates


@dataclass(frozen=True, slots=True)
class Resources:
    """Rates of the workers, and what else bounds a run on a cluster.

    Parameters
    ----------
    rates
        Of a worker; assumed ones are told of.
    actors
        Embedding actors.
    network_bytes_s
        Bytes a second that the network of a worker carries.
    disk_bytes
        Bytes that the workspace may take; None when it is not known.
    """

    rates: Rates
    actors: int = 1
    network_bytes_s: float = float("inf")
    disk_bytes: int | None = None
