"""Objects on S3, Google Cloud Storage or Azure, through obstore; credentials come from the environment."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from l3ae_dist.errors import WorkspaceError
from l3ae_dist.storage.blobs import Buffer
from l3ae_dist.storage.forked import in_children
from l3ae_dist.storage.patience import (
    Patience,
    StoreTroubleError,
    Wait,
    default_seconds,
    lacks_credentials,
)

if TYPE_CHECKING:
    from zarr.abc.store import Store

R = TypeVar("R")
# Requests are repeated for long here, and not by obstore: it does not say that it waits. It repeats what
# a moment mends, the parts of a large object above all.
_SHORT_RETRY: Any = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=1), "base": 2},
}
# But no conditional write: that the first one was carried out, and its answer lost, would not be known.
_NO_RETRY: Any = {"max_retries": 0}
# A body may take long, as long as bytes arrive; obstore's own limit is 30 s for all of it.
_TIMEOUTS = {"timeout": "3600s", "connect_timeout": "5s", "read_timeout": "30s"}
# What obstore takes from the environment, until options are given to it.
_CLIENT_OPTIONS = (
    *("allow_http", "allow_invalid_certificates", "connect_timeout", "http1_only", "http2_only"),
    *("pool_idle_timeout", "pool_max_idle_per_host", "proxy_url", "proxy_ca_certificate", "proxy_excludes"),
    *("randomize_addresses", "read_timeout", "timeout", "user_agent"),
)
_PREFIXES = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE", "abfs": "AZURE"}


@dataclass(frozen=True, slots=True)
class _Download:
    """An object or a range of it: its bytes, the size of the whole object, and the tag of its version."""

    data: Buffer
    size: int
    tag: str | None


class ObjectBlobs:
    """The :class:`~l3ae_dist.storage.blobs.Blobs` operations on a bucket; a write is a single PUT.

    Parameters
    ----------
    url
        Bucket and prefix.
    patience
        Seconds for which requests that are not answered are repeated; of the environment, or 300, when None.
    """

    concurrency = 32
    durable = False
    remote = True

    def __init__(self, url: str, *, patience: float | None = None) -> None:
        self.url = url.rstrip("/")
        self._patience = Patience(self.url, default_seconds() if patience is None else patience)
        self._opened: tuple[Any, Any] | None = self._open()
        # key, bytes and tag of the latest conditional write
        self._latest: tuple[str, bytes, str | None] | None = None
        in_children(self._forget)

    def _open(self) -> tuple[Any, Any]:
        from obstore.store import from_url

        options = _client_options(self.url)
        retry = _SHORT_RETRY if self._patience.seconds else _NO_RETRY
        try:
            first, second = (
                from_url(self.url, retry_config=one, client_options=options) for one in (retry, _NO_RETRY)
            )
        except Exception as error:
            raise _object_error(error, self.url) from error
        return first, second

    @property
    def _stores(self) -> tuple[Any, Any]:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    @property
    def _store(self) -> Any:
        return self._stores[0]

    def _forget(self) -> None:
        self._opened = None  # its connections and threads are those of the parent

    def _ask(self, request: Callable[[], R]) -> R:
        """Return what a request returns, repeated while the store may come back; errors are sentences."""
        try:
            return self._patience(request)
        except (FileNotFoundError, WorkspaceError):
            raise
        except Exception as error:
            raise _object_error(error, self.url) from error

    def get(self, key: str) -> bytes | None:
        """See :meth:`Blobs.get`."""
        try:
            return bytes(self._download(key).data)
        except FileNotFoundError:
            return None

    def get_into(self, key: str, buffer: memoryview) -> int:
        """See :meth:`Blobs.get_into`."""
        try:
            data = memoryview(self._download(key).data)
        except FileNotFoundError:
            return -1
        count = min(len(data), len(buffer))
        buffer[:count] = data[:count]
        return count + (len(data) > count)

    def range_into(self, key: str, start: int, buffer: memoryview) -> int:
        """See :meth:`Blobs.range_into`.

        Parameters
        ----------
        key, start, buffer
            As there.
        """
        try:
            data = memoryview(self._download(key, (start, start + len(buffer))).data)
        except FileNotFoundError:
            return -1
        except StoreTroubleError:
            raise
        except WorkspaceError:
            size = self.size(key)
            if size is not None and size <= start:  # nothing there is no range to a store
                return 0
            raise
        buffer[: len(data)] = data
        return len(data)

    def tail(self, key: str, length: int) -> tuple[int, bytes] | None:
        """See :meth:`Blobs.tail`."""
        try:
            answer = self._download(key, {"suffix": length})
        except FileNotFoundError:
            return None
        except StoreTroubleError:
            raise
        except WorkspaceError:
            if self.size(key) == 0:  # an empty object has no range to give
                return 0, b""
            raise
        return answer.size, bytes(answer.data)

    def _download(self, key: str, wanted: object = None) -> _Download:
        """Read an object, or a range of it in the form of obstore; a body that is cut off is gone on with."""
        import obstore

        options: Any = None if wanted is None else {"range": wanted}

        def request() -> tuple[Any, Any]:
            answer = obstore.get(self._store, key, options=options)
            try:
                return answer, answer.bytes()
            except Exception as error:
                cut.after(error)
                return answer, None

        while True:
            cut = Wait(self._patience)
            answer, data = self._ask(request)
            size, tag = int(answer.meta["size"]), answer.meta["e_tag"]
            if data is None:
                data = self._ask(partial(self._rest, key, answer.range, tag))
            if data is not None:
                return _Download(data, size, tag)

    def _rest(self, key: str, span: tuple[int, int], tag: str | None) -> Buffer | None:
        """Read a range in pieces, each attempt from where the last one ended; None if it was replaced."""
        import obstore
        from obstore.exceptions import PreconditionError

        start, stop = span
        data, filled, wait = bytearray(stop - start), 0, Wait(self._patience)
        while filled < len(data):
            options: Any = {"range": (start + filled, stop), "if_match": tag}
            try:
                for piece in obstore.get(self._store, key, options=options).stream(min_chunk_size=1):
                    data[filled : filled + len(piece)] = piece
                    filled += len(piece)
                    wait.progressed()
            except PreconditionError:
                return None
            except Exception as error:
                wait.after(error)
        return data

    def size(self, key: str) -> int | None:
        """See :meth:`Blobs.size`."""
        found = self._head(key)
        return None if found is None else int(found["size"])

    def modified(self, key: str) -> float | None:
        """See :meth:`Blobs.modified`."""
        found = self._head(key)
        return None if found is None else float(found["last_modified"].timestamp())

    def _head(self, key: str) -> Any:
        import obstore

        try:
            return self._ask(lambda: obstore.head(self._store, key))
        except FileNotFoundError:
            return None

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """See :meth:`Blobs.put`."""
        import obstore

        data = b"".join(memoryview(part).cast("B") for part in parts)
        self._write(lambda: obstore.put(self._store, key, data))

    def copy(self, source: str, target: str) -> None:
        """See :meth:`Blobs.copy`: the store copies."""
        import obstore

        self._write(lambda: obstore.copy(self._store, source, target))

    def _write(self, request: Callable[[], object]) -> None:
        try:
            self._ask(request)
        except FileNotFoundError as error:
            raise _object_error(error, self.url) from error

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """See :meth:`Blobs.put_if_absent`."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        wait = Wait(self._patience)

        def request() -> bool:
            try:
                done = obstore.put(self._stores[1], key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                # one that got no answer may have been carried out: look before believing the refusal
                return wait.failed and self.get(key) == data
            self._latest = key, data, done["e_tag"]
            return True

        try:
            return self._conditional(request, wait)
        except FileNotFoundError as error:
            raise _object_error(error, self.url) from error

    def replace_if(self, key: str, old: bytes, new: bytes) -> bool:
        """See :meth:`Blobs.replace_if`.

        Parameters
        ----------
        key, old, new
            As there.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        wait = Wait(self._patience)

        def request() -> bool:
            try:
                mode: Any = {"e_tag": tag}
                done = obstore.put(self._stores[1], key, new, mode=mode, use_multipart=False)
            except (PreconditionError, AlreadyExistsError):
                return wait.failed and self.get(key) == new
            self._latest = key, new, done["e_tag"]
            return True

        latest, self._latest = self._latest, None
        try:
            if latest is not None and latest[:2] == (key, old):  # a heartbeat: no need to read it first
                tag = latest[2]
            else:
                current = self._download(key)
                tag = current.tag
                if bytes(current.data) != old:
                    return False
            return self._conditional(request, wait)
        except FileNotFoundError:
            return False

    def _conditional(self, request: Callable[[], bool], wait: Wait) -> bool:
        while True:
            try:
                return request()
            except WorkspaceError:
                raise
            except Exception as error:
                self._ask(partial(wait.after, error))

    def delete(self, key: str) -> None:
        """See :meth:`Blobs.delete`."""
        import obstore

        try:
            self._ask(lambda: obstore.delete(self._store, key))
        except FileNotFoundError:
            return

    def delete_prefix(self, prefix: str) -> None:
        """See :meth:`Blobs.delete_prefix`."""
        import obstore

        keys = list(self.list(prefix))
        if keys:
            self._write(lambda: obstore.delete(self._store, keys))

    def list(self, prefix: str) -> Iterator[str]:
        """See :meth:`Blobs.list`."""
        import obstore

        wait, last = Wait(self._patience), None
        while True:
            try:
                for page in obstore.list(self._store, prefix=prefix, offset=last):
                    for entry in page:
                        last = str(entry["path"])
                        yield last
                    wait.progressed()
                return
            except FileNotFoundError as error:
                raise _object_error(error, self.url) from error
            except Exception as error:
                self._ask(partial(wait.after, error))

    def abandoned(self) -> dict[str, int]:
        """See :meth:`Blobs.abandoned`: a PUT that was cut off leaves nothing."""
        return {}

    def zarr_store(self, *, read_only: bool = False) -> "Store":
        """See :meth:`Blobs.zarr_store`."""
        from l3ae_dist.storage.zarr_store import BlobStore

        return BlobStore(self, read_only=read_only)


def _client_options(url: str) -> Any:
    """Return the limits of a request, and what the environment sets of obstore's client."""
    prefix = _PREFIXES.get(url.partition("://")[0].lower(), "")
    named = {name: os.environ.get(f"{prefix}_{name.upper()}") for name in _CLIENT_OPTIONS}
    return _TIMEOUTS | {name: value for name, value in named.items() if value}


def _object_error(error: Exception, url: str) -> WorkspaceError:
    """Tell what the store refused, without its answer's text, which may hold the names of keys."""
    if isinstance(error, WorkspaceError):
        return error
    kind, text = type(error).__name__, str(error)
    if kind in ("PermissionDeniedError", "UnauthenticatedError"):
        what = "refused the credentials: check those in the environment, and what they may read and write"
    elif lacks_credentials(error):
        what = "got no credentials: set them in the environment, or give this machine a role"
    elif "NoSuchBucket" in text or isinstance(error, FileNotFoundError):
        what = "has no such bucket: create it, or correct the URL"
    else:
        what = (
            f"refused a request ({kind}): check that the bucket exists and that the credentials in the "
            "environment may read and write it"
        )
    return WorkspaceError(f"the store {url} {what}.")
