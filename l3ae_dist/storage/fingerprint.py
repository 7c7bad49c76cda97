"""Fingerprints: short names of what an artifact was made from."""

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text, whatever built them."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def fingerprint(value: Any) -> str:
    """Sixteen hexadecimal digits naming a JSON-like value.

    >>> fingerprint({"b": 1, "a": 2}) == fingerprint({"a": 2, "b": 1})
    True
    """
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=8).hexdigest()
