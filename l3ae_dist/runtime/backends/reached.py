"""A look at an address before Dask or Ray is told to connect, which they would try for minutes."""

import socket
import time

# What was started a moment ago may not listen yet.
LISTEN_SECONDS = 5.0
_AGAIN_SECONDS = 0.5
# The first words of a client in HTTP/2, with empty settings; a server answers with its own (frame type 4).
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_HEAD, _SETTINGS = 9, 4


def wait_for_port(host: str, port: int) -> None:
    """Wait a few seconds for anything to take connections at an address; raises ``OSError`` after that."""
    deadline = time.monotonic() + LISTEN_SECONDS
    while True:
        try:
            socket.create_connection((host, port), timeout=LISTEN_SECONDS).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_AGAIN_SECONDS)


def speaks_grpc(host: str, port: int) -> bool:
    """Tell whether what listens at an address answers a greeting of HTTP/2, as every gRPC server does."""
    with socket.create_connection((host, port), timeout=LISTEN_SECONDS) as connection:
        connection.sendall(_GREETING)
        try:
            head = connection.recv(_HEAD)
        except TimeoutError:
            return False
    return len(head) == _HEAD and head[3] == _SETTINGS
