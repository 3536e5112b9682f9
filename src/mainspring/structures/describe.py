"""Text that shows a person what a nested value holds, without flooding the terminal."""

from __future__ import annotations

import itertools
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["describe", "entry", "indent"]

_SHOWN_NUMBERS = 32
_SHOWN_ITEMS = 12

_short = reprlib.Repr()
_short.maxlist = _short.maxtuple = _short.maxdict = _short.maxset = _SHOWN_ITEMS
_short.maxstring = _short.maxother = 200


def describe(value: Any) -> str:
    """Return a readable text of a value, of several lines where it is nested.

    Small tensors and arrays show their numbers, large ones their shape and type; containers that hold any of
    these, or anything with a repr of several lines, get a line for each of their first items.

    >>> print(describe({"small": torch.tensor([1, 2]), "large": np.zeros((30, 40))}))
    {
        small: tensor([1, 2])
        large: array of shape (30, 40), float64
    }
    """
    if isinstance(value, torch.Tensor):
        if value.numel() <= _SHOWN_NUMBERS:
            return repr(value)
        return f"tensor of shape {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')}, {value.device}"
    if isinstance(value, np.ndarray):
        if value.size <= _SHOWN_NUMBERS:
            return repr(value)
        return f"array of shape {value.shape}, {value.dtype.name}"
    if isinstance(value, Mapping) and _is_nested(value.values()):
        shown = [entry(key, value[key]) for key in list(value)[:_SHOWN_ITEMS]]
        return _block("{", shown, len(value) - len(shown), "}")
    if isinstance(value, (list, tuple)) and _is_nested(value):
        shown = [describe(item) for item in value[:_SHOWN_ITEMS]]
        opening, closing = ("[", "]") if isinstance(value, list) else ("(", ")")
        return _block(opening, shown, len(value) - len(shown), closing)
    if isinstance(value, (str, bytes, list, tuple, dict, set, frozenset)):
        return _short.repr(value)
    return repr(value)


def entry(name: object, value: Any) -> str:
    """Return ``name: value``, a tensor's further lines standing below its first."""
    text = f"{name}: {describe(value)}"
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return text.replace("\n", "\n" + " " * (len(str(name)) + 2))
    return text


def indent(text: str) -> str:
    """Move every line of a text to the right by one level."""
    return "    " + text.replace("\n", "\n    ")


def _block(opening: str, items: list[str], hidden: int, closing: str) -> str:
    more = [f"... and {hidden} more"] if hidden else []
    return "\n".join([opening, *map(indent, items + more), closing])


def _is_nested(items: Iterable[Any]) -> bool:
    return any(_deserves_a_line(item) for item in itertools.islice(items, _SHOWN_ITEMS))


def _deserves_a_line(item: Any) -> bool:
    if isinstance(item, (str, bytes, int, float, complex, type(None))):
        return False
    if isinstance(item, (torch.Tensor, np.ndarray)):
        return True
    if isinstance(item, Mapping):
        return _is_nested(item.values())
    if isinstance(item, (list, tuple)):
        return _is_nested(item)
    return "\n" in repr(item)
