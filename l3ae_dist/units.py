"""Byte sizes and counts: the one place that reads them from people and writes them for people.

The grammar is the package's own because its short forms are binary, as those of ``ls -h`` and ``free -h``:
``2g`` is 2 GiB. In :class:`pydantic.ByteSize` and ``dask.utils.parse_bytes`` the same text is 2 GB, and both
round in binary floating point. Dask, Ray and psutil are handed numbers of bytes, never text.
"""

import operator
import re
from decimal import Decimal

from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import shown

KIB, MIB, GIB = 2**10, 2**20, 2**30

_UNITS = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmgtpe", start=1)
    for suffix, base in (("", 1024), ("ib", 1024), ("b", 1000))
}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?(?:e[0-9]{1,2})?)\s*([a-z]*)\s*")


def parse_bytes(value: object) -> int:
    """Read a byte size such as ``2GiB``, ``500 MB``, ``1.5g`` (binary) or a number of bytes.

    Raises
    ------
    ConfigError
        When it is no size.

    >>> parse_bytes("2GiB") == parse_bytes("2g") == 2 * 2**30
    True
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(str(value).lower())
    if match is None or match.group(2) not in _UNITS:
        raise ConfigError(f"{shown(value)} is not a size; write it like 2GiB, 500MB or a number of bytes")
    return int(Decimal(match.group(1)) * _UNITS[match.group(2)])


def exact_bytes(count: int) -> str:
    """Write bytes in the largest binary unit that holds them without a fraction.

    >>> exact_bytes(2 * 2**30), exact_bytes(2**20 + 1)
    ('2GiB', '1048577')
    """
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if count and count % unit == 0:
            return f"{count // unit}{name}"
    return str(count)


def human_bytes(count: float) -> str:
    """Write bytes in binary units, with two decimals.

    >>> human_bytes(3 * 2**30)
    '3.00 GiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} TiB"


def short_bytes(count: float) -> str:
    """Write bytes in binary units, with about three digits; nothing for no bytes.

    >>> short_bytes(343.14 * 2**40), short_bytes(8.75 * 2**30), short_bytes(0)
    ('343 TiB', '8.75 GiB', '')
    """
    if not count:
        return ""
    number, unit = human_bytes(count).split()
    value = float(number)
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def mebibytes(count: float) -> str:
    """Write bytes in whole MiB, as all messages about a memory budget do.

    >>> mebibytes(2 * 2**30)
    '2,048 MiB'
    """
    return f"{count / MIB:,.0f} MiB"


def parse_count(text: str) -> int:
    """Read a whole number as people write it: ``5e9``, ``1,000,000``, ``100_000``.

    Raises
    ------
    ConfigError
        When it is none, or not positive.

    >>> parse_count("5e9"), parse_count("1,000,000")
    (5000000000, 1000000)
    """
    try:
        value = float(str(text).replace(",", "").replace("_", ""))
        if value != int(value) or value < 1:
            raise ValueError
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{shown(text)} is not a positive whole number; write it like 1000000 or 5e9."
        ) from None
    return int(value)


def at_least_one(value: object, name: str) -> int:
    """Return an integer of at least 1, whatever type of integer it is.

    Raises
    ------
    ConfigError
        For anything else.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if number < 1:
        raise ConfigError(f"{name} is {shown(value)} and must be at least 1.")
    return number
