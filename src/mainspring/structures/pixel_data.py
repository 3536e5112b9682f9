"""The data of a picture's pixels, such as a mask: fields of one height and width."""

from __future__ import annotations

import operator
from typing import Any, Self

import numpy as np
import torch

from .base_data_element import BaseDataElement

__all__ = ["PixelData"]


class PixelData(BaseDataElement):
    """Data of pixels: each data field is a tensor or an array of shape (channels, height, width).

    One of shape (height, width) becomes one of shape (1, height, width), which shares its memory. All fields have the
    same height and width. Metainfo, such as the size of the picture, is not changed by slicing.

    Args:
        metainfo: The metainfo, deep-copied.
        **kwargs: The data fields.

    Raises:
        ValueError: A field has another height and width than those before it, or neither two nor three dimensions.
        TypeError: A field is neither a tensor nor an array.

    >>> pixels = PixelData(mask=torch.zeros(20, 40), scores=torch.zeros(8, 20, 40))
    >>> pixels.shape, pixels.mask.shape
    ((20, 40), torch.Size([1, 20, 40]))
    >>> part = pixels[5:, 10]
    >>> part.shape, part.scores.shape
    ((15, 1), torch.Size([8, 15, 1]))
    >>> pixels.edges = np.zeros((20, 39))
    Traceback (most recent call last):
    ...
    ValueError: edges of this PixelData has height and width (20, 39), but it must have (20, 40), as have mask, scores.
    """

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, int] | None:
        """The height and width of all fields; None where there are none."""
        for value in self.__dict__.values():
            return _size_of(value)
        return None

    def __getitem__(self, item: tuple[int | slice, int | slice]) -> Self:
        """Return a part of all fields, with a copy of the metainfo; they share their memory with these.

        Args:
            item: ``[rows, columns]``, each a number or a slice. A number keeps its dimension, with length 1.

        Raises:
            TypeError: It is something else.
            IndexError: A number is out of range.
        """
        if not isinstance(item, tuple) or len(item) != 2:
            raise TypeError(
                f"{type(self).__name__} is indexed by two things, rows and columns, as in pixels[10:20, 5], but it was"
                f" given {item!r}."
            )
        part = self.clone()
        size = self.shape
        if size is not None:
            rows, columns = (self._slice(*asked) for asked in zip(item, size, ("rows", "columns"), strict=True))
            fields = part.__dict__
            for name, value in fields.items():
                fields[name] = value[:, rows, columns]
        return part

    def _slice(self, item: Any, length: int, what: str) -> slice:
        if isinstance(item, slice):
            return item
        if isinstance(item, bool) or not isinstance(item, (int, np.integer)):
            raise TypeError(
                f"{what} of {type(self).__name__} are chosen by a number or a slice, but it was given {item!r}"
                f" ({type(item).__name__})."
            )
        place = operator.index(item)
        if not -length <= place < length:
            raise IndexError(f"There is no {place} among the {what}: this {type(self).__name__} has {length}.")
        place %= length
        return slice(place, place + 1)

    def _fitting(self, value: Any, name: str) -> Any:
        if not isinstance(value, (torch.Tensor, np.ndarray)):
            raise TypeError(
                f"{self._public(name)} of {type(self).__name__} must be a tensor or an array, but it is of type"
                f" {type(value).__name__}."
            )
        if value.ndim not in (2, 3):
            raise ValueError(
                f"{self._public(name)} of {type(self).__name__} must have the shape (height, width) or (channels,"
                f" height, width), but it has the shape {tuple(value.shape)}."
            )
        for stored, other in self.__dict__.items():
            if stored == name:  # it may take the place of one of another size, where that is the only one
                continue
            if value.shape[-2:] != other.shape[-2:]:
                raise self._other_size(value, name)
            break
        return value[None] if value.ndim == 2 else value

    def _other_size(self, value: Any, name: str) -> ValueError:
        others = {self._public(stored): _size_of(other) for stored, other in self.__dict__.items() if stored != name}
        return ValueError(
            f"{self._public(name)} of this {type(self).__name__} has height and width {_size_of(value)}, but it must"
            f" have {next(iter(others.values()))}, as {'have' if len(others) > 1 else 'has'} {', '.join(others)}."
        )


def _size_of(value: Any) -> tuple[int, int]:
    height, width = value.shape[-2:]
    return height, width
