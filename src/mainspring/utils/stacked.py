"""Lists of tensors that lie in one tensor, and travel as that one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any, cast

import torch
from torch import Tensor

__all__ = ["StackedList", "StackedTuple", "whole_of"]


class _Stacked:
    """What :class:`StackedList` and :class:`StackedTuple` have in common."""

    _whole: Tensor | None

    def pin_memory(self) -> Any:
        """Return the same in pinned memory: one block of it. A loader with ``pin_memory`` calls this."""
        whole, kind = whole_of(self), cast(Any, type(self))
        if whole is not None:
            return kind(whole.pin_memory())
        return kind([one.pin_memory() if isinstance(one, Tensor) else one for one in cast(Any, self)])

    def to(self, device: Any, non_blocking: bool = False) -> Any:
        """Return a plain list or tuple of the tensors on the device, moved in one piece."""
        plain = tuple if isinstance(self, tuple) else list
        moves = self._whole is not None and self._whole.device != torch.device(device)
        whole = whole_of(self) if moves else None
        if whole is not None:
            return plain(whole.to(device, non_blocking=non_blocking).unbind())
        items = cast(Any, self)
        return plain(one.to(device, non_blocking=non_blocking) if isinstance(one, Tensor) else one for one in items)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # For copies and files. They are the user's, who has put in a list and wants to get one out.
        plain: type = tuple if isinstance(self, tuple) else list
        return plain, (list(cast(Any, self)),)


class StackedList(_Stacked, list[Any]):
    """A list of the tensors that lie one after the other in one tensor.

    It is a list in every respect. But from process to process, into pinned memory and to a device it goes as that one
    tensor, which is one piece of shared memory and one transfer, and not as many as there are elements. A list of which
    elements were replaced, added or removed goes element by element.

    An element that is kept keeps the memory of all.

    Args:
        given: A tensor, of which the elements are the parts along the first dimension; or any elements.

    >>> import torch
    >>> images = StackedList(torch.zeros(2, 3, 8, 8))
    >>> len(images), images[1].shape, whole_of(images).shape
    (2, torch.Size([3, 8, 8]), torch.Size([2, 3, 8, 8]))
    >>> images[1] = torch.ones(3, 5, 5)
    >>> whole_of(images) is None
    True
    """

    def __init__(self, given: Tensor | Iterable[Any] = ()) -> None:
        self._whole = given if isinstance(given, Tensor) else None
        super().__init__(_parts(given))


class StackedTuple(_Stacked, tuple[Any, ...]):
    """The same as a tuple."""

    def __new__(cls, given: Tensor | Iterable[Any] = ()) -> StackedTuple:
        """Make it of the parts of a tensor along the first dimension, or of any elements."""
        made = super().__new__(cls, _parts(given))
        made._whole = given if isinstance(given, Tensor) else None
        return made


def whole_of(items: Any) -> Tensor | None:
    """Return the tensor in which the elements lie, or None unless they are the parts of one, all and in order."""
    if not isinstance(items, (StackedList, StackedTuple)):
        return None
    whole = items._whole
    if whole is None or len(items) != len(whole):
        return None
    for one, part in zip(items, whole.unbind(), strict=True):
        # The user may have replaced an element, or turned it in place.
        if type(one) is not Tensor or one.dtype != part.dtype or one.requires_grad or not one.is_set_to(part):
            return None
    return whole


def _parts(given: Tensor | Iterable[Any]) -> Sequence[Any] | Iterable[Any]:
    return given.unbind() if isinstance(given, Tensor) else given


def _reduced(items: StackedList | StackedTuple) -> Any:
    whole = whole_of(items)
    return items.__reduce_ex__(2) if whole is None else (type(items), (whole,))


# This pickler is that of the queues between processes.
ForkingPickler.register(StackedList, _reduced)
ForkingPickler.register(StackedTuple, _reduced)
