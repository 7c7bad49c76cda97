"""Objects on S3, Google Cloud Storage or Azure, through obstore; credentials come from the environment."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from l3ae_dist.errors import WorkspaceError
from l3ae_dist.storage.blobs import Buffer

if TYPE_CHECKING:
    from zarr.abc.store import Store

# A store that does not answer for so long ends the run; what was written is kept.
_RETRY: Any = {"max_retries": 8, "retry_timeout": timedelta(seconds=60)}


class ObjectBlobs:
    """The :class:`~l3ae_dist.storage.blobs.Blobs` operations on a bucket; a write is a single PUT.

    Parameters
    ----------
    url
        Bucket and prefix.
    patience
        Seconds for which requests that are not answered are repeated; 60 when None.
    """

    concurrency = 32

    def __init__(self, url: str, *, patience: float | None = None) -> None:
        from obstore.store import from_url

        self.url = url.rstrip("/")
        retry: Any = _RETRY if patience is None else {**_RETRY, "retry_timeout": timedelta(seconds=patience)}
        try:
            self._store: Any = from_url(self.url, retry_config=retry)
        except Exception as error:
            raise _object_error(error, self.url) from error

    def get(self, key: str) -> bytes | None:
        """See :meth:`Blobs.get`."""
        import obstore

        try:
            return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _object_error(error, self.url) from error

    def get_into(self, key: str, buffer: memoryview) -> int:
        """See :meth:`Blobs.get_into`."""
        import obstore

        try:
            data = memoryview(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return -1
        except Exception as error:
            raise _object_error(error, self.url) from error
        count = min(len(data), len(buffer))
        buffer[:count] = data[:count]
        return count + (len(data) > count)

    def tail(self, key: str, length: int) -> tuple[int, bytes] | None:
        """See :meth:`Blobs.tail`."""
        import obstore

        try:
            answer = obstore.get(self._store, key, options={"range": {"suffix": length}})
            return int(answer.meta["size"]), bytes(answer.bytes())
        except FileNotFoundError:
            return None
        except Exception as error:
            size = self.size(key)  # an empty object has no range to give
            if size == 0:
                return 0, b""
            raise _object_error(error, self.url) from error

    def size(self, key: str) -> int | None:
        """See :meth:`Blobs.size`."""
        import obstore

        try:
            return int(obstore.head(self._store, key)["size"])
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _object_error(error, self.url) from error

    def modified(self, key: str) -> float | None:
        """See :meth:`Blobs.modified`."""
        import obstore

        try:
            return float(obstore.head(self._store, key)["last_modified"].timestamp())
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _object_error(error, self.url) from error

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """See :meth:`Blobs.put`."""
        import obstore

        try:
            obstore.put(self._store, key, b"".join(memoryview(part).cast("B") for part in parts))
        except Exception as error:
            raise _object_error(error, self.url) from error

    def copy(self, source: str, target: str) -> None:
        """See :meth:`Blobs.copy`: the store copies."""
        import obstore

        try:
            obstore.copy(self._store, source, target)
        except Exception as error:
            raise _object_error(error, self.url) from error

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """See :meth:`Blobs.put_if_absent`."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            obstore.put(self._store, key, data, mode="create")
        except AlreadyExistsError:
            return False
        except Exception as error:
            raise _object_error(error, self.url) from error
        return True

    def replace_if(self, key: str, old: bytes, new: bytes) -> bool:
        """See :meth:`Blobs.replace_if`.

        Parameters
        ----------
        key, old, new
            As there.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            current = obstore.get(self._store, key)
            if bytes(current.bytes()) != old:
                return False
            obstore.put(self._store, key, new, mode={"e_tag": current.meta["e_tag"]})
        except (FileNotFoundError, PreconditionError, AlreadyExistsError):
            return False
        except Exception as error:
            raise _object_error(error, self.url) from error
        return True

    def delete(self, key: str) -> None:
        """See :meth:`Blobs.delete`."""
        import obstore

        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:
            return
        except Exception as error:
            raise _object_error(error, self.url) from error

    def delete_prefix(self, prefix: str) -> None:
        """See :meth:`Blobs.delete_prefix`."""
        import obstore

        keys = list(self.list(prefix))
        try:
            if keys:
                obstore.delete(self._store, keys)
        except Exception as error:
            raise _object_error(error, self.url) from error

    def list(self, prefix: str) -> Iterator[str]:
        """See :meth:`Blobs.list`."""
        import obstore

        try:
            for page in obstore.list(self._store, prefix=prefix):
                yield from (str(entry["path"]) for entry in page)
        except Exception as error:
            raise _object_error(error, self.url) from error

    def zarr_store(self, *, read_only: bool = False) -> "Store":
        """See :meth:`Blobs.zarr_store`."""
        from zarr.storage import ObjectStore

        return ObjectStore(self._store, read_only=read_only)


def _object_error(error: Exception, url: str) -> WorkspaceError:
    """Tell what the store refused, without its answer's text, which may hold the names of keys."""
    if isinstance(error, WorkspaceError):
        return error
    kind, text = type(error).__name__, str(error)
    if kind in ("PermissionDeniedError", "UnauthenticatedError"):
        what = "refused the credentials: check those in the environment, and what they may read and write"
    elif "NoSuchBucket" in text or isinstance(error, FileNotFoundError):
        what = "has no such bucket: create it, or correct the URL"
    elif "error sending request" in text:
        what = "does not answer: check the endpoint and the network, then run the same command again"
    else:
        what = (
            f"refused a request ({kind}): check that the bucket exists and that the credentials in the "
            "environment may read and write it"
        )
    return WorkspaceError(f"the store {url} {what}.")
