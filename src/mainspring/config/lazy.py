"""Names of other libraries that are imported only when they are asked for, and the files that hold them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ..utils import did_you_mean

__all__ = ["LazyObject", "dotted_name", "imported", "raw_items", "read_base"]

_OURS = __name__.partition(".")[0]
_ALIASES = {"mmengine": _OURS}
"""Packages whose names are ours here: existing configurations import them."""


class LazyObject:
    """Stands for an object of a library that is not imported yet, in a lazy configuration.

    All its attributes are lazy objects, too, so that it has no methods of its own. It is equal to its dotted name, as a
    configuration that is written to a file has it.

    Args:
        module: The module, as it is imported.
        names: The attributes that lead from the module to the object.
        location: Where the import stands, for messages.

    >>> LazyObject("collections").OrderedDict
    collections.OrderedDict
    >>> imported(LazyObject("collections").OrderedDict)
    <class 'collections.OrderedDict'>
    """

    __slots__ = ("_location", "_module", "_names")

    def __init__(self, module: str, names: tuple[str, ...] = (), location: str = "") -> None:
        self._module = module
        self._names = names
        self._location = location

    def __getattr__(self, name: str) -> LazyObject:
        if name.startswith("__"):  # which copy and pickle look for
            raise AttributeError(f"a lazy object has no {name!r}")
        return LazyObject(self._module, (*self._names, name), self._location)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: a lazy configuration names what is called, and the run calls it."""
        raise TypeError(
            f"{self!r} is imported lazily (in {self._location}), and cannot be called in a configuration. Write"
            f" dict(type={repr(self).rpartition('.')[2]}, ...), or read the file with lazy_import=False, which imports"
            " everything at once."
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LazyObject):
            return repr(self) == repr(other)
        return other == repr(self) if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return ".".join((self._module, *self._names))

    def __reduce__(self) -> tuple[Any, ...]:
        return LazyObject, (self._module, self._names, self._location)


def imported(lazy: LazyObject) -> Any:
    """Import what a lazy object stands for, and return it.

    Raises:
        ImportError: The module is not there, or has no such attribute; the message says where the import stands.
    """
    try:
        return _imported(lazy._module, lazy._names)
    except ImportError as error:
        where = f", which {lazy._location} imports," if lazy._location else ""
        raise ImportError(f"{lazy!r}{where} cannot be had: {error}") from error


def _imported(module: str, names: tuple[str, ...]) -> Any:
    first, _, rest = module.partition(".")
    if first not in _ALIASES:
        return _attributes(module, names)
    ours = ".".join(filter(None, (_ALIASES[first], rest)))
    try:
        return _attributes(ours, names)
    except ImportError:
        # The files of that package are cut otherwise than ours; what the package above has is the same.
        package = ".".join(ours.split(".")[:2])
        if not names or package == ours:
            raise
        return _attributes(package, names)


def _attributes(module: str, names: tuple[str, ...]) -> Any:
    found = import_module(module)
    path = module
    for name in names:
        if not hasattr(found, name) and hasattr(found, "__path__"):
            try:
                import_module(f"{path}.{name}")  # a part of a package that it does not import by itself
            except ModuleNotFoundError as error:
                if error.name != f"{path}.{name}":
                    raise
        if not hasattr(found, name):
            raise ImportError(f"{path} has no {name!r}.{did_you_mean(name, dir(found))}")
        found = getattr(found, name)
        path = f"{path}.{name}"
    return found


def dotted_name(value: Any) -> str | None:
    """Return the name by which a class, function, module or lazy object is imported; None of anything else.

    Of the packages above a class the outermost that has it counts: ``'torch.nn.Linear'``, though the class is defined
    in ``torch.nn.modules.linear``.

    >>> import decimal
    >>> dotted_name(decimal.Decimal), dotted_name(len), dotted_name(3)
    ('decimal.Decimal', 'builtins.len', None)
    """
    if isinstance(value, LazyObject):
        return repr(value)
    if isinstance(value, type(sys)):
        return value.__name__
    name, home = getattr(value, "__qualname__", None), getattr(value, "__module__", None)
    if not callable(value) or not isinstance(name, str) or not isinstance(home, str):
        return None
    parts = home.split(".")
    if "." not in name:
        for length in range(1, len(parts)):
            package = ".".join(parts[:length])
            if getattr(sys.modules.get(package), name, None) is value:
                return f"{package}.{name}"
    return f"{home}.{name}"


@contextmanager
def read_base() -> Iterator[None]:
    """Mark the imports of a lazy configuration that are its base files: ``with read_base(): from .base import *``.

    Reading the configuration gives the block its meaning; by itself it does nothing.
    """
    yield


def raw_items(values: Mapping[Any, Any]) -> Any:
    """Return the items of a mapping, those of a ConfigDict without importing what is lazy."""
    return dict.items(values) if isinstance(values, dict) else values.items()
