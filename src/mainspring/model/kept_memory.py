"""Memory for batches that is used again once nobody looks at the last one."""

from __future__ import annotations

import math
import sys
from typing import Any

import torch

__all__ = ["KeptMemory"]

_LEAST = 1 << 20
"""Bytes below which the C library has memory at hand that was used before."""

_CPU = torch.device("cpu")

_count_holders = getattr(torch._C, "_storage_Use_Count", None)


class KeptMemory:
    """Gives tensors on the CPU the memory of an earlier one of the same size, where that is free again.

    A large block of memory is new each time it is asked for, and the system fills it with zeros page by page: for a
    batch of 150 MB that takes several times as long as to normalise it. Accelerators have allocators that keep memory,
    and get their tensors from those.

    Memory is free when torch counts no holder of it but this one. Tensors, views, what a graph has saved for its
    backward pass, NumPy arrays and DLPack capsules are all holders, in any thread. Memory that was shared with other
    processes is given up, since nobody counts those.

    The memory of one tensor is kept, from :meth:`empty` on. Copies begin without.

    >>> memory = KeptMemory()
    >>> first = memory.empty((512, 1024))
    >>> address = first.data_ptr()
    >>> memory.empty((512, 1024)).data_ptr() == address  # the first is still in use
    False
    """

    def __init__(self) -> None:
        # A list, since taking out of it is one step, which two threads cannot both do.
        self._kept: list[torch.UntypedStorage] = []

    def empty(
        self,
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
        device: torch.device = _CPU,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> torch.Tensor:
        """Return a tensor whose values are arbitrary.

        Args:
            shape: Its shape.
            dtype: Its dtype.
            device: Where it lies.
            memory_format: In which order its numbers lie.
        """
        size = math.prod(shape) * dtype.itemsize
        if size < _LEAST or device.type != "cpu" or _count_holders is None or torch.compiler.is_compiling():
            return torch.empty(shape, dtype=dtype, device=device, memory_format=memory_format)
        tensor = torch.empty(0, dtype=dtype, device=device)
        if type(tensor) is not torch.Tensor:  # but one that only seems to have memory
            return torch.empty(shape, dtype=dtype, device=device, memory_format=memory_format)
        storage = self._free(size)
        if storage is None:
            tensor = torch.empty(shape, dtype=dtype, device=device, memory_format=memory_format)
            storage = tensor.untyped_storage()
        else:
            strides = torch.empty(shape, device="meta", memory_format=memory_format).stride()
            tensor.set_(storage, 0, shape, strides)
        self._kept.append(storage)
        return tensor

    def _free(self, size: int) -> torch.UntypedStorage | None:
        """Take out what is kept, and return it if it fits and nobody else holds it."""
        try:
            taken = [self._kept.pop()]
        except IndexError:
            return None
        if taken[0].nbytes() == size and not taken[0].is_shared() and _is_alone(taken):
            return taken[0]
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return KeptMemory, ()


def _is_alone(taken: list[torch.UntypedStorage]) -> bool:
    # The first counts tensors, with this object as one; the second counts users of this object: the list and the call.
    return _count_holders(taken[0]._cdata) == 1 and sys.getrefcount(taken[0]) == 2  # type: ignore[misc]
