"""Classes whose instances are found by name from everywhere."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Self

__all__ = ["ManagerMeta", "ManagerMixin"]


class ManagerMixin:
    """Gives a class named instances that any code of the process can ask for.

    Each subclass keeps instances of its own, takes ``name`` in its constructor and hands it on to this one.

    Args:
        name: The name of the instance, not empty.

    Raises:
        ValueError: ``name`` is no string, or empty.

    >>> class Counter(ManagerMixin):
    ...     def __init__(self, name, start=0):
    ...         super().__init__(name)
    ...         self.value = start
    >>> Counter.get_instance("steps", start=3).value
    3
    >>> Counter.get_instance("steps") is Counter.get_current_instance()
    True
    """

    _instance_dict: ClassVar[dict[str, Any]] = {}
    _instance_name = ""

    def __init__(self, name: str = "") -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"The name of a {type(self).__name__} must be a string that is not empty, got {name!r}.")
        self._instance_name = name

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._instance_dict = {}

    @classmethod
    def get_instance(cls, name: str, **kwargs: Any) -> Self:
        """Return the instance called ``name``; make it from ``kwargs`` where there is none yet."""
        if cls.check_instance_created(name):
            existing: Self = cls._instance_dict[name]
            return existing
        return cls.new_instance(name, **kwargs)

    @classmethod
    def new_instance(cls, name: str, **kwargs: Any) -> Self:
        """Make an instance called ``name``, in the place of one of that name; it is then the current one."""
        instance = cls(name=name, **kwargs)
        if instance.instance_name != name:
            raise TypeError(
                f"{cls.__name__}.__init__ must hand its name on: call super().__init__(name) in it."
                f" The instance that was to be called {name!r} is called {instance.instance_name!r}."
            )
        cls._instance_dict.pop(name, None)
        cls._instance_dict[name] = instance
        return instance

    @classmethod
    def get_current_instance(cls) -> Self:
        """Return the instance that was made last.

        Raises:
            RuntimeError: None has been made.
        """
        if not cls._instance_dict:
            raise RuntimeError(
                f"There is no {cls.__name__} yet: call {cls.__name__}.get_instance(name) before"
                f" {cls.__name__}.get_current_instance()."
            )
        current: Self = next(reversed(cls._instance_dict.values()))
        return current

    def make_current(self) -> None:
        """Make this the instance that :meth:`get_current_instance` returns."""
        instances = type(self)._instance_dict
        instances.pop(self.instance_name, None)
        instances[self.instance_name] = self

    @classmethod
    def check_instance_created(cls, name: str) -> bool:
        """Return whether there is an instance called ``name``."""
        return name in cls._instance_dict

    @property
    def instance_name(self) -> str:
        """The name of the instance."""
        return self._instance_name


class ManagerMeta(type):
    """A metaclass for classes with named instances: each keeps its own, and takes ``name`` in its constructor.

    :class:`ManagerMixin` does the same without one. This is for code that makes a metaclass of it, for a class that
    needs another one besides.

    Raises:
        TypeError: The constructor of a class does not take ``name``.
    """

    _instance_dict: dict[str, Any]

    def __init__(cls, *args: Any) -> None:
        cls._instance_dict = {}
        if "name" not in inspect.signature(cls).parameters:
            raise TypeError(
                f"{cls.__name__} has named instances, but its constructor does not take a name: write"
                " def __init__(self, name, ...) and hand it on with super().__init__(name)."
            )
        super().__init__(*args)
