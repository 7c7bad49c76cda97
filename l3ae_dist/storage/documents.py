"""JSON documents that carry a digest of their own content, and what is wrong with one that does not fit it.

The digest is over the canonical JSON of the document's name and of everything else in it, so that an edited
document is recognised, and one that was copied into another's place too. In a header of Zarr it is one of
the attributes, which every reader of Zarr leaves alone.
"""

import hashlib
import json
from collections.abc import Mapping

from l3ae_dist.storage.fingerprint import canonical_json
from l3ae_dist.storage.records import JsonObject

DIGEST = "digest"
HEADER_DIGEST = "l3ae_dist_digest"


class DocumentProblem(ValueError):
    """A damaged document; the message is the end of a sentence that begins with its name."""


def sealed(name: str, value: Mapping[str, object]) -> bytes:
    """Write a document with its digest.

    Parameters
    ----------
    name
        Of the document within its workspace or folder.
    value
        JSON-like values; NumPy scalars and paths are written as plain ones.
    """
    content = json.loads(unsealed(value))
    return unsealed({**content, DIGEST: digest_of(name, content)})


def unsealed(value: Mapping[str, object]) -> bytes:
    """Write a document without a digest, as workspaces of format 3 keep it."""
    return json.dumps(value, indent=1, default=_plain).encode()


def opened(name: str, data: bytes, *, required: bool = True) -> JsonObject:
    """Read a document and compare it with its digest, which is left out of the result.

    Parameters
    ----------
    name, data
        The document as :func:`sealed` wrote it.
    required
        Whether one without a digest is refused.

    Raises
    ------
    DocumentProblem
        Saying what is wrong with it.
    """
    content = parsed(data)
    _compare(name, content, content.pop(DIGEST, None), required)
    return content


def sealed_header(path: str, header: Mapping[str, object]) -> bytes:
    """Write Zarr's header of the group or array at ``path`` with a digest among its attributes."""
    attributes = dict(_attributes(header))
    content = {**header, "attributes": attributes}
    return unsealed({**header, "attributes": {**attributes, HEADER_DIGEST: digest_of(path, content)}})


def opened_header(path: str, data: bytes, *, required: bool = True) -> JsonObject:
    """Read Zarr's header of the group or array at ``path`` and compare it with its digest.

    Parameters
    ----------
    path, data
        The header as :func:`sealed_header` wrote it.
    required
        Whether one without a digest is refused.

    Raises
    ------
    DocumentProblem
        Saying what is wrong with it.
    """
    content = parsed(data)
    attributes = dict(_attributes(content))
    digest = attributes.pop(HEADER_DIGEST, None)
    content["attributes"] = attributes
    _compare(path, content, digest, required)
    return content


def parsed(data: bytes) -> JsonObject:
    """Return the object that a JSON text holds; raises :class:`DocumentProblem` for anything else."""
    if not data.strip():
        raise DocumentProblem("is empty")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DocumentProblem("is damaged (it is no JSON)") from error
    if not isinstance(value, dict):
        raise DocumentProblem(f"is damaged (it holds a {type(value).__name__}, not an object)")
    return value


def digest_of(name: str, content: Mapping[str, object]) -> str:
    """Return the digest of a document, as 32 hexadecimal digits."""
    return hashlib.blake2b(canonical_json([name, content]).encode(), digest_size=16).hexdigest()


def _compare(name: str, content: JsonObject, digest: object, required: bool) -> None:
    if digest is None and required:
        raise DocumentProblem("has no digest, so it was not written by this package or was cut")
    if digest is not None and digest != digest_of(name, content):
        raise DocumentProblem("was changed since it was written (it does not fit its digest)")


def _attributes(header: Mapping[str, object]) -> Mapping[str, object]:
    attributes = header.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise DocumentProblem("is damaged (its attributes are no object)")
    return attributes


def _plain(value: object) -> object:
    """NumPy scalars and paths as plain JSON values."""
    if hasattr(value, "item"):
        return value.item()
    return str(value)
