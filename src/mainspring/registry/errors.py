"""What a registry says when something is wrong."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any

__all__ = ["RegistryError", "describe_source"]


class RegistryError(KeyError):
    """A name that a registry lacks, or already has.

    >>> str(RegistryError("there is no 'ResNet'"))
    "there is no 'ResNet'"
    """

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which escapes quotes and line ends.
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()


def describe_source(target: Any) -> str:
    """Return ``"file:line"`` of a class or function, or its module where there is no source file."""
    while isinstance(target, functools.partial):
        target = target.func
    target = inspect.unwrap(target)
    module = getattr(target, "__module__", None) or type(target).__module__
    try:
        file = inspect.getsourcefile(target)
        if file is not None:
            return f"{file}:{inspect.getsourcelines(target)[1]}"
    except (OSError, TypeError):  # built in, or typed into an interactive session
        pass
    file = getattr(sys.modules.get(module), "__file__", None)
    return file or f"module {module}"
