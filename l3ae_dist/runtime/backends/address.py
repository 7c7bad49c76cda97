"""The back end ``address``: a Dask scheduler that runs already."""

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from l3ae_dist.config.loopback import on_loopback
from l3ae_dist.config.scheduler_address import checked_address, host_and_port
from l3ae_dist.errors import ClusterError, ConfigError
from l3ae_dist.messages import one_line, shown
from l3ae_dist.runtime.backends.certificate import certificate_of
from l3ae_dist.runtime.backends.dask_session import DaskSession, machine_and_pid, refuse_unusable_workers
from l3ae_dist.runtime.backends.frozen_scheduler import FrozenScheduler
from l3ae_dist.runtime.backends.reached import wait_for_port
from l3ae_dist.runtime.bounded import bounded
from l3ae_dist.storage.holder import machine as this_machine

if TYPE_CHECKING:
    from distributed import Client

_ANSWER_SECONDS = 6.0
_ENCRYPTED = ("tls://", "wss://")


@contextlib.contextmanager
def existing_cluster(address: str, *, insecure: bool = False) -> Iterator[DaskSession]:
    """Connect to a scheduler that runs already for the ``with`` block; it is left running.

    Raises
    ------
    ConfigError
        For what is no address, an unencrypted one off this machine, unless ``insecure``, or an encrypted one
        without certificates.
    ClusterError
        When nothing answers there, or no longer.
    """
    from distributed.utils import silence_logging_cmgr

    address = checked_address(address)
    # an address without a scheme is tcp:// to Dask
    if not (address.startswith(_ENCRYPTED) or on_loopback(address) or insecure):
        raise ConfigError(
            f"the scheduler {shown(address)} is neither on this machine nor encrypted; use a tls:// address "
            "or allow it with --insecure (compute.insecure = true)."
        )
    try:
        wait_for_port(*host_and_port(address))
    except OSError as error:
        raise _silent(address, error) from error
    with (
        silence_logging_cmgr(logging.CRITICAL),  # a lost worker or scheduler is told by this package
        _connected(address) as client,
        (scheduler := FrozenScheduler(client)).watched(),
    ):
        answer = _ask_scheduler(client)
        refuse_unusable_workers({f"scheduler {address}": answer})
        if isinstance(answer, tuple) and answer[0] == this_machine():
            scheduler.is_process(answer[1])
        session = DaskSession(client, client.dashboard_link, scheduler=scheduler)
        session.refresh_pids()
        yield session


def _connected(address: str) -> "Client":
    """Connect a client; a process that answers nothing, or not as a scheduler does, is no scheduler."""
    from distributed import Client

    security, what = certificate_of(address), "what takes connections there"
    try:
        # Dask waits without end for the first message of whoever accepts a connection
        return bounded(
            lambda: Client(address, timeout=_ANSWER_SECONDS, security=security), 2 * _ANSWER_SECONDS, what
        )
    except TypeError as error:  # Dask's complaint about settings that name no certificate
        raise ConfigError(
            f"the scheduler {shown(address)} speaks TLS and Dask's settings name no certificate; set "
            "distributed.comm.tls (ca-file, client.key, client.cert), as cluster/dask/env.sh does."
        ) from error
    except OSError as error:
        raise _silent(address, error) from error
    except Exception as error:  # whatever Dask makes of bytes that are no message
        raise ClusterError(f"what answers at {shown(address)} is no Dask scheduler; check it.") from error


def _silent(address: str, error: OSError) -> ClusterError:
    reason = one_line(error.strerror or str(error) or type(error).__name__)
    return ClusterError(f"no Dask scheduler answers at {shown(address)} ({reason}); check that it runs.")


def _ask_scheduler(client: "Client") -> object:
    try:
        return client.run_on_scheduler(machine_and_pid)
    except Exception as error:  # the caller judges it
        return error
