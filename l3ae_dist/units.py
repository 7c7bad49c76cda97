"""Byte sizes: from people and for people."""

import re
from typing import Any

from l3ae_dist.errors import ConfigError

_UNITS = {"": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmgt", start=1)
    for suffix, base in (("", 1024), ("ib", 1024), ("b", 1000))
}

_UNITS["b"] = 1


def parse_bytes(value: Any) -> int:
    """A byte size such as ``2GiB``, ``500 MB``, ``1.5g`` (binary) or a number of bytes.

    Raises
    ------
    ConfigError
        When it is no size.

    >>> parse_bytes("2GiB") == 2 * 2**30
    True
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?(?:e[0-9]+)?)\s*([a-z]*)\s*", str(value).lower())
    if match is None or match.group(2) not in _UNITS:
        raise ConfigError(f"{value!r} is not a size; write it like 2GiB, 500MB or a number of bytes")
    return int(float(match.group(1)) * _UNITS[match.group(2)])


def human_bytes(count: float) -> str:
    """Bytes in binary units.

    >>> human_bytes(3 * 2**30)
    '3.00 GiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} TiB"
