"""One consistent cut of a state, copied into memory that is kept from one cut to the next."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, UntypedStorage

from ..utils import rebuilt_mapping

__all__ = ["Snapshot", "SnapshotBuffers", "with_one_dtype_a_storage"]

# A storage on which tensors of two dtypes lie counts as two: a file of torch.save knows one dtype a storage.
_Place = tuple[torch.device, int, int, torch.dtype]
_MAPPED = 2**16  # bytes from which on a buffer has pages of its own
_Kind = tuple[int, bool]  # bytes, and whether the memory is pinned


@dataclass(frozen=True)
class Snapshot:
    """A copy of a state on the host, complete after :meth:`wait`."""

    state: Any
    copied: tuple[torch.Event, ...]
    """One for each device, recorded behind its copies."""

    def wait(self) -> None:
        """Block until all copies have arrived."""
        for event in self.copied:
            event.synchronize()


class SnapshotBuffers:
    """Host memory into which states are copied, one after the other.

    A buffer has the size of a storage, to the byte, and is taken again for any storage of that size. So of a state
    whose sizes stay, each copy after the first takes no memory; what fits nothing any more is given back first.
    """

    def __init__(self) -> None:
        self._kept: dict[_Kind, deque[UntypedStorage]] = {}

    @property
    def nbytes(self) -> int:
        """How much memory is kept."""
        return sum(size * len(buffers) for (size, _), buffers in self._kept.items())

    def clear(self) -> None:
        """Give the memory back, as soon as no snapshot lies in it any more."""
        self._kept = {}

    def take(self, plain: Any) -> Snapshot:
        """Copy a state, which may change as soon as this returns.

        Every storage is copied once, whole: tied weights and views stay so, with their strides and offsets. Sparse and
        quantized tensors are copied each for itself, to new memory, and devices are waited for.

        Args:
            plain: What :func:`~mainspring.checkpoint.to_plain` has returned.

        Returns:
            The copy. It holds until the next call, which overwrites it.

        Raises:
            MemoryError: There is not enough memory for the copy.
        """
        sources: dict[_Place, UntypedStorage] = {}

        def find(tensor: Tensor) -> Tensor:
            if _lies_in_storage(tensor):
                storage = tensor.untyped_storage()
                sources.setdefault(_place(tensor, storage), storage)
            return tensor

        _with_tensors(plain, find)
        buffers = self._buffers_for(sources)
        for place, source in sources.items():
            _copy(source, buffers[place])
        devices = {source.device for source in sources.values() if _copies_behind(source.device)}
        events = tuple(map(_record, devices))

        def replace(tensor: Tensor) -> Tensor:
            if not _lies_in_storage(tensor):
                return tensor if tensor.is_meta else tensor.to("cpu", copy=True)
            return _on(buffers[_place(tensor, tensor.untyped_storage())], tensor)

        return Snapshot(_with_tensors(plain, replace), events)

    def _buffers_for(self, sources: dict[_Place, UntypedStorage]) -> dict[_Place, UntypedStorage]:
        kinds = {place: (source.nbytes(), _copies_behind(source.device)) for place, source in sources.items()}
        kept, self._kept = self._kept, {}
        buffers = {place: kept[kind].popleft() for place, kind in kinds.items() if kept.get(kind)}
        kept.clear()  # before more memory is taken
        for place, kind in kinds.items():
            if place not in buffers:
                buffers[place] = _allocate(*kind)
            self._kept.setdefault(kind, deque()).append(buffers[place])
        return buffers


def with_one_dtype_a_storage(plain: Any) -> Any:
    """Return a state of which ``torch.save`` can write a file, for which all tensors of a storage have one dtype.

    Of a storage on which tensors of several lie, all but the first dtype get a copy, as they do in a snapshot.
    """
    first: dict[tuple[torch.device, int], torch.dtype] = {}
    copies: dict[_Place, UntypedStorage] = {}

    def separate(tensor: Tensor) -> Tensor:
        if not _lies_in_storage(tensor):
            return tensor
        storage = tensor.untyped_storage()
        if first.setdefault((storage.device, storage.data_ptr()), tensor.dtype) == tensor.dtype:
            return tensor
        place = _place(tensor, storage)
        if place not in copies:
            copies[place] = storage.clone()  # type: ignore[no-untyped-call]
        return _on(copies[place], tensor)

    return _with_tensors(plain, separate)


def _with_tensors(plain: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return new containers like those of ``plain``, with ``function`` applied to the tensors."""
    if isinstance(plain, Tensor):
        return function(plain)
    if isinstance(plain, dict):
        items = {_with_tensors(key, function): _with_tensors(value, function) for key, value in plain.items()}
        return rebuilt_mapping(plain, items)
    if isinstance(plain, (list, tuple, set)):
        return type(plain)([_with_tensors(item, function) for item in plain])
    return plain


def _lies_in_storage(tensor: Tensor) -> bool:
    """Whether a storage, shape, strides and an offset are all that there is to the tensor."""
    return tensor.layout is torch.strided and not (tensor.is_quantized or tensor.is_meta)


def _place(tensor: Tensor, storage: UntypedStorage) -> _Place:
    return storage.device, storage.data_ptr(), storage.nbytes(), tensor.dtype


def _copies_behind(device: torch.device) -> bool:
    """Whether copies from a device to pinned memory go on while the host does something else."""
    if device.type in ("cpu", "mps"):  # MPS shares its memory with the host
        return False
    accelerator = torch.accelerator.current_accelerator()
    return accelerator is not None and accelerator.type == device.type


def _copy(source: UntypedStorage, buffer: UntypedStorage) -> None:
    if source.device.type == "cpu":
        # Not by torch, whose threads all have to arrive after each storage: where workers keep the cores busy, this
        # takes several times as long, and on a machine that is idle no less.
        ctypes.memmove(buffer.data_ptr(), source.data_ptr(), source.nbytes())
    else:
        # The copy waits in the device's current stream, behind the last update and before the next, which therefore
        # cannot overtake it. The host goes on at once where the buffer is pinned.
        buffer.copy_(source, non_blocking=_copies_behind(source.device))


def _record(device: torch.device) -> torch.Event:
    event = torch.Event(device, blocking=True)
    event.record(torch.accelerator.current_stream(device))
    return event


def _allocate(size: int, pinned: bool) -> UntypedStorage:
    try:
        if not pinned and size >= _MAPPED and sys.platform == "linux":
            return _allocate_unforked(size)
        return torch.empty(size, dtype=torch.uint8, device="cpu", pin_memory=pinned).untyped_storage()
    except (RuntimeError, OSError) as error:
        raise MemoryError(
            f"There is no memory for a copy of what is to be saved; {size / 1e6:,.0f} MB more were asked for. A"
            " checkpoint that is written in the background is copied first, which takes as much memory on the host as"
            " the file takes on the disk. Save without the copy, by save_checkpoint(), or make the state smaller."
        ) from error


def _allocate_unforked(size: int) -> UntypedStorage:
    """Return memory that forked processes do not get.

    Where a loader's workers have it, the next copy into it goes page by page to new memory, at a tenth of the speed.
    """
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_DONTFORK)
    return torch.frombuffer(memory, dtype=torch.uint8).untyped_storage()  # which keeps the object


def _on(buffer: UntypedStorage, tensor: Tensor) -> Tensor:
    """Return a tensor that lies on ``buffer`` as ``tensor`` lies on its storage."""
    copy = torch.empty(0, dtype=tensor.dtype, device=buffer.device)
    copy.set_(buffer, tensor.storage_offset(), tensor.shape, tensor.stride())
    if tensor.is_conj():
        copy = copy.conj()
    return torch._neg_view(copy) if tensor.is_neg() else copy
