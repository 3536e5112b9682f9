"""From a list of samples to a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate as torch_collate
from torch.utils.data import get_worker_info

from ..registry import FUNCTIONS
from ..structures import BaseDataElement
from ..utils import StackedList, StackedTuple, rebuilt_mapping, rebuilt_sequence

__all__ = ["default_collate", "pseudo_collate"]


@FUNCTIONS.register_module()
def pseudo_collate(data_batch: Sequence[Any]) -> Any:
    """Turn a list of samples into a sample of lists, and leave what is in the lists as it is.

    A dict becomes a dict with a list at each key, a named tuple one with a sequence in each field, any other
    tuple or list a list of columns; containers are walked to any depth. No number becomes a tensor, and images may
    differ in size: a data preprocessor makes the batch of them.

    In a worker of a loader, tensors that are of one size and dtype are copied next to each other into one block of
    shared memory. They reach the training process as one piece, which takes a fraction of the time that as many tensors
    take, and are a list (or tuple) of tensors there as anywhere else: a :class:`~mainspring.utils.StackedList`.

    Args:
        data_batch: The samples, all of one structure.

    Raises:
        ValueError: Two samples have sequences of different lengths at one place.
        KeyError: A sample lacks a key that the first one has.
        TypeError: A sample has no container where the first one has one.

    >>> pseudo_collate([dict(x=1, name="a"), dict(x=2, name="b")])
    {'x': [1, 2], 'name': ['a', 'b']}
    >>> pseudo_collate([("image", 3), ("picture", 4)])
    [('image', 'picture'), (3, 4)]
    """
    _refuse_none(data_batch)
    return _collate(data_batch, "sample", _keep if get_worker_info() is None else _keep_together)


@FUNCTIONS.register_module()
def default_collate(data_batch: Sequence[Any]) -> Any:
    """Turn a list of samples into a sample of batches: tensors, arrays and numbers are stacked into tensors.

    Containers are walked as in :func:`pseudo_collate`. Strings, bytes and ``BaseDataElement``s stay in a
    list.

    Args:
        data_batch: The samples, all of one structure.

    Raises:
        ValueError: Tensors or arrays at one place have different shapes, or sequences different lengths.
        KeyError: A sample lacks a key that the first one has.
        TypeError: A value cannot become part of a tensor, or the samples have values of different kinds.

    >>> default_collate([dict(x=1, name="a"), dict(x=2, name="b")])
    {'x': tensor([1, 2]), 'name': ['a', 'b']}
    """
    _refuse_none(data_batch)
    return _collate(data_batch, "sample", _stack)


def _collate(items: Sequence[Any], where: str, join: Callable[[Sequence[Any], str], Any]) -> Any:
    first = items[0]
    if isinstance(first, (str, bytes)):
        return items
    if isinstance(first, Mapping):
        _check_kind(items, Mapping, where)
        columns = {
            key: _collate([_value(item, key, where, n) for n, item in enumerate(items)], f"{where}[{key!r}]", join)
            for key in first
        }
        return rebuilt_mapping(first, columns)
    if isinstance(first, Sequence):
        _check_kind(items, Sequence, where)
        _check_lengths(items, where)
        names = getattr(first, "_fields", None)  # of a named tuple
        collated = [
            _collate(column, f"{where}[{n}]" if names is None else f"{where}.{names[n]}", join)
            for n, column in enumerate(zip(*items, strict=True))
        ]
        if names is not None:
            return rebuilt_sequence(first, collated)
        # A plain tuple becomes a list, as in torch.
        return collated if isinstance(first, tuple) else rebuilt_sequence(first, collated)
    return join(items, where)


def _refuse_none(samples: Sequence[Any]) -> None:
    for number, sample in enumerate(samples):
        if sample is None:
            raise TypeError(
                f"The data set returned None for sample number {number} of a batch. Let its __getitem__ and each of its"
                " transforms return what they made."
            )


def _keep(items: Sequence[Any], where: str) -> Any:
    return items


def _keep_together(items: Sequence[Any], where: str) -> Any:
    if len(items) < 2 or not all(_is_dense(item) for item in items):
        return items
    if len({(item.shape, item.dtype) for item in items}) > 1:
        return items
    together = torch_collate(list(items))  # in a worker it copies into shared memory at once
    return StackedTuple(together) if isinstance(items, tuple) else StackedList(together)


def _is_dense(item: Any) -> bool:
    """Whether it is a tensor of which a stack keeps everything."""
    return (
        type(item) is torch.Tensor
        and item.layout is torch.strided
        and item.device.type == "cpu"
        and not (item.is_quantized or item.is_conj() or item.is_neg() or item.requires_grad)
    )


def _stack(items: Sequence[Any], where: str) -> Any:
    if isinstance(items[0], BaseDataElement):
        return items
    kinds = list(dict.fromkeys(_kind(item) for item in items))
    if len(kinds) > 1:
        raise TypeError(
            f"default_collate: {where} is of different kinds in one batch: {', '.join(kinds)}. "
            "Let the data set return one kind for all samples."
        )
    if isinstance(items[0], (torch.Tensor, np.ndarray)):
        shapes = list(dict.fromkeys(tuple(item.shape) for item in items))
        if len(shapes) > 1:
            raise ValueError(
                f"default_collate: {where} has different shapes in one batch: {', '.join(map(str, shapes))}. "
                "Resize or pad to one shape in the data set, or write collate_fn=dict(type='pseudo_collate') "
                "and let the data preprocessor make the batch."
            )
    try:
        return torch_collate(list(items))
    except TypeError as error:
        raise TypeError(
            f"default_collate: {where} is {kinds[0]}, which cannot become part of a tensor. Leave it out, "
            "make it a number or an array, or write collate_fn=dict(type='pseudo_collate'), which keeps it "
            "in a list."
        ) from error


def _kind(item: Any) -> str:
    if isinstance(item, torch.Tensor):
        return "a tensor"
    if isinstance(item, np.ndarray):
        return "an array" if item.dtype != object else "an array of objects"
    if isinstance(item, (bool, int, float, np.number, np.bool_)):
        return "a number"
    return "None" if item is None else f"an object of class {type(item).__name__}"


def _value(item: Mapping[Any, Any], key: Any, where: str, number: int) -> Any:
    if key not in item:
        raise KeyError(
            f"{where} number {number} of a batch has no key {key!r}, which the first one has. "
            f"Its keys: {', '.join(map(repr, item))}."
        )
    return item[key]


def _check_kind(items: Sequence[Any], kind: type, where: str) -> None:
    for number, item in enumerate(items):
        if not isinstance(item, kind) or isinstance(item, (str, bytes)):
            raise TypeError(
                f"{where} is a {type(items[0]).__name__} in the first sample of a batch, but a "
                f"{type(item).__name__} in number {number}. All samples of a data set need one structure."
            )


def _check_lengths(items: Sequence[Any], where: str) -> None:
    lengths = [len(item) for item in items]
    if len(set(lengths)) > 1:
        raise ValueError(
            f"{where} is a {type(items[0]).__name__} with different lengths in one batch: "
            f"{', '.join(map(str, lengths))}. A sequence is taken for columns of equal meaning; put what "
            "differs in length into a tensor or a BaseDataElement."
        )
