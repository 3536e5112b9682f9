"""Walking nested containers, and making new ones of their types."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch

__all__ = ["apply_to", "rebuilt_mapping", "rebuilt_sequence", "takes_non_blocking"]


def apply_to(data: Any, expr: Callable[[Any], bool], apply_func: Callable[[Any], Any]) -> Any:
    """Return ``data`` with every element for which ``expr(element)`` is true replaced by ``apply_func(element)``.

    Mappings, tuples, named tuples and lists are walked and rebuilt with their own type; anything else is a leaf,
    handed on as it is unless ``expr`` is true of it. ``expr`` is asked of containers first.

    >>> apply_to({"a": [1, "x"], "b": (2.0,)}, lambda v: isinstance(v, int), lambda v: v + 1)
    {'a': [2, 'x'], 'b': (2.0,)}
    """
    if expr(data):
        return apply_func(data)
    if isinstance(data, Mapping):
        return rebuilt_mapping(data, {key: apply_to(value, expr, apply_func) for key, value in data.items()})
    if isinstance(data, (list, tuple)):
        return rebuilt_sequence(data, [apply_to(item, expr, apply_func) for item in data])
    return data


def rebuilt_mapping(like: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    """Return ``items`` in a mapping of the type of ``like``; a ``defaultdict`` keeps its default.

    A mapping that cannot be made from a dict becomes a plain one.
    """
    if type(like) is dict:
        return items
    if isinstance(like, dict):
        filled = copy.copy(like)
        filled.clear()
        filled.update(items)
        return filled
    try:
        return type(like)(items)  # type: ignore[call-arg]
    except TypeError:
        return items


def rebuilt_sequence(like: Sequence[Any], items: list[Any]) -> Any:
    """Return ``items`` in a sequence of the type of ``like``; a named tuple stays one.

    A sequence that cannot be made from a list, such as a ``range``, becomes a list.
    """
    kind: Any = type(like)
    if kind is list:
        return items
    if isinstance(like, tuple) and hasattr(like, "_fields"):  # a named tuple takes its fields one by one
        return kind(*items)
    try:
        return kind(items)
    except TypeError:
        return items


@lru_cache(maxsize=256)
def takes_non_blocking(kind: type) -> bool:
    """Whether the method ``to`` of a class can be called with ``non_blocking``."""
    if issubclass(kind, torch.Tensor):  # written in C, with no signature to read
        return True
    try:
        parameters = inspect.signature(getattr(kind, "to", None)).parameters  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return "non_blocking" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
