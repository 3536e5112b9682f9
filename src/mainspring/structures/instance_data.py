"""The data of several instances, such as the objects in a picture: fields of one length."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any, Self, overload

import numpy as np
import torch

from .base_data_element import BaseDataElement
from .positions import chosen_by, joined

__all__ = ["InstanceData"]

Index = int | slice | list[int] | list[bool] | np.ndarray[Any, Any] | torch.Tensor


class InstanceData(BaseDataElement):
    """Data of several instances: each data field has one entry for each of them.

    A field may be a tensor or an array (its first dimension counts), a list, a tuple, a string, or anything with
    ``__len__`` and slices; the last needs a static method ``cat(parts)`` too, to be indexed by lists, masks and
    tensors and to be joined. What holds for all instances together belongs into the metainfo.

    An index gives an ``InstanceData`` with a copy of the metainfo, a single number one with one instance:

    - a number or a slice; below 0 counts from the end,
    - a list, an array or a tensor of numbers, in any order,
    - a list, an array or a tensor of booleans, a mask as long as there are instances,
    - a string gives the field of that name.

    Args:
        metainfo: The metainfo, deep-copied.
        **kwargs: The data fields.

    Raises:
        ValueError: A field has another length than those before it.
        TypeError: A field has no length, or an index is none of these.
        IndexError: An index is out of range, or a mask has the wrong length.

    >>> found = InstanceData(metainfo=dict(path="a.png"), scores=torch.tensor([0.9, 0.2, 0.7]), names=list("abc"))
    >>> len(found), found[found.scores > 0.5].names, found[-1].names
    (3, ['a', 'c'], ['c'])
    >>> found.labels = torch.tensor([1, 0])
    Traceback (most recent call last):
    ...
    ValueError: labels of this InstanceData has length 2, but it must have length 3, as have scores, names.
    >>> InstanceData.cat([found[1:], found[:1]]).names
    ['b', 'c', 'a']
    """

    __slots__ = ()

    def __setitem__(self, name: str, value: Any) -> None:
        """Set a data field."""
        setattr(self, name, value)

    def __len__(self) -> int:
        """Return the number of instances, 0 where there are no fields."""
        for value in self.__dict__.values():
            return len(value)
        return 0

    def __iter__(self) -> Iterator[Self]:
        """Iterate over the instances, each as an ``InstanceData`` of length 1."""
        for place in range(len(self)):
            yield self[place]

    @overload
    def __getitem__(self, item: str) -> Any: ...

    @overload
    def __getitem__(self, item: Index) -> Self: ...

    def __getitem__(self, item: str | Index) -> Any:
        if isinstance(item, str):
            return getattr(self, item)
        if isinstance(item, slice):
            return self._part(item)
        if isinstance(item, (list, np.ndarray, torch.Tensor)) and (isinstance(item, list) or item.ndim):
            positions = chosen_by(item, len(self), type(self).__name__)
            part = self.clone()
            fields = part.__dict__
            for name, value in fields.items():
                fields[name] = positions.of(value, self._public(name))
            return part
        if isinstance(item, (bool, np.bool_)) or not hasattr(type(item), "__index__"):
            raise TypeError(
                f"{type(self).__name__} is indexed by a number, a slice, a list, an array, a tensor or the name of a"
                f" field, but it was given {item!r} ({type(item).__name__})."
            )
        place, size = operator.index(item), len(self)
        if not -size <= place < size:
            raise IndexError(f"There is no instance {place}: this {type(self).__name__} has {size} instances.")
        place %= size
        return self._part(slice(place, place + 1))

    def _part(self, item: slice) -> Self:
        part = self.clone()
        fields = part.__dict__
        for name, value in fields.items():
            fields[name] = value[item]
        return part

    @staticmethod
    def cat(instances_list: Iterable[InstanceData]) -> InstanceData:
        """Join the instances of several elements.

        Args:
            instances_list: Elements with the same data fields, at least one.

        Returns:
            A new element of the class of the first, with a copy of the metainfo of the first.

        Raises:
            ValueError: There are none, or their data fields are not the same.
            TypeError: One is no ``InstanceData``, or a field is of a kind that cannot be joined.
        """
        parts = list(instances_list)
        if not parts:
            raise ValueError("cat joins the elements of a list, but the list is empty: give at least one InstanceData.")
        for place, part in enumerate(parts):
            if not isinstance(part, InstanceData):
                raise TypeError(
                    f"cat joins elements of class InstanceData, but item {place} is of type {type(part).__name__}."
                )
            if part.__dict__.keys() != parts[0].__dict__.keys():
                raise ValueError(
                    f"cat joins elements with the same fields, but item 0 has {_listed(parts[0].keys())}, and item"
                    f" {place} has {_listed(part.keys())}."
                )
        whole = parts[0].clone()
        if len(parts) > 1:
            fields = whole.__dict__
            for name in fields:
                fields[name] = joined([part.__dict__[name] for part in parts], whole._public(name))
        return whole

    def _fitting(self, value: Any, name: str) -> Any:
        try:
            length = len(value)
        except TypeError as error:
            raise self._no_length(value, name) from error
        for stored, other in self.__dict__.items():
            if stored == name:  # it may take the place of one of another length, where that is the only one
                continue
            if len(other) != length:
                raise self._other_length(length, name)
            break
        return value

    def _no_length(self, value: Any, name: str) -> TypeError:
        public = self._public(name)
        return TypeError(
            f"{public} of {type(self).__name__} must have one entry for each instance, but it has no length: it is"
            f" {value!r} ({type(value).__name__}). What holds for all of them is metainfo: write"
            f" set_metainfo({{{public!r}: ...}})."
        )

    def _other_length(self, length: int, name: str) -> ValueError:
        others = {self._public(stored): len(other) for stored, other in self.__dict__.items() if stored != name}
        expected = next(iter(others.values()))
        having = ", ".join(key for key, size in others.items() if size == expected)
        return ValueError(
            f"{self._public(name)} of this {type(self).__name__} has length {length}, but it must have length"
            f" {expected}, as {'have' if ',' in having else 'has'} {having}."
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "none"
