"""``l3ae-dist serve``: recommendations over HTTP, from an export or a workspace."""

import contextlib
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from l3ae_dist.cli.command import command
from l3ae_dist.cli.options import ModelOption
from l3ae_dist.cli.output import tell
from l3ae_dist.errors import ConfigError

if TYPE_CHECKING:
    from l3ae_dist.serve.current import Current

# Seconds for which a thread may keep the others waiting: opening a model must not delay answers.
_SWITCH_SECONDS = 0.0005
# Seconds for requests that are under way when the service is stopped.
_GOODBYE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Place:
    """The place at which a service listens, and what it lets requests do."""

    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for a free one.")] = 8000
    certificate: Annotated[Path | None, typer.Option(help="PEM file, for https.")] = None
    key: Annotated[Path | None, typer.Option(help="PEM file of its key.")] = None
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow plain http off this machine.")] = False
    new_items: Annotated[
        bool, typer.Option("--new-items", help="Let requests add items to the workspace by their text.")
    ] = False
    memory_budget: Annotated[str, typer.Option(help="Bytes a call to a workspace may hold.")] = "2GiB"
    connections: Annotated[
        int, typer.Option(min=1, help="Connections at a time; further ones are refused with status 503.")
    ] = 512

    @property
    def address(self) -> str:
        """The host as it stands in a URL."""
        return f"[{self.host}]" if ":" in self.host else self.host


@command
def serve(
    export_or_workspace: Annotated[str, typer.Argument(help="Folder of an export, or a workspace.")],
    place: Place,
    model: ModelOption = None,
) -> None:
    """Serve recommendations over HTTP until interrupted; a new export or model takes over by itself."""
    current = _opened(export_or_workspace, model, place)
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
    from l3ae_dist.config.loopback import on_loopback

    if not (place.insecure or place.certificate or on_loopback(f"{place.address}:{place.port}")):
        raise ConfigError(
            f"--host {place.host} is reached from other machines, and what they send would not be encrypted; "
            "give --certificate and --key, or allow it with --insecure (behind a proxy that speaks TLS)."
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
            f"serving needs {error.name}, which is not installed; run `pip install 'l3ae-dist[serve]'`."
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

    from l3ae_dist.config.loopback import on_loopback
    from l3ae_dist.serve.app import make_app

    here = on_loopback(f"{place.address}:{place.port}")
    hosts = {"127.0.0.1", "localhost", "::1", "[::1]", place.host, place.address} if here else {"*"}
    config = uvicorn.Config(
        make_app(current, new_items=place.new_items, hosts=sorted(hosts)),
        access_log=False,
        log_level="warning",
        server_header=False,
        limit_concurrency=place.connections + 1,  # uvicorn counts the one that asks
        timeout_graceful_shutdown=_GOODBYE_SECONDS,
        ssl_certfile=place.certificate,
        ssl_keyfile=place.key,
    )
    uvicorn.Server(config).run(sockets=[listening])
