"""Credentials in URLs: refused where a store is opened, taken out of what is printed or kept."""

import re
from typing import Any, TypeAlias

from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import redacted

Json: TypeAlias = Any
"""JSON-like values, nested to any depth."""
# Query parameters of pre-signed URLs and access tokens.
_SECRET_QUERY = re.compile(
    r"[?&#;][^=&]*(sig|signature|token|credential|key|keyid|secret|password|passwd|pwd|sas|auth)=", re.I
)


def refuse_secrets(url: str, what: str) -> None:
    """Raise :class:`ConfigError`, without repeating them, when a URL carries credentials or a signature."""
    if "://" not in url:
        return
    if redacted(url) != url or _SECRET_QUERY.search(url):
        raise ConfigError(
            f"the {what} URL {without_secrets(url)} carries credentials or a signature; give credentials "
            "through the environment or the instance role."
        )


def without_secrets(value: Json) -> Json:
    """Copy a JSON-like value without the user, password and query of every URL in it, and without keys.

    >>> without_secrets({"data": ["s3://me:secret@host/log?sig=1", "log.csv"]})
    {'data': ['s3://...@host/log?...', 'log.csv']}
    """
    if isinstance(value, dict):
        return {key: without_secrets(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(item) for item in value]
    if not isinstance(value, str):
        return value
    if "://" not in value:
        return redacted(value)
    return re.sub(r"[?#][^\s]*", "?...", redacted(value))
