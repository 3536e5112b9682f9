"""What may stand in a checkpoint: tensors, and plain containers of plain values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["to_plain"]

_SCALARS = (str, bytes, int, float, bool, complex, type(None), torch.dtype, torch.device)


def to_plain(value: Any, path: str = "checkpoint") -> Any:
    """Return ``value`` rebuilt from dicts, lists, tuples, sets, numbers, strings and tensors.

    Mappings become dicts, NumPy arrays lists, NumPy numbers Python's, paths strings, parameters tensors. Tensors
    are neither copied nor moved. The result is what ``torch.load(..., weights_only=True)`` reads back.

    Args:
        value: Anything that is to be saved.
        path: Where it stands, for the message.

    Raises:
        TypeError: Something in it is no plain value; the message says where it stands.
    """
    if isinstance(value, torch.Tensor):
        # A subclass (a parameter, a user's) is unpickled by code; its plain tensor is not.
        return value.detach() if type(value) is torch.Tensor else value.detach().as_subclass(torch.Tensor)
    if isinstance(value, Mapping):
        return {to_plain(k, path): to_plain(v, f"{path}[{k!r}]") for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [to_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
        if isinstance(value, (set, frozenset)):
            return set(items)
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist(), path)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, _SCALARS):
        return _without_subclass(value)
    raise TypeError(
        f"{path} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be saved: a checkpoint"
        " holds only tensors, numbers, strings, None, and dicts, lists, tuples and sets of these, so that reading"
        " one never runs code. Save what is needed to rebuild the object, such as its state_dict() or arguments."
    )


def _without_subclass(value: Any) -> Any:
    # A member of an enumeration, say, is unpickled by its class; the number that it is, is not.
    kinds: tuple[Any, ...] = (str, bytes, bool, int, float, complex)
    for kind in kinds:
        if isinstance(value, kind):
            return value if type(value) is kind else kind.__new__(kind, value)
    return value
