"""NumPy tiles to and from a GPU through page-locked memory, beside the arithmetic.

A copy from ordinary memory stops the host and, inside the driver, goes through a page-locked buffer
anyway. Here every thread that copies keeps two small ones, used in turn: one is filled or emptied while
the other is on its way. Copies in each direction have a stream of their own.
"""

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from l3ae_dist.linalg.arrays import Array

# Torch has no types here: it is installed where it is used.
Tensor = Any
Event = Any
Device = Any
Dtype = Any

# Of each of the two page-locked buffers of a thread. A piece is on its way for a fifth of a millisecond: what
# Python does for it counts little beside that.
PIECE_BYTES = 8 * 2**20


class _Memory:
    """The memory of an array as NumPy's array interface describes it, said to be writable."""

    def __init__(self, array: Array) -> None:
        self._array = array  # kept alive
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def tensor_view(array: Array) -> Tensor:
    """Return a CPU tensor on the memory of an array, without a copy; also of a read-only array.

    Torch has no read-only tensors: nothing may be written to the view of an operand.
    """
    import torch

    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Memory(array)))


def device_name(device: Device) -> str:
    """Return what identifies a device to other processes of its machine."""
    if device.type != "cuda":
        return str(device)
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")  # a part of a card has no other name of its own
    part = visible if visible.startswith("MIG") else ""
    return f"{torch.cuda.get_device_properties(device).uuid}{part}"


class _Buffer:
    """One host buffer, page-locked where there is a GPU, and the event after which it is free again."""

    def __init__(self) -> None:
        import torch

        self._memory: Tensor = None
        self._busy = torch.cuda.Event()

    def take(self, shape: tuple[int, ...], dtype: Dtype) -> Tensor:
        """A tensor in the buffer, once the copy before has left it; the buffer grows when it must."""
        import torch

        self.wait()
        count = int(np.prod(shape)) * dtype.itemsize
        if self._memory is None or self._memory.numel() < count:
            self._memory = None  # freed before its successor is allocated
            pinned = torch.cuda.is_available()
            self._memory = torch.empty(max(count, PIECE_BYTES), dtype=torch.uint8, pin_memory=pinned)
        return self._memory[:count].view(dtype).view(shape)

    def wait(self) -> None:
        """Wait for the copy before, if there was one."""
        self._busy.synchronize()

    def busy(self, stream: object) -> None:
        """The buffer must not be written before what was given to a stream is done."""
        self._busy.record(stream)


class Staging:
    """Copies between NumPy tiles and one CUDA device, from any number of threads.

    Each thread that copies holds two page-locked buffers of 8 MiB, or of one row where that is more.
    """

    def __init__(self, device: Device) -> None:
        import torch

        self.device = device
        self._up, self._down = torch.cuda.Stream(device), torch.cuda.Stream(device)
        self._own = threading.local()

    def upload(self, array: Array) -> Tensor:
        """Copy an array to a row-major device tensor; what is launched next waits for it.

        Returns when the host may overwrite ``array``; the copy to the device may still be under way.
        """
        import torch

        source = tensor_view(array)
        with torch.cuda.stream(self._up):
            tile = torch.empty(array.shape, dtype=source.dtype, device=self.device)
            for rows, buffer in self._pieces(source):
                piece = source[rows]
                staged = buffer.take(tuple(piece.shape), piece.dtype)
                # by NumPy: torch would start its own threads in each of those that copy
                np.copyto(staged.numpy(), piece.numpy())
                tile[rows].copy_(staged, non_blocking=True)
                buffer.busy(self._up)
        compute = torch.cuda.current_stream(self.device)
        compute.wait_event(self._mark(self._up))
        # allocated for the copying stream: its memory must outlive the arithmetic on the other one
        tile.record_stream(compute)
        return tile

    def download(self, tensor: Tensor, array: Array, after: Event) -> None:
        """Copy a device tensor into an array, and wait until it is there.

        Parameters
        ----------
        tensor
            On the device.
        array
            Of its shape and dtype; overwritten.
        after
            What has to have happened before the tensor holds its values, as :meth:`mark` gives it.
        """
        import torch

        target = tensor_view(array)
        self._down.wait_event(after)
        on_its_way: list[tuple[_Buffer, slice, Tensor]] = []
        with torch.cuda.stream(self._down):
            for rows, buffer in self._pieces(tensor):
                piece = tensor[rows]
                staged = buffer.take(tuple(piece.shape), piece.dtype)
                staged.copy_(piece, non_blocking=True)
                buffer.busy(self._down)
                on_its_way.append((buffer, rows, staged))
                if len(on_its_way) == len(self._buffers()):
                    _arrive(target, *on_its_way.pop(0))
        for one in on_its_way:
            _arrive(target, *one)

    def mark(self) -> Event:
        """Record an event after everything launched so far."""
        import torch

        return self._mark(torch.cuda.current_stream(self.device))

    def _mark(self, stream: object) -> Event:
        import torch

        event = torch.cuda.Event()
        event.record(stream)
        return event

    def _buffers(self) -> tuple[_Buffer, _Buffer]:
        """Return the buffers of this thread."""
        if not hasattr(self._own, "buffers"):
            self._own.buffers = (_Buffer(), _Buffer())
        found: tuple[_Buffer, _Buffer] = self._own.buffers
        return found

    def _pieces(self, tensor: Tensor) -> Iterator[tuple[slice, _Buffer]]:
        """Yield the rows of a tensor in pieces that a buffer holds, with the buffers in turn."""
        rows, columns = tensor.shape
        height = max(1, PIECE_BYTES // max(1, columns * tensor.element_size()))
        for number, start in enumerate(range(0, rows, height)):
            yield slice(start, min(start + height, rows)), self._buffers()[number % 2]


def _arrive(target: Tensor, buffer: _Buffer, rows: slice, staged: Tensor) -> None:
    buffer.wait()
    np.copyto(target[rows].numpy(), staged.numpy())
