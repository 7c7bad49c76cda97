"""The address of a Dask scheduler as a configuration gives it."""

import re

from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import shown

_ADDRESS = re.compile(
    r"(?:(?P<scheme>[a-z]+)://)?(?P<host>\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]+)"
)
_SCHEMES = ("tcp", "tls", "ucx", "ws", "wss")


def checked_address(address: str) -> str:
    """Return the address of a scheduler with its scheme, which is ``tcp`` where none is given.

    Raises
    ------
    ConfigError
        For what is no address.
    """
    found = _ADDRESS.fullmatch(address.strip())
    scheme = "" if found is None else found["scheme"] or "tcp"
    if found is None or scheme not in _SCHEMES or not 0 < int(found["port"][:6]) < 2**16:
        raise ConfigError(
            f"compute.address is {shown(address)}, which is no address of a Dask scheduler; set it to "
            "tls://HOST:PORT, as the scheduler prints it when it starts."
        )
    return f"{scheme}://{found['host']}:{found['port']}"


def host_and_port(address: str) -> tuple[str, int]:
    """Split an address that :func:`checked_address` returned."""
    found = _ADDRESS.fullmatch(address)
    assert found is not None
    return found["host"].strip("[]"), int(found["port"])
