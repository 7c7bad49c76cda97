"""Credentials in URLs: refused where a store is opened, taken out of what is printed or kept."""

import re
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from l3ae_dist.errors import ConfigError

Json: TypeAlias = Any
"""JSON-like values, nested to any depth."""
# Query parameters of pre-signed URLs and access tokens.
_SECRET_QUERY = re.compile(r"(^|&)[^=&]*(sig|signature|token|credential|key|keyid|secret|password)=", re.I)


def refuse_secrets(url: str, what: str) -> None:
    """Raise :class:`ConfigError`, without repeating them, when a URL carries credentials or a signature."""
    if "://" not in url:
        return
    parts = urlsplit(url)
    if parts.username or parts.password or _SECRET_QUERY.search(parts.query):
        raise ConfigError(
            f"the {what} URL {parts.scheme}://{parts.hostname}{parts.path} carries credentials or a "
            "signature; give credentials through the environment or the instance role."
        )


def without_secrets(value: Json) -> Json:
    """Copy a JSON-like value without the user, password and query of every URL in it.

    >>> without_secrets({"data": ["s3://me:secret@host/log?sig=1", "log.csv"]})
    {'data': ['s3://...@host/log?...', 'log.csv']}
    """
    if isinstance(value, dict):
        return {key: without_secrets(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(item) for item in value]
    if not isinstance(value, str) or "://" not in value:
        return value
    return re.sub(r"\?[^#\s]*", "?...", re.sub(r"://[^/?#\s]*@", "://...@", value))
