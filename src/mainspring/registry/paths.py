"""Objects by their dotted path."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["import_if_there", "import_path"]


def import_if_there(name: str) -> ModuleType | None:
    """Import a module; None where it, or a package above it, does not exist.

    Raises:
        ImportError: The module exists, and something that it imports does not.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        return None


def import_path(path: str) -> Callable[..., Any] | None:
    """Return the class or function at a dotted path, or None where there is none.

    >>> import_path("collections.abc.Mapping").__name__
    'Mapping'
    >>> import_path("collections.abc.Maping") is None
    True
    """
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return None
    for length in range(len(parts) - 1, 0, -1):
        found: Any = import_if_there(".".join(parts[:length]))
        if found is None:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found if callable(found) else None
    return None
