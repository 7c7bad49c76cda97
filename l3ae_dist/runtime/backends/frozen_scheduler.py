"""A Dask scheduler that stands still, so that every call would wait for it without end, or that is lost."""

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from l3ae_dist.errors import ClusterError, L3AEError
from l3ae_dist.messages import shown
from l3ae_dist.runtime.backends.standstill import Needed
from l3ae_dist.runtime.events import Event, OnEvent, ignore
from l3ae_dist.storage.kept import Kept

if TYPE_CHECKING:
    from distributed import Client

_LOOK_SECONDS = 1.0
# Why Dask cancels the tasks of a client whose connection ends, in its own word.
_LOST = "scheduler-connection-lost"


class FrozenScheduler:
    """Finds that the scheduler stands still or is lost, says so, and ends every call that waits for it.

    Parameters
    ----------
    client
        Client of the scheduler, which is another process.
    pid
        Id of its process, where that is one of this machine.

    Attributes
    ----------
    report
        Takes a ``log`` event when it stands still, from a thread of its own.
    failure
        Error that ends the run, when it has stood still for too long.
    """

    def __init__(self, client: "Client", pid: int | None = None) -> None:
        self._client = client
        self._what = f"the Dask scheduler {shown(client.scheduler.address)}"
        self._needed = Needed(self._what, pid=pid, ask=self._ask, report=self._say)
        self._ended = threading.Event()
        self.report: OnEvent = ignore
        self.failure: ClusterError | None = None

    def tell(self, report: OnEvent, kept: Kept) -> None:
        """Report to a run, and say at its end what of it is kept."""
        self.report, self._needed.kept = report, kept

    def is_process(self, pid: int) -> None:
        """Note the id of its process on this machine, whose state the kernel knows."""
        self._needed.pid = pid

    def check(self) -> None:
        """Raise the error that ends the run, if there is one."""
        if self.failure is not None:
            raise self.failure

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look at the scheduler every second during the ``with`` block.

        Raises
        ------
        ClusterError
            In the place of whatever ended the block after the scheduler was given up, or was lost.
        """
        thread = threading.Thread(target=self._run, name="l3ae-scheduler", daemon=True)
        thread.start()
        try:
            yield
        except Exception as error:
            failure = self.failure or self._lost(error)
            if failure is not None and error is not failure:
                raise failure from error
            raise
        finally:
            self._ended.set()
            thread.join()

    def _lost(self, error: Exception) -> ClusterError | None:
        """Return the error that ends the run when another one is what a lost connection led to."""
        if isinstance(error, L3AEError) and not isinstance(error, ClusterError):
            return None
        if self._client.status == "running" and not _is_of_connection(error, self._client.scheduler.address):
            return None
        return ClusterError(
            f"the connection to {self._what} was lost; check that it runs and that the network reaches it, "
            f"and run the same command again: {self._needed.kept}."
        )

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            try:
                self._needed.look()
            except ClusterError as error:
                self.failure = error
                self._client.status = "closing"  # Dask would connect again, and wait for that
                self._client.loop.add_callback(self._hang_up)
                return

    async def _hang_up(self) -> None:
        """Close every connection, so that what waits for an answer gets an error."""
        self._client.scheduler_comm.abort()
        await self._client.rpc.close()

    def _ask(self) -> None:
        self._client.sync(self._client.scheduler.identity, n_workers=0)

    def _say(self, event: Event) -> None:
        self.report(event)


def _is_of_connection(error: BaseException | None, address: str) -> bool:
    """Tell whether an error comes from the connection to a scheduler, which may have been made anew since."""
    from distributed.client import FutureCancelledError

    while error is not None:
        if isinstance(error, FutureCancelledError) and error.reason == _LOST:
            return True
        if isinstance(error, OSError) and address in str(error):
            return True
        error = error.__cause__
    return False
