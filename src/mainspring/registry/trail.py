"""Where in a configuration the dict stands that is being built, for messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

__all__ = ["being_built", "building_within", "path_of"]

_MOST = 100_000
"""Values that a search looks at: a configuration has fewer, but a data set may stand in it."""


@dataclass(frozen=True, slots=True)
class _Build:
    """A dict that is being built, and the one within whose constructor that happens."""

    cfg: Mapping[str, Any]
    args: Mapping[str, Any]
    outer: _Build | None
    within: str = ""


_innermost: ContextVar[_Build | None] = ContextVar("mainspring_building", default=None)


@contextmanager
def being_built(cfg: Mapping[str, Any], args: Mapping[str, Any]) -> Iterator[None]:
    """Say for a block that ``cfg`` is being built, with the arguments ``args``; dicts in them may be built within."""
    token = _innermost.set(_Build(cfg, args, _innermost.get()))
    try:
        yield
    finally:
        _innermost.reset(token)


@contextmanager
def building_within(configuration: Mapping[str, Any], path: str = "") -> Iterator[None]:
    """Say for a block what the whole configuration is, so that errors can name the place of what is built in it.

    Args:
        configuration: A mapping; a dict is known in it by being the same object, or else equal.
        path: The place of that which is found nowhere in it.

    >>> cfg = dict(model=dict(type="ResNet", neck=[dict(type="FPN")]))
    >>> with building_within(cfg):
    ...     path_of(cfg["model"]["neck"][0])
    'model.neck[0]'
    """
    token = _innermost.set(_Build({}, configuration, None, path))
    try:
        yield
    finally:
        _innermost.reset(token)


def path_of(cfg: Any) -> str:
    """Return where a dict stands in the configuration that is being built, such as ``'model.backbone'``, or ``''``."""
    innermost = _innermost.get()
    return _found(cfg, innermost) or _within(innermost)


def _within(build: _Build | None) -> str:
    while build is not None and build.outer is not None:
        build = build.outer
    return "" if build is None else build.within


def _found(cfg: Any, build: _Build | None) -> str:
    if build is None:
        return ""
    keys = _keys_to(cfg, build.args)
    if keys is None:
        return _found(cfg, build.outer)
    if build.outer is None and not build.cfg:
        return _joined("", keys)
    if keys[0] in build.cfg:
        return _joined(_found(build.cfg, build.outer) or _within(build), keys)
    # What the code that builds has added, such as the loader of a loop: it has a place of its own.
    return _joined(_found(build.args[keys[0]], build.outer), keys[1:])


def _joined(path: str, keys: list[Any]) -> str:
    for key in keys:
        path += f"[{key}]" if isinstance(key, int) else f".{key}"
    return path.removeprefix(".")


def _keys_to(wanted: Any, args: Mapping[str, Any]) -> list[Any] | None:
    """Return the keys that lead to a value: to itself, or else to the dict of which it has the most, and all."""
    nearest: list[Any] | None = None
    most = 0
    waiting: list[tuple[Any, list[Any]]] = [(args, [])]
    for value, keys in waiting:
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            if item is wanted:
                return [*keys, key]
            if isinstance(item, (Mapping, list, tuple)) and len(waiting) < _MOST:
                if isinstance(item, Mapping) and len(item) > most and _is_in(item, wanted):
                    nearest, most = [*keys, key], len(item)
                waiting.append((item, [*keys, key]))
    return nearest


def _is_in(part: Any, whole: Any) -> bool:
    """Whether a dict has all that another one has."""
    return isinstance(whole, Mapping) and all(key in whole and _same(part[key], whole[key]) for key in part)


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    # Tensors and the like have equalities of their own.
    return isinstance(one, (str, int, float)) and type(one) is type(other) and bool(one == other)
