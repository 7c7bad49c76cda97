"""A Ray cluster for a run: the one that is there, or a private one on the loopback."""

import contextlib
import functools
import logging
import os
import re
import secrets
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from l3ae_dist.config.extras import require
from l3ae_dist.errors import ClusterError
from l3ae_dist.messages import one_line, shown
from l3ae_dist.runtime.backends.frozen import is_stopped
from l3ae_dist.runtime.backends.reached import speaks_grpc, wait_for_port
from l3ae_dist.storage.forked import use_engine
from l3ae_dist.storage.scratch import LONGEST_NAME, scratch_folder

if TYPE_CHECKING:
    from ray._private.worker import BaseContext

# Whether Ray was imported with the token of this process in its environment.
_given_its_token = False
_OBJECT_STORE_BYTES = 128 * 2**20
_RAY_PROCESS = re.compile(r"(^|\s)ray::|[/\\]ray[/\\](core|_private|dashboard|autoscaler)[/\\]")
_SERVERS = ("gcs_server", "raylet")
# Ray puts a socket some 65 characters below its folder, and a socket's path has at most 107
_LONGEST_FOLDER = 40


@dataclass(frozen=True)
class RaySession:
    """A connected Ray: its dashboard, its processes, and whether this process started it."""

    dashboard_url: str | None
    """Address of its dashboard; None when it has none."""
    pids: Callable[[], list[int]]
    """Lists Ray's processes below this one; none when Ray was started elsewhere."""
    private: bool = False
    """True when this process started it, so that no further node will ever join."""


@contextlib.contextmanager
def ray_session(
    *, num_cpus: int | None = None, num_gpus: int | None = None, dashboard: bool = False
) -> Iterator[RaySession]:
    """Connect to Ray for the ``with`` block.

    An initialised Ray, or a cluster named by ``RAY_ADDRESS`` (as inside a Ray job), is used and left
    running. Otherwise a private one is started on 127.0.0.1 with a random token, and ended.

    Parameters
    ----------
    num_cpus, num_gpus
        Logical resources of a private Ray; detected when None.
    dashboard
        True for a private Ray to serve its dashboard (0.9 GB of memory more).

    Raises
    ------
    ClusterError
        When Ray does not start, or none answers.
    """
    require("ray", "Ray")
    use_engine("Ray")
    address = os.environ.get("RAY_ADDRESS", "")
    if address not in ("", "local"):
        with _connected(address) as session:
            yield session
        return
    too_late = "RAY_AUTH_MODE" not in os.environ and "ray" in sys.modules and not _given_its_token
    with _environment(_private_settings()):
        ray = _import_ray(with_token=not too_late)
        if ray.is_initialized():
            yield _current()
            return
        if too_late:
            raise ClusterError(
                "Ray was imported before it could be given a token, and now runs without; import it after "
                "this run has begun, call ray.init() before it, or set RAY_AUTH_MODE=token and "
                "RAY_AUTH_TOKEN in the environment."
            )
        with scratch_folder("ray", _short_parent()) as folder, _quiet():
            try:
                context = _init(
                    address="local",
                    num_cpus=num_cpus,
                    num_gpus=num_gpus,
                    include_dashboard=dashboard,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    _temp_dir=str(folder),
                )
                yield RaySession(_url(context.dashboard_url), ray_pids, private=True)
            finally:
                _end_private()


def _end_private() -> None:
    """End this process's own Ray, those of its processes that stand still included."""
    import ray

    members = [psutil.Process(pid) for pid in ray_pids() if psutil.pid_exists(pid)]
    stopped = [one for one in members if is_stopped(one.pid)]
    for one in stopped:  # Ray would wait for them without end
        with contextlib.suppress(psutil.Error):
            one.resume()
    ray.shutdown()
    for one in members if stopped else ():  # some wait for another that stood still
        with contextlib.suppress(psutil.Error):
            one.kill()


@contextlib.contextmanager
def _connected(address: str) -> Iterator[RaySession]:
    """Use a running cluster; disconnect from it only if this call connected."""
    ray = _import_ray()
    if ray.is_initialized():
        yield _current()
        return
    check_ray_address(address)
    with _quiet():
        context = _init(address=address)
        try:
            yield RaySession(_url(context.dashboard_url), ray_pids)
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let Ray print nothing of its servers: what an actor's end means is told by this package.

    ``log_to_driver`` silences its workers alone.
    """
    from ray._private import worker

    before, worker._worker_logs_enabled = getattr(worker, "_worker_logs_enabled", True), False
    try:
        yield
    finally:
        worker._worker_logs_enabled = before


def check_ray_address(address: str) -> None:
    """Raise :class:`ClusterError` where nothing answers; Ray itself would wait ten minutes."""
    from ray._private.services import canonicalize_bootstrap_address

    try:
        found = address.removeprefix("ray://")
        host, _, port = str(canonicalize_bootstrap_address(found)).rpartition(":")
        wait_for_port(host.strip("[]"), int(port))
        reached = os.environ.get("RAY_USE_TLS", "0") != "0" or speaks_grpc(host.strip("[]"), int(port))
    except (OSError, ValueError) as error:
        reason = one_line(getattr(error, "strerror", None) or str(error))
        raise _no_ray(address, reason) from error
    if not reached:
        raise _no_ray(address, "what listens there does not answer")


def _no_ray(address: str, reason: str) -> ClusterError:
    return ClusterError(
        f"no Ray answers at {shown(address)} ({reason}), which RAY_ADDRESS names; start it with "
        "`ray start --head`, correct RAY_ADDRESS, or unset it for a Ray of this run's own."
    )


def _import_ray(*, with_token: bool = False) -> Any:
    """Import Ray without the advice that it and tqdm print into a notebook that has no ipywidgets.

    Its native part reads the mode of authentication and the token once, when it is imported.
    """
    global _given_its_token
    _given_its_token = _given_its_token or with_token
    logging.getLogger("ray.widgets").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        import ray
    return ray


def _init(**options: object) -> "BaseContext":
    try:
        return _import_ray().init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray raises plain Exception, ConnectionError, RuntimeError, ...
        where = "a Ray of its own" if options["address"] == "local" else f"the Ray at {options['address']}"
        reason = " ".join(str(error).split())
        raise ClusterError(
            f"this run cannot use {where} ({type(error).__name__}: {reason}); check that the machine is not "
            "overloaded, and that RAY_ADDRESS, where it is set, names a cluster that runs."
        ) from error


def ray_pids() -> list[int]:
    """List the processes below this one that are Ray's: its servers, agents and workers."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            if _RAY_PROCESS.search(" ".join(child.cmdline())):
                found.append(child.pid)
    return sorted(found)


def ray_servers() -> dict[str, int]:
    """Return the process ids of Ray's servers below this process by their names; none of a Ray elsewhere."""
    found = {}
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if (name := child.name()) in _SERVERS:
                found[name] = child.pid
    return found


def _private_settings() -> dict[str, str]:
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # stays on 127.0.0.1
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_worker_niceness": "0",  # by default its workers give way to every other process
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": _token(),
    }


@functools.cache
def _token() -> str:
    """Return the one token of this process: Ray's native part reads it once and keeps it."""
    return secrets.token_hex(24)


@contextlib.contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables that are not set yet, for the ``with`` block."""
    added = [name for name in settings if name not in os.environ]
    os.environ.update({name: settings[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _short_parent() -> str:
    parent = tempfile.gettempdir()
    if len(parent) + 1 + LONGEST_NAME > _LONGEST_FOLDER and Path("/tmp").is_dir():  # noqa: S108
        parent = "/tmp"  # noqa: S108
    return parent


def _current() -> RaySession:
    """Return the session of the initialised Ray."""
    from ray._private import worker  # the public interface tells these to ray.init's caller only

    node = getattr(worker, "_global_node", None)
    private = bool(getattr(node, "head", False))
    return RaySession(_url(getattr(node, "webui_url", None)), ray_pids, private)


def _url(address: object) -> str | None:
    return f"http://{address}" if address else None
