"""Taking over what a configuration changes of its base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import ConfigKeyError
from .lazy import raw_items

__all__ = ["DELETE", "merged", "nested"]

DELETE = "_delete_"


def merged(
    base: Mapping[Any, Any], changes: Mapping[Any, Any], path: str = "", list_keys: bool = True
) -> dict[Any, Any]:
    """Return ``base`` as ``changes`` changes it; both stay as they are.

    Dicts are merged, key by key; everything else takes the place of what was there. ``_delete_=True`` in a dict lets it
    take the place of the base's, too. A dict whose keys are numbers changes the items of a list.

    Args:
        base: The dict that is changed.
        changes: What is changed.
        path: Under which key they stand, for messages.
        list_keys: Whether numbers are indexes of lists.

    Raises:
        TypeError: A dict stands where the base has something else.
        ConfigKeyError: An index is beyond the end of the list.

    >>> merged({"model": {"depth": 50, "norm": "BN"}}, {"model": {"depth": 101}})
    {'model': {'depth': 101, 'norm': 'BN'}}
    >>> merged({"hooks": [{"n": 1}, {"n": 2}]}, {"hooks": {"1": {"n": 3}}})
    {'hooks': [{'n': 1}, {'n': 3}]}
    """
    result = dict(raw_items(base))
    for key, value in raw_items(changes):
        if key == DELETE:
            continue
        where = f"{path}.{key}" if path else str(key)
        result[key] = _changed(result[key], value, where, list_keys) if key in result else _without_marks(value)
    return result


def _changed(old: Any, new: Any, path: str, list_keys: bool) -> Any:
    if not isinstance(new, dict) or dict.get(new, DELETE, False) or old is None:
        return _without_marks(new)
    if isinstance(old, dict):
        return merged(old, new, path, list_keys)
    if list_keys and isinstance(old, list) and new and all(_is_index(key) for key in new):
        items = list(old)
        for key, value in raw_items(new):
            if int(key) >= len(items):
                raise ConfigKeyError(
                    f"{path}.{key} is beyond the end of the list {path}, which has {len(items)} items, 0 to"
                    f" {len(items) - 1}. Give the whole list to make it longer."
                )
            items[int(key)] = _changed(items[int(key)], value, f"{path}.{key}", list_keys)
        return items
    a_list = (
        " To change items of the list, let the keys be their indexes, as in {'0': ...}."
        if isinstance(old, list) and list_keys
        else ""
    )
    raise TypeError(
        f"{path} is a dict ({_shown(new)}), but in the base it is {_shown(old)} ({type(old).__name__}), which a dict"
        f" cannot change. Write _delete_=True into the dict to let it take that one's place.{a_list}"
    )


def _is_index(key: Any) -> bool:
    return key.isdecimal() if isinstance(key, str) else type(key) is int and key >= 0


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _without_marks(value: Any) -> Any:
    """Return a value without the ``_delete_`` in its dicts, which has nothing left to do."""
    if not isinstance(value, dict):
        return value
    return {key: _without_marks(item) for key, item in raw_items(value) if key != DELETE}


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dict of dicts that keys with dots mean.

    Raises:
        ConfigKeyError: A key contradicts another one, or a part of it is empty.

    >>> nested({"model.depth": 50, "model.norm": "BN"})
    {'model': {'depth': 50, 'norm': 'BN'}}
    """
    result: dict[str, Any] = {}
    for whole, value in options.items():
        if not isinstance(whole, str) or not all(whole.split(".")):
            raise ConfigKeyError(f"{whole!r} is no key of a configuration: write it as 'model.depth'.")
        *parents, last = whole.split(".")
        inner = result
        for depth, part in enumerate(parents):
            given = inner.get(part, {})
            if not isinstance(given, dict):
                above = ".".join(parents[: depth + 1])
                raise ConfigKeyError(f"{whole!r} goes into {above!r}, which is given as {given!r}.")
            inner[part] = dict(raw_items(given))  # not the caller's own
            inner = inner[part]
        given = inner.get(last)
        if isinstance(given, dict) and isinstance(value, dict):
            inner[last] = {**given, **value}
        else:
            inner[last] = value
    return result
