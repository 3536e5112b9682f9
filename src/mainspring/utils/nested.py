"""Walking nested containers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["apply_to"]


def apply_to(data: Any, condition: Callable[[Any], bool], function: Callable[[Any], Any]) -> Any:
    """Return ``data`` with every element that meets ``condition`` replaced by ``function(element)``.

    Mappings, tuples, named tuples and lists are walked and rebuilt with their own type; anything else is a leaf,
    handed on as it is unless it meets the condition. The condition is asked of containers first.

    >>> apply_to({"a": [1, "x"], "b": (2.0,)}, lambda v: isinstance(v, int), lambda v: v + 1)
    {'a': [2, 'x'], 'b': (2.0,)}
    """
    if condition(data):
        return function(data)
    if isinstance(data, Mapping):
        walked = {key: apply_to(value, condition, function) for key, value in data.items()}
        return walked if type(data) is dict else _rebuild_mapping(data, walked)
    if isinstance(data, tuple):
        items = [apply_to(item, condition, function) for item in data]
        if hasattr(data, "_fields"):  # a named tuple takes its fields one by one
            return type(data)(*items)
        return tuple(items) if type(data) is tuple else type(data)(items)
    if isinstance(data, list):
        items = [apply_to(item, condition, function) for item in data]
        return items if type(data) is list else type(data)(items)
    return data


def _rebuild_mapping(data: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    try:
        return type(data)(items)  # type: ignore[call-arg]
    except TypeError:  # a mapping with a constructor of its own, such as defaultdict
        return items
