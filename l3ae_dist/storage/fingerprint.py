"""Fingerprints: short names of what an artifact was made from."""

import hashlib
import json


def canonical_json(value: object) -> str:
    """Write a value as JSON with sorted keys and no spaces, so that equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def fingerprint(value: object) -> str:
    """Return sixteen hexadecimal digits that name a JSON-like value.

    >>> fingerprint({"b": 1, "a": 2}) == fingerprint({"a": 2, "b": 1})
    True
    """
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=8).hexdigest()
