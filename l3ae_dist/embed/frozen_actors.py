"""Embedding actors that stand still: stopped by a signal. Ray itself notices those that die.

The kernel of an actor's node says whether its process is stopped, so that an actor in one long call is never
taken for a frozen one. Ray starts an actor anew once its process has ended, and gives its chunks to it again.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from l3ae_dist.messages import shown
from l3ae_dist.runtime.backends.frozen import STOPPED_SECONDS, end_process, is_stopped
from l3ae_dist.runtime.backends.ray_session import ray_servers
from l3ae_dist.runtime.backends.standstill import Needed
from l3ae_dist.runtime.bounded import in_background
from l3ae_dist.runtime.events import Message, OnEvent
from l3ae_dist.storage.stages import Stage

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

_NODE_SECONDS = 10.0
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ActorProcess:
    """Process of an actor: its id, Ray's id of its node, and the address of that."""

    pid: int
    node: str
    host: str


class FrozenActors:
    """Finds actors that stand still, says so, and ends their processes, so that Ray starts others.

    Parameters
    ----------
    actors
        Their handles.
    report
        Takes a ``log`` event for each of them.
    """

    def __init__(self, actors: Sequence["ActorHandle"], report: OnEvent) -> None:
        self._actors = actors
        self._report = report
        servers = ray_servers()
        gcs = servers.pop("gcs_server", None)
        self._ray = Needed("Ray's gcs_server", pid=gcs, ask=self._find_stopped, report=report)
        self._others: list[Needed[None]] = [
            Needed(f"Ray's {name}", pid=pid, report=report) for name, pid in servers.items()
        ]
        self._places: list[ActorProcess] = []
        self._since: dict[ActorProcess, float] = {}
        self._ended: set[ActorProcess] = set()

    def look(self) -> None:
        """Look at the actors; to be called every second or so.

        Raises
        ------
        ClusterError
            When Ray itself stands still.
        """
        for server in self._others:
            server.look()
        stopped = self._ray.look()
        if stopped is None:
            return
        now = time.monotonic()
        self._since = {one: self._since.get(one, now) for one in stopped}
        for one, began in self._since.items():
            if now - began >= STOPPED_SECONDS and one not in self._ended:
                self._end(one, now - began)

    def end_stopped(self) -> None:
        """End the actors on this machine that stand still, which a friendly word does not reach."""
        for one in self._places:
            if one.node == _this_node() and is_stopped(one.pid):
                end_process(one.pid)

    def _find_stopped(self) -> list[ActorProcess]:
        """Ask the nodes which actors are stopped; one that does not answer is given up by Ray itself."""
        import ray

        pids: dict[str, list[int]] = {}
        self._places = _places(self._actors)
        places = [one for one in self._places if one not in self._ended]
        for one in places:
            pids.setdefault(one.node, []).append(one.pid)
        here = _this_node()
        stopped = {(here, pid) for pid in stopped_among(pids.pop(here, []))}
        asked: dict[ObjectRef[list[int]], str] = {
            _on_node(node, stopped_among, group): node for node, group in pids.items()
        }
        for reference in _answered(list(asked)):
            with contextlib.suppress(Exception):  # the node is gone, and its actors start elsewhere
                stopped |= {(asked[reference], pid) for pid in ray.get(reference)}
        return [one for one in places if (one.node, one.pid) in stopped]

    def _end(self, one: ActorProcess, seconds: float) -> None:
        self._ended.add(one)
        since = time.strftime("%H:%M:%S", time.localtime(time.time() - seconds))
        where = "this machine" if one.node == _this_node() else f"node {shown(one.host)}"
        message = (
            f"embedding actor (pid {one.pid} of {where}) has stood still since {since}, stopped by a signal; "
            "it is ended now, and another embeds its texts"
        )
        self._report(Message(stage=Stage.EMBED, message=message))
        if one.node == _this_node():
            end_process(one.pid)
        else:
            in_background(lambda: _on_node(one.node, end_process, one.pid))


def stopped_among(pids: list[int]) -> list[int]:
    """Return those of some processes of this machine that are stopped."""
    return [pid for pid in pids if is_stopped(pid)]


def _places(actors: Sequence["ActorHandle"]) -> list[ActorProcess]:
    """Return the processes of the actors that are up, as Ray's own records tell them."""
    from ray._private import state  # the public interface needs the dashboard

    found = []
    for actor in actors:
        record = state.actors(actor_id=actor._actor_id.hex())
        if record.get("Pid") and record.get("State") == "ALIVE":
            address = record["Address"]
            found.append(ActorProcess(int(record["Pid"]), str(address["NodeID"]), str(address["IPAddress"])))
    return found


def _this_node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _on_node(node: str, call: Callable[..., R], argument: object) -> "ObjectRef[R]":
    """Call in a process of another node, beside whatever computes there."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0)(call)
    reference: ObjectRef[R] = task.options(scheduling_strategy=there).remote(argument)
    return reference


def _answered(references: list["ObjectRef[R]"]) -> list["ObjectRef[R]"]:
    import ray

    if not references:
        return []
    ready: list[ObjectRef[R]]
    ready, _ = ray.wait(references, num_returns=len(references), timeout=_NODE_SECONDS)
    return ready
