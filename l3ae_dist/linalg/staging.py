"""NumPy tiles to and from a GPU through page-locked buffers, beside the arithmetic.

A copy from ordinary memory stops the host and, inside the driver, goes through a page-locked buffer
anyway. Here the buffers are kept: two of them, used in turn, so that one is filled while the other is
on its way.
"""

from typing import Any

import numpy as np

from l3ae_dist.linalg.arrays import Array

# Torch has no types here: it is installed where it is used.
Tensor = Any
Event = Any
Device = Any
Dtype = Any


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


class _Buffer:
    """One host buffer, page-locked where there is a GPU, and the event after which it is free again."""

    def __init__(self) -> None:
        self._memory: Tensor = None
        self._busy: Event = None

    def take(self, shape: tuple[int, ...], dtype: Dtype) -> Tensor:
        """A tensor in the buffer, once the copy before has left it; the buffer grows when it must."""
        import torch

        if self._busy is not None:
            self._busy.synchronize()
        count = int(np.prod(shape)) * dtype.itemsize
        if self._memory is None or self._memory.numel() < count:
            self._memory = None  # freed before its successor is allocated
            self._memory = torch.empty(count, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
        return self._memory[:count].view(dtype).view(shape)

    def busy_until(self, event: Event) -> None:
        """The buffer must not be written before ``event``."""
        self._busy = event


class Staging:
    """Copies between NumPy tiles and one CUDA device.

    Holds two page-locked buffers of the largest tile seen (allocated on first use) and a stream for
    copies to the device. The caller makes sure that one thread at a time uses it.
    """

    def __init__(self, device: Device) -> None:
        import torch

        self.device = device
        self._stream = torch.cuda.Stream(device)
        self._buffers = (_Buffer(), _Buffer())
        self._turn = 0

    def upload(self, array: Array) -> Tensor:
        """Copy an array to a row-major device tensor; what is launched next waits for it.

        Returns when the host may overwrite ``array``; the copy to the device may still be under way.
        """
        import torch

        source = tensor_view(array)
        buffer = self._next()
        staged = buffer.take(array.shape, source.dtype)
        staged.copy_(source)
        compute = torch.cuda.current_stream(self.device)
        copied = torch.cuda.Event()
        with torch.cuda.stream(self._stream):
            tile = torch.empty(array.shape, dtype=source.dtype, device=self.device)
            tile.copy_(staged, non_blocking=True)
            copied.record(self._stream)
        buffer.busy_until(copied)
        compute.wait_event(copied)
        # allocated for the copying stream: its memory must outlive the arithmetic on the other one
        tile.record_stream(compute)
        return tile

    def download(self, tensor: Tensor, array: Array) -> None:
        """Copy a device tensor into ``array``, after everything launched on it."""
        buffer = self._next()
        staged = buffer.take(array.shape, tensor.dtype)
        staged.copy_(tensor, non_blocking=True)
        self.mark().synchronize()
        tensor_view(array).copy_(staged)

    def mark(self) -> Event:
        """Record an event after everything launched so far."""
        import torch

        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _next(self) -> _Buffer:
        self._turn = 1 - self._turn
        return self._buffers[self._turn]
