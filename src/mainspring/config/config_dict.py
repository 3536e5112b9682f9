"""A dict whose keys are attributes, too."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import Any, NoReturn, Self

from ..utils import KeptAsDict, nearest
from .errors import ConfigKeyError
from .lazy import LazyObject, dotted_name, imported, raw_items
from .merging import merged

__all__ = ["ConfigDict", "as_plain"]

_MISSING = object()


class ConfigDict(KeptAsDict):
    """A dict whose keys are attributes, too; dicts in it, and in its lists and tuples, become of this class.

    A key that is not there is an error, which names the nearest ones. What a lazy configuration has imported is
    imported for real when it is asked for.

    Args:
        *args: As of ``dict``.
        **kwargs: As of ``dict``.

    >>> cfg = ConfigDict(model=dict(type="ResNet", depth=50))
    >>> cfg.model.depth
    50
    >>> cfg.model.dept
    Traceback (most recent call last):
    ...
    AttributeError: The configuration has no model.dept. Did you mean 'depth'? There are: type, depth.
    """

    __slots__ = ("_path", "_source")
    _path: str
    _source: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        object.__setattr__(self, "_path", "")
        object.__setattr__(self, "_source", "")
        given = args[0] if len(args) == 1 and isinstance(args[0], Mapping) else dict(*args)
        for key, value in (*raw_items(given), *kwargs.items()):
            self[key] = value

    @classmethod
    def within(cls, values: Mapping[Any, Any], path: str = "", source: str = "") -> Self:
        """Return a copy of ``values`` that knows, for its messages, under which key of which file it stands."""
        made = cls()
        object.__setattr__(made, "_path", path)
        object.__setattr__(made, "_source", source)
        prefix = f"{path}." if path else ""
        for key, value in raw_items(values):
            kind = type(value)
            if kind not in _LEAVES:
                value = _within(cls, value, f"{prefix}{key}", source)
            dict.__setitem__(made, key, value)
        return made

    # Reading: what is lazy is imported.

    def __getitem__(self, key: Any) -> Any:
        value = super().__getitem__(key)
        return value if type(value) in _LEAVES else self._built(key, value)

    def __missing__(self, key: Any) -> NoReturn:
        raise ConfigKeyError(self._explain(key))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name not in self:
            raise AttributeError(self._explain(name))
        return self[name]

    def __iter__(self) -> Iterator[Any]:
        # As the class has an iterator of its own, ``**cfg`` and ``dict(cfg)`` ask __getitem__, too.
        return super().__iter__()

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key, or the default."""
        value = super().get(key, default)
        return value if type(value) in _LEAVES or key not in self else self._built(key, value)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """Return the values."""
        return ValuesView(self)

    def items(self) -> ItemsView[Any, Any]:  # type: ignore[override]
        """Return the keys and values."""
        return ItemsView(self)

    def _built(self, key: Any, value: Any) -> Any:
        if isinstance(value, LazyObject):
            return imported(value)
        if isinstance(value, (list, tuple)):
            built = _with_lazy_items_built(value)
            if built is not value:
                dict.__setitem__(self, key, built)
            return built
        return value

    # Writing: dicts become ConfigDicts.

    def __setitem__(self, key: Any, value: Any) -> None:
        prefix = f"{self._path}." if self._path else ""
        super().__setitem__(key, _owned(type(self), value, f"{prefix}{key}", self._source))

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            raise AttributeError(f"{name!r} is a method of a ConfigDict: write cfg[{name!r}] = ... for the key.")
        self[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self:
            raise AttributeError(self._explain(name))
        del self[name]

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key, which gets the default where it is not there."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Take a key out, and return its value, or the default."""
        if key not in self and default is not _MISSING:
            return default
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[Any, Any]:
        """Take the last key out, and return it with its value."""
        key = next(reversed(self), None)
        if not self:
            raise KeyError("popitem of an empty ConfigDict")
        return key, self.pop(key)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take the values of another dict; where both have a dict, that is updated in its turn.

        >>> cfg = ConfigDict(optimizer=dict(type="SGD", lr=0.1))
        >>> cfg.update(optimizer=dict(lr=0.01))
        >>> cfg
        {'optimizer': {'type': 'SGD', 'lr': 0.01}}
        """
        given = args[0] if len(args) == 1 and isinstance(args[0], Mapping) else dict(*args)
        for key, value in (*raw_items(given), *kwargs.items()):
            mine = super().get(key)
            if isinstance(mine, ConfigDict) and isinstance(value, Mapping):
                mine.update(value)
            else:
                self[key] = value

    def merge(self, other: Mapping[Any, Any]) -> None:
        """Take over another dict as a configuration does from its child; see :meth:`Config.merge_from_dict`."""
        result = merged(self, other, self._path)
        self.clear()
        for key, value in raw_items(result):
            self[key] = value

    def __or__(self, other: Any) -> Self:
        if not isinstance(other, Mapping):
            return NotImplemented
        result = self.within(self, self._path, self._source)
        result.update(other)
        return result

    def __ror__(self, other: Any) -> Self:
        if not isinstance(other, Mapping):
            return NotImplemented
        result = type(self)(other)
        result.update(self)
        return result

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    # Copies.

    def to_dict(self) -> dict[Any, Any]:
        """Return a plain dict of plain dicts; what is lazy stands there by its dotted name."""
        result: dict[Any, Any] = as_plain(self)
        return result

    def copy(self) -> Self:
        """Return a shallow copy."""
        return self.__copy__()

    def __copy__(self) -> Self:
        made = type(self)()
        made.__setstate__((self._path, self._source, dict(raw_items(self))))
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        from copy import deepcopy

        made = memo[id(self)] = type(self)()
        made.__setstate__((self._path, self._source, {key: deepcopy(value, memo) for key, value in raw_items(self)}))
        return made

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return type(self), (), (self._path, self._source, dict(raw_items(self)))

    def __setstate__(self, state: tuple[str, str, dict[Any, Any]]) -> None:
        path, source, values = state
        object.__setattr__(self, "_path", path)
        object.__setattr__(self, "_source", source)
        for key, value in values.items():
            dict.__setitem__(self, key, value)

    def _explain(self, key: Any) -> str:
        whole = f"{self._path}.{key}" if self._path else f"{key}"
        owner = f"The configuration{f' {self._source}' if self._source else ''}"
        names = [str(name) for name in self]
        near = nearest(str(key), names)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        shown = f"{', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
        return f"{owner} has no {whole}.{meant}" + (f" There are: {shown}." if names else " It is empty.")


def as_plain(value: Any, name_all: bool = False) -> Any:
    """Return a value with plain dicts instead of ConfigDicts, and the dotted names of what is lazy.

    Args:
        value: The value.
        name_all: Give the names of classes and functions that are imported, too.
    """
    if isinstance(value, LazyObject):
        return repr(value)
    if isinstance(value, Mapping):
        return {key: as_plain(item, name_all) for key, item in raw_items(value)}
    if type(value) is list or type(value) is tuple:
        return type(value)(as_plain(item, name_all) for item in value)
    return (dotted_name(value) or value) if name_all else value


_LEAVES = frozenset({str, int, float, bool, type(None)})


def _owned(cls: type[ConfigDict], value: Any, path: str, source: str) -> Any:
    """Return a value as it is kept: a ConfigDict is the same object, other dicts and the lists are copied."""
    return value if isinstance(value, ConfigDict) else _within(cls, value, path, source)


def _within(cls: type[ConfigDict], value: Any, path: str, source: str) -> Any:
    if isinstance(value, dict):
        return cls.within(value, path, source)
    if type(value) is list or type(value) is tuple:
        # One item for a time: f"{path}.{index}" is the path that overrides have for it.
        return type(value)(
            item if type(item) in _LEAVES else _within(cls, item, f"{path}.{index}", source)
            for index, item in enumerate(value)
        )
    return value


def _with_lazy_items_built(value: Any) -> Any:
    """Return a list or tuple with its lazy objects imported: the same list, or another tuple where it had some."""
    if type(value) is list:
        for index, item in enumerate(value):
            kind = type(item)
            if kind is LazyObject:
                value[index] = imported(item)
            elif kind is list or kind is tuple:
                value[index] = _with_lazy_items_built(item)
        return value
    if type(value) is tuple:
        built = tuple(imported(item) if type(item) is LazyObject else _with_lazy_items_built(item) for item in value)
        return value if all(new is old for new, old in zip(built, value, strict=True)) else built
    return value
