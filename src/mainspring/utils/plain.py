"""What may stand in a checkpoint: tensors, and plain containers of plain values."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["to_plain"]

_MOST_BITS = 2039  # a pickle says the length of a number in one byte, or in a way that torch does not read safely
_SCALARS = (str, bytes, int, float, bool, complex, type(None), torch.dtype, torch.device)


def to_plain(value: Any, path: str = "checkpoint") -> Any:
    """Return ``value`` rebuilt from dicts, lists, tuples, sets, numbers, strings and tensors.

    Mappings become dicts, NumPy arrays lists, NumPy numbers Python's, paths strings, parameters tensors. Tensors
    are neither copied nor moved. The result is what ``torch.load(..., weights_only=True)`` reads back (bytes that are
    empty only where ``bytes`` is among its safe globals, as in :func:`mainspring.checkpoint.read_checkpoint`). The
    state dict of a module stays an ``OrderedDict``, with the version numbers that modules leave in it.

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
        items = {_hashable(k, path): to_plain(v, f"{path}[{k!r}]") for k, v in value.items()}
        versions = getattr(value, "_metadata", None)
        return items if versions is None else _state_dict(items, to_plain(versions, f"{path}._metadata"))
    if isinstance(value, (set, frozenset)):
        return {_hashable(item, path) for item in value}
    if isinstance(value, (list, tuple)):
        elements = [to_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
        return tuple(elements) if isinstance(value, tuple) else elements
    if isinstance(value, np.generic) and not isinstance(value.item(), np.generic):
        return to_plain(value.item(), path)
    if isinstance(value, np.ndarray):
        return to_plain(value.tolist(), path)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise TypeError(f"{path} is a number of {value.bit_length()} bits; at most {_MOST_BITS} can be read back.")
    if isinstance(value, _SCALARS):
        return _without_subclass(value)
    raise TypeError(
        f"{path} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be saved: a checkpoint"
        " holds only tensors, numbers, strings, None, and dicts, lists, tuples and sets of these, so that reading"
        " one never runs code. Save what is needed to rebuild the object, such as its state_dict() or arguments."
    )


def _hashable(key: Any, path: str) -> Any:
    plain = to_plain(key, f"{path}'s {key!r}")
    try:
        hash(plain)
    except TypeError as error:
        raise TypeError(
            f"{path} holds {key!r} as a key or in a set, which cannot be saved: a checkpoint knows no frozenset."
            " Take a tuple."
        ) from error
    return plain


def _state_dict(items: dict[Any, Any], versions: Any) -> OrderedDict[Any, Any]:
    state_dict = OrderedDict(items)
    state_dict._metadata = versions  # type: ignore[attr-defined]
    return state_dict


# A member of an enumeration, say, is unpickled by its class; the number or the text that it is, is not.
_TO_BASE: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (bytes, bytes.__bytes__),
    (bool, bool),
    (int, int.__int__),
    (float, float.__float__),
    (complex, complex.__complex__),
)


def _without_subclass(value: Any) -> Any:
    for kind, convert in _TO_BASE:
        if isinstance(value, kind):
            return value if type(value) is kind else convert(value)
    return value
