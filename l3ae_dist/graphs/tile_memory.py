"""The memory in which a worker process computes tiles: its own, or that of a device."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Protocol, TypeVar

import numpy as np

from l3ae_dist.errors import ConfigError
from l3ae_dist.graphs.context import StageContext
from l3ae_dist.graphs.device_tiles import TEMPORARY_TILES, DeviceTile, DeviceTiles, io_threads
from l3ae_dist.linalg.arrays import Array
from l3ae_dist.linalg.kernels import Handle, Kernels, get_kernels
from l3ae_dist.linalg.staging import device_name
from l3ae_dist.linalg.torch_kernels import TorchKernels
from l3ae_dist.storage.accumulators import Accumulators
from l3ae_dist.storage.forked import ProcessLock
from l3ae_dist.storage.holder import machine
from l3ae_dist.storage.tile_reader import TileReader
from l3ae_dist.storage.tile_requests import HeldTile, TileRequest
from l3ae_dist.storage.tile_source import TileSource

H = TypeVar("H")


class TileMemory(Protocol[H]):
    """A memory of this process in which tiles are computed."""

    @property
    def kernels(self) -> Kernels:
        """The kernels that compute in it."""

    @property
    def tiles(self) -> TileSource[H]:
        """The source of tiles in it."""

    @property
    def accumulators(self) -> Accumulators[H]:
        """The accumulators in it."""

    @property
    def waiting(self) -> int:
        """Accumulators beside those of a task, which wait to be written or are there for the next."""

    @property
    def evenly(self) -> bool:
        """True where blocks read and write their tiles all the time, and hold them to their end."""

    def resize(self, context: StageContext) -> None:
        """Keep as much from task to task as a stage may."""

    def begin(self, held: H) -> Handle:
        """Return the handle of an accumulator."""

    def operand(self, held: H) -> Handle:
        """Return what kernels take for a tile that was read."""

    def finish(self, handle: Handle, held: H, dtype: str) -> Handle:
        """Make the tile hold the values of its handle, rounded to a dtype; return it as an operand.

        Parameters
        ----------
        handle
            What kernels have changed.
        held
            The accumulator that it was begun with.
        dtype
            As tiles are stored.
        """

    def on_host(self, held: H, request: TileRequest, *, kept: bool) -> AbstractContextManager[Array]:
        """Give a finished tile in memory of the process, for the ``with`` block.

        Parameters
        ----------
        held
            The tile.
        request
            What it is read as.
        kept
            Whether later tasks of the stage read it.
        """


# Whoever makes the memory of a device, or gives up its tiles: two tasks begin together.
_MAKING = ProcessLock()
_DEVICES: dict[str, DeviceTiles] = {}
# Made with the module: two tasks that begin together must not make one each.
_READER = TileReader()
_ACCUMULATORS = Accumulators(_READER)


class HostMemory:
    """The memory of the process.

    Parameters
    ----------
    kernels
        Compute in it.
    reader, accumulators
        Of the process, where there are no others.
    """

    def __init__(
        self,
        kernels: Kernels,
        reader: TileReader = _READER,
        accumulators: Accumulators[HeldTile] = _ACCUMULATORS,
    ) -> None:
        self.kernels = kernels
        self.tiles, self.accumulators = reader, accumulators
        self.waiting, self.evenly = 0, False

    def resize(self, context: StageContext) -> None:
        """Keep as much from task to task as a stage may."""
        self.tiles.resize(context.cache_bytes)
        self.tiles.copy_to(context.local_directory, context.local_bytes)
        self.tiles.hold_only(context.unwritten.solve, context.unwritten_paths)

    def begin(self, held: HeldTile) -> Handle:
        """Return the handle of an accumulator, which shares its memory unless it is widened."""
        return self.kernels.load(held.tile)

    def operand(self, held: HeldTile) -> Handle:
        """Return what kernels take for a tile that was read."""
        return self.kernels.operand(held.tile)

    def finish(self, handle: Handle, held: HeldTile, dtype: str) -> Handle:
        """Make the tile hold the values of its handle; return it as an operand.

        Parameters
        ----------
        handle
            What kernels have changed.
        held
            The accumulator that it was begun with.
        dtype
            As tiles are stored; the tile has it already.
        """
        return self.kernels.store(handle, held.tile)

    @contextmanager
    def on_host(self, held: HeldTile, request: TileRequest, *, kept: bool) -> Iterator[Array]:
        """Give the tile as it is.

        Parameters
        ----------
        held
            The tile.
        request
            What it is read as.
        kept
            Whether later tasks of the stage read it.
        """
        yield held.tile


class DeviceMemory:
    """The memory of a device; that of the process holds tiles on their way."""

    def __init__(self, kernels: TorchKernels) -> None:
        self.kernels, self.waiting, self.evenly = kernels, io_threads(), True
        self.tiles, self.accumulators = _on_device(str(kernels.device))

    def resize(self, context: StageContext) -> None:
        """Keep as much from task to task as a stage may, on the device and beside it."""
        _READER.resize(context.cache_bytes)
        _READER.copy_to(context.local_directory, context.local_bytes)
        _READER.hold_only(context.unwritten.solve, context.unwritten_paths)
        tile = context.grid.tile**2 * self.kernels.itemsize(context.dtype)
        working = (context.tiles_held + self.waiting + TEMPORARY_TILES) * tile + _converted_bytes(context)
        self.tiles.resize(context.device_memory, working, context.device_sharers)
        self.tiles.hold_only(context.unwritten.solve, context.unwritten_paths)

    def begin(self, held: DeviceTile) -> Handle:
        """Return the handle of an accumulator, which is the tile unless it is widened."""
        held.tile = self.kernels.load(held.tile)
        return held.tile

    def operand(self, held: DeviceTile) -> Handle:
        """Return the tile: kernels widen it where they must."""
        return held.tile

    def finish(self, handle: Handle, held: DeviceTile, dtype: str) -> Handle:
        """Make the tile hold the values of its handle, rounded to a dtype; return it as an operand.

        Parameters
        ----------
        handle
            What kernels have changed.
        held
            The accumulator that it was begun with.
        dtype
            As tiles are stored.
        """
        held.tile = self.kernels.rounded(handle, dtype)
        held.made = self.kernels.mark()
        return held.tile

    def on_host(self, held: DeviceTile, request: TileRequest, *, kept: bool) -> AbstractContextManager[Array]:
        """Copy the tile; the process keeps the copy where later tasks read it and the device has no room.

        Parameters
        ----------
        held
            The tile.
        request
            What it is read as.
        kept
            Whether later tasks of the stage read it.
        """
        return self.tiles.on_host(held, request, kept=kept)


def _converted_bytes(context: StageContext) -> int:
    """Return the bytes of the tiles of a Gram matrix that are converted on a device: one for each thread."""
    if "gram" not in context.paths:
        return 0
    gram = context.array("gram")
    return io_threads() * gram.chunk_nbytes if gram.dtype != np.dtype(context.dtype) else 0


def device_place(device: str) -> str | None:
    """Return a name that all processes have for the device of this one, and note what is free on it.

    Returns
    -------
    None for a CPU, and for a device that cannot be used: its first kernel says why.
    """
    try:
        memory = process_memory(device)
    except (ImportError, AssertionError, RuntimeError, ConfigError):
        return None
    if not isinstance(memory, DeviceMemory):
        return None
    memory.tiles.note_free()
    return f"{machine()} {device_name(memory.kernels.device)}"


def process_reader() -> TileReader:
    """Return the one :class:`TileReader` of this process."""
    return _READER


def process_accumulators() -> Accumulators[HeldTile]:
    """Return the :class:`Accumulators` in the memory of this process."""
    return _ACCUMULATORS


@lru_cache(maxsize=4)
def process_kernels(device: str, arithmetic: str = "float32") -> Kernels:
    """Return the kernel back end of this process for a device and the least precise dtype of arithmetic."""
    return get_kernels(device, arithmetic)


def process_memory(device: str, arithmetic: str = "float32") -> HostMemory | DeviceMemory:
    """Return the memory of this process in which a device computes.

    Parameters
    ----------
    device, arithmetic
        As for :func:`l3ae_dist.linalg.kernels.get_kernels`.
    """
    with _MAKING:
        return _memory(device, arithmetic)


def give_up_tiles() -> None:
    """Forget all tiles that this process keeps, and give their memory on devices back."""
    _READER.resize(0)
    with _MAKING:
        for tiles in _DEVICES.values():
            tiles.clear()


def forget_copies() -> None:
    """Delete the copies of tiles that this process keeps on a local disk."""
    _READER.copy_to("", 0)


@lru_cache(maxsize=4)
def _memory(device: str, arithmetic: str) -> HostMemory | DeviceMemory:
    kernels = process_kernels(device, arithmetic)
    return DeviceMemory(kernels) if isinstance(kernels, TorchKernels) else HostMemory(kernels)


@lru_cache(maxsize=4)
def _on_device(device: str) -> tuple[DeviceTiles, Accumulators[DeviceTile]]:
    """Return what one device holds, whatever it computes in."""
    tiles = _DEVICES[device] = DeviceTiles(_READER, TorchKernels(device))
    return tiles, Accumulators(tiles, io_threads(), io_threads())
