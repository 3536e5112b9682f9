"""Which instances an index means, and how each kind of field gives them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch

__all__ = ["Positions", "chosen_by", "joined"]


class Positions:
    """Places along the first dimension, in the form that each kind of field takes.

    Args:
        tensor: The places, of shape (n,) and dtype int64.
    """

    __slots__ = ("_array", "_list", "_tensors")

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensors = {tensor.device: tensor}
        self._array: np.ndarray[Any, Any] | None = None
        self._list: list[int] | None = None

    def tensor_on(self, device: torch.device) -> torch.Tensor:
        """Return them as a tensor on a device; each copy between devices is made once."""
        found = self._tensors.get(device)
        if found is None:
            found = self._tensors[device] = next(iter(self._tensors.values())).to(device)
        return found

    def array(self) -> np.ndarray[Any, Any]:
        """Return them as an array."""
        if self._array is None:
            self._array = self.tensor_on(torch.device("cpu")).numpy()
        return self._array

    def list(self) -> list[int]:
        """Return them as a list."""
        if self._list is None:
            self._list = self.array().tolist()
        return self._list

    def of(self, value: Any, name: str) -> Any:
        """Return what a field has at these places.

        Tensors, arrays, lists, tuples and strings give it themselves. Of anything else single slices are joined by
        its ``cat``.

        Args:
            value: The field.
            name: Its name, for the error.

        Raises:
            TypeError: The field is of a kind that cannot give it.
        """
        if isinstance(value, torch.Tensor):
            return value[self.tensor_on(value.device)]
        if isinstance(value, np.ndarray):
            return value[self.array()]
        if isinstance(value, (list, tuple, str)):
            return _like(value, [value[place] for place in self.list()])
        if not callable(getattr(value, "cat", None)):
            raise TypeError(
                f"{name} is of type {type(value).__name__}, which can be indexed by single numbers and slices only: it"
                " has no method cat. Make it a tensor, an array or a list, or give its class a static method"
                " cat(list_of_parts)."
            )
        size = len(value)
        starts = [place % size for place in self.list()]  # those below 0 count from the end
        return value.cat([value[start : start + 1] for start in starts] or [value[:0]])


def chosen_by(item: Sequence[Any] | np.ndarray[Any, Any] | torch.Tensor, size: int, owner: str) -> Positions:
    """Return the places that a list, an array or a tensor of numbers or of booleans means.

    Args:
        item: The places, or a mask.
        size: How many instances there are.
        owner: What is indexed, for the errors.

    Raises:
        TypeError: It holds neither whole numbers nor booleans.
        IndexError: It has several dimensions, or is a mask of another length, or a place is not there.
    """
    index = item
    if not isinstance(index, torch.Tensor):
        # A copy, since torch takes no array that is read-only or runs backwards.
        array = np.array(item, dtype=None if len(item) or isinstance(item, np.ndarray) else np.int64, order="C")
        if array.dtype.kind not in "biu":
            raise _not_an_index(f"it is a {type(item).__name__} of {array.dtype.name}", owner)
        if array.dtype not in (np.bool_, np.uint8):
            array = array.astype(np.int64, copy=False)
        index = torch.from_numpy(array)
    if index.ndim != 1:
        raise IndexError(
            f"{owner} has one dimension, that of its instances, but the index has shape {tuple(index.shape)}. Index"
            " the field itself, or give an index of one dimension."
        )
    if index.dtype == torch.int64:
        return Positions(index)
    if index.dtype == torch.bool:
        if len(index) != size:
            raise IndexError(f"The mask has length {len(index)}, but this {owner} has {size} instances.")
        index = index.nonzero().squeeze(1)
    elif index.dtype == torch.uint8:  # libraries do not agree whether that is a mask
        raise _not_an_index("it is of uint8, which may be meant as either", owner)
    elif index.is_floating_point() or index.is_complex():
        raise _not_an_index(f"it is a tensor of {str(index.dtype).removeprefix('torch.')}", owner)
    return Positions(index.long())


def joined(values: Sequence[Any], name: str) -> Any:
    """Return the fields of several elements one after the other.

    Args:
        values: The fields, at least one and all of one kind.
        name: Their name, for the errors.

    Raises:
        TypeError: They are of a kind that cannot be joined, or of several.
    """
    first = values[0]
    try:
        if isinstance(first, torch.Tensor):
            return torch.cat(list(values))
        if isinstance(first, np.ndarray):
            return np.concatenate(values)
        for kind in (list, tuple, str):
            if isinstance(first, kind):
                if not all(isinstance(value, kind) for value in values):
                    found = ", ".join(sorted({type(value).__name__ for value in values}))
                    raise TypeError(f"These cannot be joined with one another: {found}.")
                return _like(first, chain.from_iterable(values))
        if callable(getattr(first, "cat", None)):
            return first.cat(list(values))
    except Exception as error:
        error.add_note(f"This was while joining {name} of {len(values)} elements.")
        raise
    raise TypeError(
        f"{name} is of type {type(first).__name__}, which cannot be joined: it has no method cat. Make it a tensor, an"
        " array or a list, or give its class a static method cat(list_of_parts)."
    )


def _like(value: Any, items: Any) -> Any:
    """Return the items as a list, a tuple or a string, whichever a value is, as its own slices are."""
    if isinstance(value, str):
        return "".join(items)
    return tuple(items) if isinstance(value, tuple) else list(items)


def _not_an_index(found: str, owner: str) -> TypeError:
    return TypeError(
        f"{owner} is indexed by whole numbers or by a mask, but {found}. Write .long() for numbers, or .bool() for a"
        " mask."
    )
