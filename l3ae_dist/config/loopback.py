"""Addresses that only this machine reaches."""

import ipaddress
from urllib.parse import urlsplit


def on_loopback(address: str) -> bool:
    """Tell whether ``HOST:PORT``, or a URL, is an address of the loopback; all interfaces are not.

    >>> on_loopback("127.0.0.1:8787"), on_loopback("tcp://[::1]:8786"), on_loopback(":8787")
    (True, True, False)
    """
    try:
        host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
    except ValueError:  # brackets that do not close, for one
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
