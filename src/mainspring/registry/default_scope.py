"""The scope in which a name without prefix is looked up first."""

from __future__ import annotations

import itertools
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar

__all__ = ["DefaultScope", "canonical_scope", "init_default_scope"]

_logger = logging.getLogger(__name__)
_ALIASES = {"mmengine": "mainspring"}
_counter = itertools.count(1)


def canonical_scope(scope: str) -> str:
    """Return the scope that is meant: existing configs say ``mmengine`` for the root registries."""
    return _ALIASES.get(scope, scope)


class DefaultScope:
    """The project whose registries are asked first; ``mmdet``, say.

    The instance created last is the current one, in all threads. :meth:`overwrite_default_scope` sets another
    for the length of a block, in this thread (or asynchronous task) only.

    Args:
        name: Name of this instance.
        scope_name: Scope of the registries to ask.

    >>> with DefaultScope.overwrite_default_scope("mmdet"):
    ...     DefaultScope.get_current_instance().scope_name
    'mmdet'
    """

    _instances: ClassVar[dict[str, DefaultScope]] = {}
    _latest: ClassVar[DefaultScope | None] = None
    _override: ClassVar[ContextVar[DefaultScope | None]] = ContextVar("mainspring_default_scope", default=None)

    def __init__(self, name: str, scope_name: str) -> None:
        for argument, value in (("name", name), ("scope_name", scope_name)):
            if not isinstance(value, str) or not value:
                raise TypeError(f"{argument} of a DefaultScope must be a string with content, got {value!r}.")
        self._instance_name = name
        self._scope_name = scope_name

    @property
    def instance_name(self) -> str:
        """The name under which :meth:`get_instance` finds it."""
        return self._instance_name

    @property
    def scope_name(self) -> str:
        """The scope of the registries to ask."""
        return self._scope_name

    @classmethod
    def get_instance(cls, name: str, scope_name: str | None = None) -> DefaultScope:
        """Return the instance called ``name``; a new one, if there is none, becomes the current one.

        Inside :meth:`overwrite_default_scope` a new instance is current until the block ends.

        Raises:
            TypeError: There is none, and no ``scope_name`` to create it with.
        """
        instance = cls._instances.get(name)
        if instance is not None:
            if scope_name is not None and scope_name != instance.scope_name:
                warnings.warn(
                    f"The default scope {name!r} already exists with scope_name={instance.scope_name!r}; "
                    f"scope_name={scope_name!r} is ignored.",
                    stacklevel=2,
                )
            return instance
        if scope_name is None:
            raise TypeError(
                f"There is no default scope called {name!r} yet; say which scope it stands for: "
                f"DefaultScope.get_instance({name!r}, scope_name='mmdet')."
            )
        instance = DefaultScope(name, scope_name)
        DefaultScope._instances[name] = instance
        if cls._override.get() is None:
            DefaultScope._latest = instance
        else:
            cls._override.set(instance)
        return instance

    @classmethod
    def check_instance_created(cls, name: str) -> bool:
        """Say whether :meth:`get_instance` was called with this name before."""
        return name in cls._instances

    @classmethod
    def get_current_instance(cls) -> DefaultScope | None:
        """Return the current default scope, or None where none was ever set."""
        return cls._override.get() or cls._latest

    @classmethod
    @contextmanager
    def overwrite_default_scope(cls, scope_name: str | None) -> Iterator[None]:
        """Make ``scope_name`` the current default scope for a block; None leaves things as they are."""
        if scope_name is None:
            yield
            return
        token = cls._override.set(DefaultScope(f"overwrite-{next(_counter)}", scope_name))
        try:
            yield
        finally:
            cls._override.reset(token)


def init_default_scope(scope: str) -> None:
    """Make ``scope`` the current default scope."""
    current = DefaultScope.get_current_instance()
    if current is None or not DefaultScope.check_instance_created(scope):
        DefaultScope.get_instance(scope, scope_name=scope)
    elif current.scope_name != scope:
        _logger.warning("The default scope changes from %r back to %r.", current.scope_name, scope)
        DefaultScope.get_instance(f"{scope}-{next(_counter)}", scope_name=scope)
