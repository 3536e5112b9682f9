"""Tensors of different sizes, in one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["padded_shape", "stack_batch"]


def padded_shape(shapes: Sequence[Sequence[int]], divisor: int) -> list[int]:
    """Return the smallest shape that holds all ``shapes``, with all sizes but the first multiples of ``divisor``.

    >>> padded_shape([(3, 5, 9), (3, 8, 2)], 4)
    [3, 8, 12]
    """
    first, *rest = (max(sizes) for sizes in zip(*shapes, strict=True))
    return [first, *(-(-size // divisor) * divisor for size in rest)]


def stack_batch(tensor_list: Sequence[torch.Tensor], pad_size_divisor: int = 1, pad_value: float = 0) -> torch.Tensor:
    """Stack tensors of different sizes into one batch, padding all dimensions but the first at their end.

    Args:
        tensor_list: Tensors with equally many dimensions, and equally many channels (the first dimension),
            such as images of shape (C, H, W). They are not changed.
        pad_size_divisor: Each padded size is rounded up to a multiple of this.
        pad_value: What the padding holds.

    Returns:
        A tensor of shape (N, C, ...), with the dtype of the tensors (the one that all promote to).

    Raises:
        TypeError: It is no list or tuple of tensors.
        ValueError: It is empty, dimensions or channels differ, or the divisor is less than one.

    >>> import torch
    >>> stack_batch([torch.ones(3, 5, 9), torch.ones(3, 8, 2)], pad_size_divisor=4).shape
    torch.Size([2, 3, 8, 12])
    """
    if not isinstance(tensor_list, (list, tuple)):
        raise TypeError(f"tensor_list must be a list of tensors, but it is of type {type(tensor_list).__name__}.")
    if not tensor_list:
        raise ValueError("tensor_list is empty; there is nothing to stack.")
    for index, tensor in enumerate(tensor_list):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"tensor_list[{index}] must be a tensor, but it is of type {type(tensor).__name__}.")
    if pad_size_divisor < 1:
        raise ValueError(f"pad_size_divisor must be at least 1 (no rounding), but it is {pad_size_divisor!r}.")
    shapes = [tuple(tensor.shape) for tensor in tensor_list]
    if not shapes[0] or len({(len(shape), shape[:1]) for shape in shapes}) > 1:
        raise ValueError(
            "tensor_list must hold tensors with equally many dimensions, at least one, and equally many"
            f" channels (their first dimension), but the shapes are {', '.join(map(str, shapes))}."
        )
    shape = padded_shape(shapes, pad_size_divisor)
    if all(list(given) == shape for given in shapes):
        return torch.stack(list(tensor_list))
    dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensor_list))
    batch: torch.Tensor = tensor_list[0].new_full((len(tensor_list), *shape), pad_value, dtype=dtype)
    for index, tensor in enumerate(tensor_list):
        place: list[int | slice] = [index, *map(slice, tensor.shape)]
        batch[tuple(place)] = tensor
    return batch
