"""Imports that wait until they are needed."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["require"]


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Args:
        module: Dotted name, as for ``import``.
        extra: The extra of mainspring that installs it.
        purpose: What needs it; begins the message, as in ``"A picture of the curves"``.

    Raises:
        ImportError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        root = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != root:
            raise  # the library is there, and something that it needs is not
        raise ImportError(
            f"{purpose} needs {root}, which is not installed. Install it with: pip install 'mainspring[{extra}]'"
        ) from error
