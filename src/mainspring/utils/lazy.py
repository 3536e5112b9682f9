"""Names that a package hands on, and imports only when they are asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str, homes: Mapping[str, Sequence[str]] | None = None) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package or module (PEP 562), for names that are imported when asked for.

    A name that is in no table is looked up among those that only code written for MMEngine asks for. Where there is a
    replacement, an ``ImportError`` names it.

    Args:
        package: Its ``__name__``.
        homes: The modules that have the names, relative to the package (``'files'``, ``'..checkpoint'``), and which.

    >>> get = lazy_names("mainspring.utils", {"names": ["nearest"]})
    >>> get("nearest")("adm", ["Adam", "SGD"])
    ['Adam']
    """
    home_of = {name: home for home, names in (homes or {}).items() for name in names}

    def get(name: str) -> Any:
        if name in home_of:
            home = home_of[name]
            module = importlib.import_module(home if home.startswith(".") else f".{home}", package)
            value = getattr(module, name)
        elif name.startswith("_"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        else:
            # By its name: what stands here does not depend on it.
            value = importlib.import_module("mainspring.compat").look_up(package, name)
        setattr(sys.modules[package], name, value)
        return value

    return get
