"""Data sets that read their annotations when they are first asked for something."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from torch.utils.data import get_worker_info

from ..logging import print_log

__all__ = ["force_full_init"]

Self = TypeVar("Self")
P = ParamSpec("P")
R = TypeVar("R")


def force_full_init(old_func: Callable[Concatenate[Self, P], R]) -> Callable[Concatenate[Self, P], R]:
    """Let a method call ``full_init()`` first, where its object is not initialised.

    It is where its attribute ``_fully_initialized`` is true, which ``full_init`` sets. In a loader's worker this is
    worth a warning, for then each worker reads the annotations itself.

    Args:
        old_func: A method of an object with ``full_init()``.

    Raises:
        AttributeError: The object has no ``full_init``.

    >>> class Pages:
    ...     def full_init(self):
    ...         self.texts, self._fully_initialized = ["one", "two"], True
    ...
    ...     @force_full_init
    ...     def __len__(self):
    ...         return len(self.texts)
    >>> len(Pages())
    2
    """

    @functools.wraps(old_func)
    def initialised_first(self: Self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if not getattr(self, "_fully_initialized", False):  # the class may be the user's own
            _initialise(self)
        return old_func(self, *args, **kwargs)

    return initialised_first


def _initialise(dataset: Any) -> None:
    name = type(dataset).__name__
    if not callable(getattr(dataset, "full_init", None)):
        raise AttributeError(f"{name} uses force_full_init, so it must have a method full_init(), but it has none.")
    if get_worker_info() is not None:
        print_log(
            f"{name} was not initialised when the workers of its loader began, so each of them reads the annotations"
            " itself. Call full_init() before.",
            logger="current",
            level=logging.WARNING,
        )
    dataset.full_init()
