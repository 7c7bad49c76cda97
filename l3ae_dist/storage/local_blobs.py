"""Objects as files below a directory, and what a full or forbidden disk says."""

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from l3ae_dist.errors import L3AEError, WorkspaceError
from l3ae_dist.storage.blobs import Buffer
from l3ae_dist.storage.direct_io import read_direct, write_new

if TYPE_CHECKING:
    from zarr.abc.store import Store


class LocalBlobs:
    """Objects as files below a directory; a write is a temporary file and a rename.

    Parameters
    ----------
    root
        Directory; created on the first write.
    durable
        Whether each write is flushed to the disk (file, then directory) before it counts.
    """

    concurrency = 1

    def __init__(self, root: str | Path, *, durable: bool = False) -> None:
        self.root = Path(root).expanduser().absolute()
        self.url = str(self.root)
        self.durable = durable

    def _path(self, key: str) -> Path:
        return self.root / key

    def get(self, key: str) -> bytes | None:
        """See :meth:`Blobs.get`."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise _os_error(error, self._path(key), "read") from error

    def get_into(self, key: str, buffer: memoryview) -> int:
        """See :meth:`Blobs.get_into`."""
        try:
            length = read_direct(self._path(key), buffer)
            if length is not None:
                return min(length, len(buffer) + 1)
            with self._path(key).open("rb", buffering=0) as file:
                filled = 0
                while filled < len(buffer):
                    count = file.readinto(buffer[filled:])
                    if not count:
                        return filled
                    filled += count
                return filled + len(file.read(1) or b"")
        except (FileNotFoundError, NotADirectoryError):
            return -1
        except OSError as error:
            raise _os_error(error, self._path(key), "read") from error

    def tail(self, key: str, length: int) -> tuple[int, bytes] | None:
        """See :meth:`Blobs.tail`."""
        try:
            with self._path(key).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - length))
                return size, file.read(length)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def size(self, key: str) -> int | None:
        """See :meth:`Blobs.size`."""
        try:
            return self._path(key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def modified(self, key: str) -> float | None:
        """See :meth:`Blobs.modified`."""
        try:
            return self._path(key).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """See :meth:`Blobs.put`."""
        with self._temporary(key, parts) as temporary:
            os.replace(temporary, self._path(key))
        self._sync_directory(key)

    def copy(self, source: str, target: str) -> None:
        """See :meth:`Blobs.copy`: a hard link, or a copy on file systems that have none."""
        path = self._path(target)
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(self._path(source), temporary)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                shutil.copyfile(self._path(source), temporary)
            os.replace(temporary, path)
        except OSError as error:
            raise _os_error(error, path, "write") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        self._sync_directory(target)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """See :meth:`Blobs.put_if_absent`."""
        with self._temporary(key, [data]) as temporary:
            try:
                os.link(temporary, self._path(key))
            except FileExistsError:
                return False
        self._sync_directory(key)
        return True

    def replace_if(self, key: str, old: bytes, new: bytes) -> bool:
        """See :meth:`Blobs.replace_if`.

        Parameters
        ----------
        key, old, new
            As there.
        """
        with (self.root / f"{key}.swap").open("ab") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            if self.get(key) != old:
                return False
            self.put(key, [new])
            return True

    def delete(self, key: str) -> None:
        """See :meth:`Blobs.delete`."""
        try:
            self._path(key).unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise _os_error(error, self._path(key), "delete") from error

    def delete_prefix(self, prefix: str) -> None:
        """See :meth:`Blobs.delete_prefix`."""
        try:
            shutil.rmtree(self._path(prefix))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise _os_error(error, self._path(prefix), "delete") from error

    def list(self, prefix: str) -> Iterator[str]:
        """See :meth:`Blobs.list`."""
        for directory, _, names in os.walk(self._path(prefix)):
            relative = Path(directory).relative_to(self.root).as_posix()
            yield from (f"{relative}/{name}" for name in names if not name.endswith(".partial"))

    def zarr_store(self, *, read_only: bool = False) -> "Store":
        """See :meth:`Blobs.zarr_store`."""
        from zarr.storage import LocalStore

        return LocalStore(self.root, read_only=read_only)

    @contextlib.contextmanager
    def _temporary(self, key: str, parts: Sequence[Buffer]) -> Iterator[Path]:
        path = self._path(key)
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            views = [memoryview(part).cast("B") for part in parts]
            descriptor = write_new(temporary, views)
            try:
                if self.durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            yield temporary
        except OSError as error:
            if isinstance(error, WorkspaceError):
                raise
            raise _os_error(error, path, "write") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _sync_directory(self, key: str) -> None:
        if not self.durable:
            return
        descriptor = os.open(self._path(key).parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_LINKS = (errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EXDEV, errno.ENOSYS)


@contextlib.contextmanager
def storage_errors(where: str) -> Iterator[None]:
    """Say in one sentence that the disk is full or must not be written, whoever was writing (Zarr, say).

    Raises
    ------
    WorkspaceError
        Naming the file where the system tells it, else ``where``.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, L3AEError) or error.errno not in (*_FULL, *_FORBIDDEN):
            raise
        raise _os_error(error, Path(error.filename or where), "write") from error


def _os_error(error: OSError, path: Path, verb: str) -> WorkspaceError:
    if error.errno in _FULL:
        fix = "the disk is full: free space or move the workspace, then run the same command again"
    elif error.errno in _FORBIDDEN:
        fix = "permission denied: choose a path that this user can write, or mend its permissions"
    else:
        fix = f"{error.strerror or error}: check the path, then run the same command again"
    return WorkspaceError(f"cannot {verb} {path}: {fix}.")
