"""From a path or URL to the store behind it."""

import re
from pathlib import Path, PurePath

from l3ae_dist.errors import ConfigError
from l3ae_dist.messages import shown
from l3ae_dist.storage.blobs import Blobs
from l3ae_dist.storage.credentials import refuse_secrets
from l3ae_dist.storage.local_blobs import LocalBlobs

_SCHEMES = {"s3", "gs", "az", "abfs"}


def open_blobs(url: str | Path, *, durable: bool = False, patience: float | None = None) -> Blobs:
    """Open a root by path or URL (``file``, ``s3``, ``gs``, ``az``).

    Parameters
    ----------
    url
        Path or URL.
    durable
        As for :class:`LocalBlobs`.
    patience
        Seconds for which requests to an object store that does not answer are repeated; 60 when None.

    Raises
    ------
    ConfigError
        For an unknown scheme, or a URL that carries credentials.
    """
    if not isinstance(url, (str, PurePath)):
        raise ConfigError(f"the workspace is {shown(url)}; give a path or URL.")
    text = str(url)
    if "\0" in text:
        raise ConfigError(f"the workspace is {shown(text)}, which no path can be; give a path or URL.")
    match = re.match(r"^([a-zA-Z][a-zA-Z0-9+.-]+)://", text)
    if match is None:
        return LocalBlobs(text, durable=durable)
    scheme = match.group(1).lower()
    if scheme == "file":
        return LocalBlobs(text[len("file://") :], durable=durable)
    if scheme not in _SCHEMES:
        known = ", ".join(["file", *sorted(_SCHEMES)])
        raise ConfigError(
            f"workspace scheme {shown(scheme)} is not supported; use a path or one of: {known}."
        )
    refuse_secrets(text, "workspace")
    from l3ae_dist.storage.object_blobs import ObjectBlobs

    return ObjectBlobs(text, patience=patience)
