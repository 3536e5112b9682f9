"""The modules that a configuration wants imported, because they register what it names."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ..utils import check_type, did_you_mean

__all__ = ["import_custom"]

_KEYS = ("imports", "allow_failed_imports")


def import_custom(given: Any) -> None:
    """Import what ``custom_imports`` names.

    Args:
        given: ``dict(imports=['package.module'], allow_failed_imports=False)``.

    Raises:
        ImportError: A module is not there, or fails, and that is not allowed.
        TypeError: It is no such dict.
        ValueError: It has another key.
    """
    path = "custom_imports"
    check_type(given, Mapping, path)
    for key in given:
        if key not in _KEYS:
            raise ValueError(
                f"{path}.{key}: there is no such option.{did_you_mean(str(key), _KEYS)} The options are:"
                f" {', '.join(_KEYS)}."
            )
    modules = given.get("imports") or []
    modules = [modules] if isinstance(modules, str) else modules
    check_type(modules, list | tuple, f"{path}.imports")
    allowed = given.get("allow_failed_imports", False)
    check_type(allowed, bool, f"{path}.allow_failed_imports")
    for index, module in enumerate(modules):
        check_type(module, str, f"{path}.imports[{index}]")
        try:
            import_module(module)
        except ImportError as error:
            message = _explain(module, f"{path}.imports[{index}]", error)
            if not allowed:
                raise ImportError(message) from error
            warnings.warn(f"{message} As allow_failed_imports says, that is passed over.", UserWarning, stacklevel=3)


def _explain(module: str, path: str, error: ImportError) -> str:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is None or not f"{module}.".startswith(f"{missing}."):
        return f"{path}: {module!r} is there, but fails while it is imported: {error}."
    near = did_you_mean(missing, [name for name in sys.modules if name.count(".") == missing.count(".")])
    places = ", ".join(repr(place or ".") for place in sys.path[:3])
    return (
        f"{path}: there is no module {missing!r}.{near} Python looked in {places} and its own directories. Install the"
        f" package that has it, or set PYTHONPATH to the directory in which {missing.partition('.')[0]!r} lies."
    )
