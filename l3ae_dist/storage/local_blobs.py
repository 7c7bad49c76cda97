"""Objects as files below a directory, and what a full or forbidden disk says."""

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from l3ae_dist.errors import WorkspaceError
from l3ae_dist.messages import shown
from l3ae_dist.storage.blobs import Buffer, inside
from l3ae_dist.storage.direct_io import read_direct, write_new
from l3ae_dist.storage.os_errors import os_error
from l3ae_dist.storage.partial_files import PARTIAL, abandoned_files, partial_name
from l3ae_dist.storage.permissions import file_mode, make_folders

if TYPE_CHECKING:
    from zarr.abc.store import Store

# A swap takes milliseconds.
_SWAP_SECONDS = 30.0
_NO_LINKS = (errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EXDEV, errno.ENOSYS)


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
    remote = False

    def __init__(self, root: str | Path, *, durable: bool = False) -> None:
        self.root = Path(root).expanduser().absolute()
        self.url = str(self.root)
        self.durable = durable
        # folders whose entries are known to be on the disk
        self._flushed: set[Path] = set()
        self._real_folders: set[str] = set()

    def _path(self, key: str) -> Path:
        """Return the file of a key, and refuse one that a symbolic link takes out of the root."""
        path = self.root / inside(key, self.url)
        folder = str(path.parent)
        try:
            linked = path.is_symlink()
        except OSError as error:  # a name that is too long
            raise os_error(error, path, "use") from error
        if folder not in self._real_folders or linked:
            if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root)):
                raise WorkspaceError(
                    f"{shown(path)} is a link that leads out of the workspace {shown(self.url)}; put what it "
                    "leads to in its place, or use the workspace no further if it came from somebody else."
                )
            self._real_folders.add(folder)
        return path

    def _open_new(self, path: str, flags: int) -> int:
        return os.open(path, flags, file_mode(self.root))

    def _folder(self, prefix: str) -> Path:
        return self._path(prefix.rstrip("/")) if prefix else self.root

    def get(self, key: str) -> bytes | None:
        """See :meth:`Blobs.get`."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise os_error(error, self._path(key), "read") from error

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
            raise os_error(error, self._path(key), "read") from error

    def range_into(self, key: str, start: int, buffer: memoryview) -> int:
        """See :meth:`Blobs.range_into`.

        Parameters
        ----------
        key, start, buffer
            As there.
        """
        try:
            with self._path(key).open("rb", buffering=0) as file:
                file.seek(start)
                filled = 0
                while filled < len(buffer):
                    count = file.readinto(buffer[filled:])
                    if not count:
                        break
                    filled += count
                return filled
        except (FileNotFoundError, NotADirectoryError):
            return -1
        except OSError as error:
            raise os_error(error, self._path(key), "read") from error

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
        except OSError as error:
            raise os_error(error, self._path(key), "read") from error

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
        temporary = path.with_name(partial_name(path.name))
        try:
            self._make_folder(path.parent)
            try:
                os.link(self._path(source), temporary)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                shutil.copyfile(self._path(source), temporary)
            if self.durable:  # who wrote the source may not have flushed it
                _flush(temporary)
            os.replace(temporary, path)
        except OSError as error:
            raise os_error(error, path, "write") from error
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
        path = self._path(f"{key}.swap")
        unflushed = self.durable and not path.exists()
        with open(path, "ab", opener=self._open_new) as guard:
            if unflushed:
                os.fsync(guard.fileno())
            _lock_file(guard, self._path(key))
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
            raise os_error(error, self._path(key), "delete") from error

    def delete_prefix(self, prefix: str) -> None:
        """See :meth:`Blobs.delete_prefix`."""
        try:
            shutil.rmtree(self._path(prefix.rstrip("/")))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise os_error(error, self._path(prefix.rstrip("/")), "delete") from error

    def list(self, prefix: str) -> Iterator[str]:
        """See :meth:`Blobs.list`."""
        for directory, _, names in os.walk(self._folder(prefix)):
            below = Path(directory).relative_to(self.root)
            yield from ((below / name).as_posix() for name in names if not name.endswith(PARTIAL))

    def abandoned(self) -> dict[str, int]:
        """See :meth:`Blobs.abandoned`."""
        found = {}
        for path in abandoned_files(self.root):
            with contextlib.suppress(FileNotFoundError):
                found[path.relative_to(self.root).as_posix()] = path.stat().st_size
        return found

    def zarr_store(self, *, read_only: bool = False) -> "Store":
        """See :meth:`Blobs.zarr_store`."""
        from zarr.storage import LocalStore

        return LocalStore(self.root, read_only=read_only)

    @contextlib.contextmanager
    def _temporary(self, key: str, parts: Sequence[Buffer]) -> Iterator[Path]:
        path = self._path(key)
        temporary = path.with_name(partial_name(path.name))
        try:
            self._make_folder(path.parent)
            views = [memoryview(part).cast("B") for part in parts]
            descriptor = write_new(temporary, views, file_mode(self.root))
            try:
                if self.durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            yield temporary
        except OSError as error:
            if isinstance(error, WorkspaceError):
                raise
            raise os_error(error, path, "write") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _sync_directory(self, key: str) -> None:
        if not self.durable:
            return
        _flush(self._path(key).parent)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder; where writes are durable, flush its entry and those of the folders above it.

        Each process does so once for each folder, since it cannot know what another one has flushed.
        """
        if not self.durable:
            make_folders(folder, self.root)
            return
        new = list(itertools.takewhile(lambda one: not one.exists(), (folder, *folder.parents)))
        make_folders(folder, self.root)
        inside = [one for one in (folder, *folder.parents) if one.is_relative_to(self.root)]
        for one in dict.fromkeys((*new, *inside)):
            if one in new or one not in self._flushed:
                _flush(one.parent)
                self._flushed.add(one)


def _flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock_file(guard: IO[bytes], path: Path) -> None:
    """Lock a file against other processes; one that is stopped within its swap must not stop this one."""
    deadline = time.monotonic() + _SWAP_SECONDS
    while True:
        try:
            return fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise WorkspaceError(
                    f"another process has been replacing {path} for {_SWAP_SECONDS:.0f} s (is it stopped?); "
                    "end it or let it go on, then run the same command again."
                ) from None
        time.sleep(0.002)
