"""The files of a workspace, on a disk and in a bucket, read and damaged past the package."""

import http.client
import os
import shutil
import time
import urllib.parse
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree

# the server looks for credentials, and does not check them
_SOMEBODY = (
    "AWS4-HMAC-SHA256 Credential=chaos/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
)
_TRIES = 20
_XML = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class Files(Protocol):
    """Every file of a workspace by its key."""

    url: str
    """What the package is given."""

    def read(self) -> dict[str, bytes]:
        """Return all files."""

    def write(self, key: str, data: bytes) -> None:
        """Write a file, replacing any."""

    def delete(self, key: str) -> None:
        """Delete a file."""


class Folder:
    """A workspace on a disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def read(self) -> dict[str, bytes]:
        """See :meth:`Files.read`."""
        paths = (Path(folder) / name for folder, _, names in os.walk(self.root) for name in names)
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in paths}

    def write(self, key: str, data: bytes) -> None:
        """See :meth:`Files.write`."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def delete(self, key: str) -> None:
        """See :meth:`Files.delete`; a folder that is empty then goes too."""
        path = self.root / key
        path.unlink()
        while path != self.root and not any(path.parent.iterdir()):
            path = path.parent
            path.rmdir()

    def clear(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.root, ignore_errors=True)


class Bucket:
    """A workspace on an S3 server that asks for no signature.

    Plain HTTP, since a process that used obstore cannot be forked.

    Parameters
    ----------
    endpoint
        ``http://host:port``.
    path
        Bucket and prefix; the bucket is made where there is none.
    """

    def __init__(self, endpoint: str, path: str) -> None:
        self.url = f"s3://{path}"
        self.endpoint = endpoint
        self._host = urllib.parse.urlsplit(endpoint).netloc
        self._bucket, _, self._prefix = path.partition("/")
        self._connection = http.client.HTTPConnection(self._host, timeout=30)
        self._ask("PUT", f"/{self._bucket}")

    def read(self) -> dict[str, bytes]:
        """See :meth:`Files.read`."""
        listing = ElementTree.fromstring(
            self._ask("GET", f"/{self._bucket}?list-type=2&prefix={self._prefix}/")
        )
        keys = [str(found.text) for found in listing.iter(f"{_XML}Key")]
        return {key.removeprefix(f"{self._prefix}/"): self._ask("GET", self._path(key)) for key in keys}

    def write(self, key: str, data: bytes) -> None:
        """See :meth:`Files.write`."""
        self._ask("PUT", self._path(f"{self._prefix}/{key}"), data)

    def delete(self, key: str) -> None:
        """See :meth:`Files.delete`."""
        self._ask("DELETE", self._path(f"{self._prefix}/{key}"))

    def _path(self, key: str) -> str:
        return f"/{self._bucket}/{urllib.parse.quote(key)}"

    def _ask(self, method: str, path: str, data: bytes | None = None) -> bytes:
        # the server fails now and then where two draws write while it lists; that is no fault of a draw
        for _ in range(_TRIES):
            self._connection.request(method, path, data, {"Authorization": _SOMEBODY})
            answer = self._connection.getresponse()
            body = answer.read()
            if answer.status < 500:
                break
            time.sleep(0.1)
        assert answer.status < 300, (method, path, answer.status, body[:200])
        return body


def fill(files: Files, contents: dict[str, bytes]) -> None:
    """Make the files of an empty place."""
    for key, data in contents.items():
        files.write(key, data)
