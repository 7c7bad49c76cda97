"""The back end ``address``: a Dask scheduler that runs already."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from l3ae_dist.errors import ClusterError, ConfigError
from l3ae_dist.runtime.backends.dask_session import DaskSession, machine_and_pid, refuse_unusable_workers

if TYPE_CHECKING:
    from distributed import Client


@contextlib.contextmanager
def existing_cluster(address: str, *, insecure: bool = False) -> Iterator[DaskSession]:
    """Connect to a scheduler that runs already for the ``with`` block; it is left running.

    Raises
    ------
    ConfigError
        For an unencrypted address off this machine, unless ``insecure``.
    ClusterError
        When nothing answers there.
    """
    from distributed import Client

    parts = urlsplit(address)
    if parts.scheme == "tcp" and parts.hostname not in ("127.0.0.1", "localhost", "::1") and not insecure:
        raise ConfigError(
            f"the scheduler {address} is neither on this machine nor encrypted; use a tls:// address "
            "or allow it with --insecure (compute.insecure = true)."
        )
    try:
        client = Client(address, timeout="20s")
    except OSError as error:
        raise ClusterError(f"no Dask scheduler answers at {address}; check that it runs.") from error
    with client:
        refuse_unusable_workers({f"scheduler {address}": _ask_scheduler(client)})
        session = DaskSession(client, client.dashboard_link)
        session.refresh_pids()
        yield session


def _ask_scheduler(client: "Client") -> object:
    try:
        return client.run_on_scheduler(machine_and_pid)
    except Exception as error:  # the caller judges it
        return error
