"""Whether a file has the bytes for the tensors that its pickle claims.

Torch believes the numbers in a pickle: a file of a kilobyte may ask for a tensor of terabytes. So each is checked here
before torch makes it:

- A storage has the size of its bytes in the file, exactly.
- A tensor reaches no further than its storage, counted by size, stride and offset.
- A tensor may show one element many times, as an expanded mask does by a stride of 0. It takes no memory so, but all of
  it once it is copied. Together, such tensors of a file may amount to 64 times the file, and to one GiB in any case:
  a mask of 32 x 16 heads over 1024 x 1024 positions passes, a matrix of a terabyte that is one number does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Claims", "Contents", "Global", "Items", "Storage", "Tensor", "check_key", "lengths", "shown"]

_PER_BYTE = {torch.quint4x2: 2, torch.quint2x4: 4}
_FREE = 2**30
_TIMES = 64
_MOST_DIMENSIONS = 64  # NumPy's limit, far beyond any real tensor
_MOST = 2**60 - 1
_LONGEST_KEY = 100


@dataclass(frozen=True)
class Global:
    """A class or function that is named in a pickle; for a class of storages, what it holds."""

    name: str
    dtype: torch.dtype | None = None


@dataclass(frozen=True)
class Storage:
    """The numbers that tensors share."""

    dtype: torch.dtype
    size: int
    """In bytes."""


@dataclass(frozen=True)
class Tensor:
    """A tensor that torch may make."""

    dtype: torch.dtype
    elements: int
    stored: bool = True
    """Whether its storage has a place for each element, so that a copy is no larger."""


class Items(list[Any]):
    """What a dict holds: its keys and values by turns."""

    def __init__(self, items: Sequence[Any] = (), ordered: bool = False) -> None:
        super().__init__(items)
        self.ordered = ordered
        """It is an OrderedDict."""


class Contents(list[Any]):
    """What a set, or an object of another class, holds."""


def check_key(key: Any) -> None:
    """Refuse a key that is long to hash: a tuple of two times a tuple of two times a tuple ... has no end."""
    if isinstance(key, str):  # as nearly all are
        return
    waiting, count = [key], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count > _LONGEST_KEY or isinstance(value, Items) or type(value) is list:
            raise ValueError("it has a dict or a set with a key that is no number, text, or short tuple")
        if isinstance(value, tuple):
            waiting += value[: _LONGEST_KEY + 1]
        elif isinstance(value, int) and abs(value) > _MOST:  # many of them may have one hash
            raise ValueError("it has a dict or a set with a key that is too large a number")


class Claims:
    """Checks the calls of one file.

    Args:
        file_size: In bytes.
    """

    def __init__(self, file_size: int) -> None:
        self._repeated_limit = max(_FREE, _TIMES * file_size)
        self._repeated = 0

    def storage(self, kind: Any, count: Any, size: int | None = None) -> Storage:
        """Check a storage of ``count`` elements against the bytes that the file has for it, if that is known yet."""
        if not isinstance(kind, Global) or kind.dtype is None or type(count) is not int or count < 0:
            raise ValueError("it has a storage of a kind that torch.save does not write")
        needed = count * kind.dtype.itemsize
        if size is not None and needed != size:
            raise ValueError(f"it claims a storage of {needed} bytes where it has {size}")
        return Storage(kind.dtype, needed)

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, dtype: torch.dtype | None = None) -> Tensor:
        """Check a tensor against its storage."""
        if not isinstance(storage, Storage):
            raise ValueError("it has a tensor without a storage")
        dtype = storage.dtype if dtype is None else dtype
        shape, strides = lengths(size), lengths(stride)
        (offset,) = lengths((offset,))
        if len(shape) != len(strides):
            raise ValueError(f"it has a tensor of {len(shape)} dimensions with {len(strides)} strides")
        elements = math.prod(shape)
        last = offset + sum((length - 1) * step for length, step in zip(shape, strides, strict=True))
        per_byte = _PER_BYTE.get(dtype, 1)
        needed = -(-(last + 1) * dtype.itemsize // per_byte) if elements else 0
        if needed > storage.size:
            raise ValueError(f"it claims a tensor that needs {needed} bytes of a storage which has {storage.size}")
        full = -(-elements * dtype.itemsize // per_byte)
        if full > storage.size:
            self._repeat(full, f"a tensor of the shape {shape}, {full} bytes in full, of {storage.size} bytes")
        return Tensor(dtype, elements, stored=full <= storage.size)

    def converted(self, source: Any, dtype: Any, device: Any, requires_grad: Any) -> Tensor:
        """Check a tensor that is copied to another type and device."""
        if not isinstance(source, Tensor) or not source.stored or not isinstance(dtype, torch.dtype):
            raise ValueError("it has a tensor that is converted from none")
        size = source.elements * dtype.itemsize
        self._repeat(size, f"a tensor of {size} bytes that is copied")
        return Tensor(dtype, source.elements)

    def quantized(self, storage: Any, offset: Any, size: Any, stride: Any, parameters: Any, *rest: Any) -> Tensor:
        """Check a quantized tensor; torch makes it in full before it takes the storage."""
        tensor = self.tensor(storage, offset, size, stride)
        if not tensor.stored:
            raise ValueError("it has a quantized tensor that is larger than its storage")
        if type(parameters) is not tuple or not all(_is_parameter(parameter) for parameter in parameters):
            raise ValueError("it has a quantized tensor without scales or zero points")
        return tensor

    def _repeat(self, size: int, what: str) -> None:
        self._repeated += size
        if self._repeated > self._repeated_limit:
            raise ValueError(f"it has too much that repeats itself: {what}")


def shown(value: Any) -> str:
    """Return a value for a message; what is no text might be written without end, and a text may be long."""
    return repr(value[:50]) if isinstance(value, str) else f"of the type {type(value).__name__}"


def _is_parameter(value: Any) -> bool:
    """Whether something is a scheme, a number, a tensor, or a list of numbers: of a list of lists torch makes all."""
    if type(value) is list:
        return all(isinstance(number, (int, float)) for number in value)
    return isinstance(value, (torch.qscheme, int, float, Tensor))


def lengths(values: Any) -> tuple[int, ...]:
    """Return sizes, strides or offsets, if they are such."""
    # Not Items: torch would take the keys of a dict, and here values are among them.
    if type(values) not in (tuple, list) or len(values) > _MOST_DIMENSIONS:
        raise ValueError("it has a tensor without a shape, or with too many dimensions")
    if any(type(value) is not int or not 0 <= value <= _MOST for value in values):
        raise ValueError("it has a tensor whose size, stride or offset is negative, too large, or no number")
    return tuple(values)
