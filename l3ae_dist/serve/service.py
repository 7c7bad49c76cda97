"""A service that listens at a place until it is interrupted: what is checked before, and the web server."""

import contextlib
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from l3ae_dist.config.loopback import on_loopback
from l3ae_dist.errors import ConfigError

if TYPE_CHECKING:
    from l3ae_dist.serve.current import Current

# Seconds for which a thread may keep the others waiting: opening a model must not delay answers.
_SWITCH_SECONDS = 0.0005
_LAST_PORT = 65_535
# Seconds for requests that are under way when the service is stopped.
_GOODBYE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Place:
    """The place at which a service listens, and what it lets requests do.

    Parameters
    ----------
    host, port
        Address to listen at; port 0 for a free one.
    certificate, key
        PEM files for https; None for http.
    insecure
        Whether plain http may be spoken off this machine.
    new_items
        Whether requests may add items to a workspace by their text.
    memory_budget
        Bytes that a call to a workspace may hold.
    connections
        Connections at a time; further ones are refused with status 503.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False
    new_items: bool = False
    memory_budget: str = "2GiB"
    connections: int = 512

    @property
    def address(self) -> str:
        """The host as it stands in a URL."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def local(self) -> bool:
        """True where only this machine reaches it."""
        return on_loopback(f"{self.address}:{self.port}")


def serve_until_interrupted(
    target: str, place: Place, tell: Callable[[str], None], *, model: str | None = None
) -> None:
    """Serve an export or a workspace; a new export or model takes over by itself.

    Parameters
    ----------
    target
        Folder of an export, or path or URL of a workspace.
    place
        Where to listen.
    tell
        Called with what there is to say.
    model
        Name of a model of the workspace; the current one when None.

    Raises
    ------
    ConfigError
        For a place that needs encryption, files that are not there, packages that are not installed, or a
        port that cannot be had.
    """
    current = _opened(target, model, place)
    with _listening(place) as listening:
        about = current.open().about()
        scheme = "https" if place.certificate else "http"
        url = f"{scheme}://{place.address}:{listening.getsockname()[1]}"
        tell(f"{about['member']} with {about['items']:,} items at {url}; what can be asked is at {url}/docs")
        sys.setswitchinterval(_SWITCH_SECONDS)
        with contextlib.suppress(KeyboardInterrupt):
            _run(current, listening, place)
    tell("stopped.")


def _opened(target: str, model: str | None, place: Place) -> "Current":
    """Make the model that answers, where what serving needs is installed."""
    if not (place.insecure or place.certificate or place.local):
        raise ConfigError(
            f"--host {place.host} is reached from other machines, and what they send would not be encrypted; "
            "give --certificate and --key, or allow it with --insecure (behind a proxy that speaks TLS)."
        )
    if not 0 <= place.port <= _LAST_PORT or place.connections < 1:
        raise ConfigError(
            f"--port is {place.port} and --connections {place.connections}, but ports are 0 to {_LAST_PORT} "
            "and connections at least 1."
        )
    if (place.certificate is None) != (place.key is None):
        raise ConfigError("--certificate and --key go together; give both.")
    for path in (place.certificate, place.key):
        if path is not None and not path.is_file():
            raise ConfigError(f"there is no file {path}; check --certificate and --key.")
    try:
        import fastapi_offline  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"serving needs {error.name}, which is not installed; run `pip install 'l3ae-dist[serve]'`, or "
            "`pip install l3ae-serve` again where that is what you have."
        ) from error
    from l3ae_dist.serve.current import Current

    return Current(target, model, memory_budget=place.memory_budget)


def _listening(place: Place) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
        return socket.create_server((place.host, place.port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"cannot listen at port {place.port} of {place.host} ({error.strerror or error}); choose another "
            "--port or --host."
        ) from error


def _run(current: "Current", listening: socket.socket, place: Place) -> None:
    import uvicorn

    from l3ae_dist.serve.app import make_app

    here = {"127.0.0.1", "localhost", "::1", "[::1]", place.host, place.address}
    config = uvicorn.Config(
        make_app(current, new_items=place.new_items, hosts=sorted(here if place.local else {"*"})),
        access_log=False,
        log_level="warning",
        server_header=False,
        limit_concurrency=place.connections + 1,  # uvicorn counts the one that asks
        timeout_graceful_shutdown=_GOODBYE_SECONDS,
        ssl_certfile=place.certificate,
        ssl_keyfile=place.key,
    )
    uvicorn.Server(config).run(sockets=[listening])
