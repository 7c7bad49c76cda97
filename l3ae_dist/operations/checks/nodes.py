"""The configured cluster, and the rows of every node that its workers run on."""

import contextlib
import socket
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

from l3ae_dist.errors import ClusterError, L3AEError
from l3ae_dist.operations.checks import judge
from l3ae_dist.operations.checks.facts import clock, node_facts_beside
from l3ae_dist.operations.checks.ray_probe import ray_judgement, resources
from l3ae_dist.operations.checks.row import Check, Facts, of_error
from l3ae_dist.operations.checks.store import Place, probe_beside, store_rows
from l3ae_dist.runtime.bounded import bounded

if TYPE_CHECKING:
    from l3ae_dist.config.compute import ComputeConfig
    from l3ae_dist.runtime.backends.dask_session import DaskSession
    from l3ae_dist.runtime.backends.session import Session

HERE = "this machine"
R = TypeVar("R")
# A Ray cluster may get room later; the doctor says that there is none now and does not wait.
_PATIENCE = 10.0
_NODE_SECONDS = 15.0
_CONNECT_SECONDS = 3.0
_CLOCK_ASKED = 3
# What a worker on this machine may have of its own.
_OF_PROCESS = ("Python", "BLAS", "memory")


def cluster_rows(
    options: "ComputeConfig | None",
    here: Facts,
    place: Place | None,
    token: bytes | None,
    encoder: str | None,
) -> list[Check]:
    """Open the configured cluster (one worker here without a configuration) and check its nodes.

    Parameters
    ----------
    options
        ``compute`` of the configuration.
    here
        Facts of this machine.
    place, token
        Where every node probes the store, and what it must see there; None for no probe.
    encoder
        A resolved model that every node must have; None for none.
    """
    from l3ae_dist.config.compute import ComputeConfig

    options = options or ComputeConfig(dashboard=False)
    rows: list[Check] = []
    started = time.perf_counter()
    try:
        with _opened(options) as opened:
            if options.cluster == "synchronous":
                return [
                    Check("Dask", "ok", "synchronous: every task in this process", node=HERE, kind="cluster")
                ]
            session = cast("DaskSession", opened)  # as every back end of several processes gives
            seconds = time.perf_counter() - started
            if options.cluster == "ray":
                rows.append(ray_judgement(HERE, resources(time.perf_counter(), private=_private_ray())))
            nodes = _nodes(session)
            rows.append(_dask_row(options, nodes, seconds))
            for check in _every_node(options, session, nodes, here, (place, token), encoder):
                rows.append(check)  # noqa: PERF402  (those before an error are kept)
    except (L3AEError, OSError, ImportError) as error:
        rows.append(of_error("Dask", error, node=HERE, kind="cluster"))
    return rows


def _private_ray() -> bool:
    from l3ae_dist.runtime.backends.ray_session import ray_session

    with ray_session() as session:  # the initialised one
        return session.private


@contextlib.contextmanager
def _opened(options: "ComputeConfig") -> Iterator["Session"]:
    from l3ae_dist.runtime.backends.session import open_cluster

    if options.cluster == "address":
        _knock(str(options.address))
    patient = options.model_copy(update={"start_timeout": min(_PATIENCE, options.start_timeout)})
    with open_cluster(patient, lambda event: None) as session:
        yield session


def _knock(address: str) -> None:
    """Refuse a scheduler's address where nothing listens; Dask would ask again and again for 20 s."""
    parts = urlsplit(address)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 8786), _CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ClusterError(f"no Dask scheduler answers at {address}; check that it runs.") from error


def _nodes(session: "DaskSession") -> dict[str, list[str]]:
    """Addresses of the workers of each machine, this one's first."""
    from l3ae_dist.runtime.backends.dask_session import machine_and_pid
    from l3ae_dist.storage.holder import machine as this_machine

    answers = _ask(session, machine_and_pid, None)
    machines: dict[str, list[str]] = defaultdict(list)
    for address, answer in answers.items():
        machines[address if isinstance(answer, BaseException) else answer[0] or address].append(address)
    return dict(sorted(machines.items(), key=lambda item: item[0] != this_machine()))


def _ask(
    session: "DaskSession", call: Callable[..., R], workers: list[str] | None, *arguments: object
) -> dict[str, R | BaseException]:
    """Ask all workers, and return their answers by address; an exception where one failed."""
    ask = partial(session.client.run, call, *arguments, workers=workers, on_error="return")
    return bounded(ask, _NODE_SECONDS, "the Dask workers")


def _ask_beside(
    session: "DaskSession", call: Callable[..., Awaitable[R]], workers: list[str], *arguments: object
) -> dict[str, R | BaseException]:
    """Ask some workers as :func:`_ask` does, with a coroutine that each of them awaits beside its tasks."""
    return _ask(session, cast("Callable[..., R]", call), workers, *arguments)


def _dask_row(options: "ComputeConfig", nodes: Mapping[str, list[str]], seconds: float) -> Check:
    from importlib.metadata import version

    workers = sum(len(addresses) for addresses in nodes.values())
    row = partial(Check, "Dask", node=HERE, kind="cluster")
    if not workers:
        return row(
            status="problem", found="the scheduler has no workers", advice="start workers that connect to it"
        )
    verb = f"answer at {options.address}" if options.cluster == "address" else f"started on {options.cluster}"
    text = (
        f"{version('distributed')}: {workers} worker{'s' * (workers > 1)} on {len(nodes)} "
        f"machine{'s' * (len(nodes) > 1)} {verb} after {seconds:.1f} s"
    )
    return row(status="ok", found=text)


def _every_node(
    options: "ComputeConfig",
    session: "DaskSession",
    nodes: Mapping[str, list[str]],
    here: Facts,
    store: tuple[Place | None, bytes | None],
    encoder: str | None,
) -> Iterator[Check]:
    """The rows of one worker of each machine; then of the workers among each other."""
    chosen = [addresses[0] for addresses in nodes.values()]
    if not chosen:
        return
    infos = session.client.scheduler_info(n_workers=-1)["workers"]
    facts = _ask_beside(session, node_facts_beside, chosen, None, encoder)
    clocks = _clocks(session, chosen)
    place, token = store
    probes = (
        {} if place is None else _ask_beside(session, probe_beside, chosen, place.root, place.prefix, token)
    )
    for addresses in nodes.values():
        first = addresses[0]
        found = facts[first]
        if isinstance(found, BaseException):
            yield _stranger(first, found)
            continue
        node = f"{found['host']}: {len(addresses)} worker{'s' * (len(addresses) > 1)}, {first}"
        own = found["machine"] == here["machine"]
        limits = sum(int(infos[address]["memory_limit"] or 0) for address in addresses if address in infos)
        yield from judge.node_rows(
            node, found, here, workers=len(addresses), asked=limits, device=options.device,
            only=_OF_PROCESS if own else None,
        )  # fmt: skip
        if first in infos and options.cluster == "address":
            yield judge.dask_worker(node, infos[first], found["pause"], options.memory_budget)
        if not own and first in clocks:
            yield judge.clock(node, *clocks[first])
        if encoder is not None:
            yield judge.encoder(node, found["encoder"])
        if place is not None:
            yield from _probe_rows(first, node, place, probes[first])
    yield from _among_workers(session, sum(len(addresses) for addresses in nodes.values()))


def _probe_rows(address: str, node: str, place: Place, probe: Facts | BaseException) -> list[Check]:
    if isinstance(probe, BaseException):
        return [_stranger(address, probe)]
    return store_rows(node, place.url, probe)


def _stranger(address: str, error: BaseException) -> Check:
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    advice = "install the same version of this package on every node (constraints.txt)"
    return Check("worker", "problem", text, advice, address, "cluster")


def _clocks(session: "DaskSession", chosen: list[str]) -> dict[str, tuple[float, float]]:
    """Measure how far each node's clock is ahead, and how exactly that is known, by the quickest answer."""
    found: dict[str, tuple[float, float]] = {}
    for address in chosen:
        for _ in range(_CLOCK_ASKED):
            before = time.time()
            answer = _ask(session, clock, [address]).get(address)
            after = time.time()
            half = (after - before) / 2
            if isinstance(answer, float) and (address not in found or half < found[address][1]):
                found[address] = (answer - (before + after) / 2, half)
    return found


def _among_workers(session: "DaskSession", workers: int) -> Iterator[Check]:
    """Versions and BLAS builds of all workers, also of those that share a machine."""
    from l3ae_dist.runtime.versions import check_processes

    row = partial(Check, "all workers", node=HERE, kind="cluster")
    try:
        environments = bounded(session.environments, _NODE_SECONDS, "the Dask workers")
        messages = check_processes(environments)
    except (L3AEError, TimeoutError) as error:
        yield of_error("all workers", error, node=HERE, kind="cluster")
        return
    if messages:
        advice = "take the same image or wheels on every node for results that are equal to the bit"
        yield row(status="warning", found="; ".join(messages), advice=advice)
    else:
        yield row(status="ok", found=f"{workers} with the versions of this process and one BLAS build")
