"""Functions, and arguments of functions, that are going away or have another name; and questions about methods."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

__all__ = ["deprecated_api_warning", "deprecated_function", "has_method", "is_method_overridden"]

P = ParamSpec("P")
T = TypeVar("T")


def deprecated_api_warning(
    name_dict: Mapping[str, str], cls_name: str | None = None
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Return a decorator, by which a function takes arguments by their earlier names too, with a warning.

    Args:
        name_dict: The earlier names, and for each the one that it has now.
        cls_name: The name of the class, for the warnings of a method.

    Raises:
        TypeError: By the function: an argument is given under both names.

    >>> @deprecated_api_warning({"weights": "weight"})
    ... def scale(value, weight=1):
    ...     return value * weight
    >>> import warnings
    >>> with warnings.catch_warnings(record=True, action="always") as caught:
    ...     scale(2, weights=3), str(caught[0].message)
    (6, '"weights" is deprecated in `scale`, please use "weight" instead')
    """

    def decorate(func: Callable[..., T]) -> Callable[..., T]:
        owner = func.__name__ if cls_name is None else f"{cls_name}.{func.__name__}"

        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> T:
            for earlier, name in name_dict.items():
                if earlier not in kwargs:
                    continue
                if name in kwargs:
                    raise TypeError(
                        f"{owner} was given {name!r}, and {earlier!r}, which is its earlier name: give {name!r} only."
                    )
                warnings.warn(
                    f'"{earlier}" is deprecated in `{owner}`, please use "{name}" instead',
                    DeprecationWarning,
                    stacklevel=2,
                )
                kwargs[name] = kwargs.pop(earlier)
            return func(*args, **kwargs)

        return wrapper

    return decorate


def deprecated_function(since: str, removed_in: str, instructions: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator, by which a function warns that it is going away, and its docstring says so.

    Args:
        since: The version since which it is.
        removed_in: The version in which it is gone.
        instructions: What to do instead, as in ``'use load'``.

    >>> @deprecated_function("0.2", "0.4", "use load")
    ... def read():
    ...     "Read."
    >>> print(read.__doc__)
    .. deprecated:: 0.2
        Deprecated and will be removed in version 0.4.
        Please use load.
    <BLANKLINE>
    Read.
    """

    def decorate(func: Callable[P, T]) -> Callable[P, T]:
        message = (
            f"'{func.__module__}.{func.__name__}' is deprecated in version {since} and will be removed in version"
            f" {removed_in}. Please {instructions}."
        )

        @functools.wraps(func)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return func(*args, **kwargs)

        wrapper.__doc__ = (
            f".. deprecated:: {since}\n    Deprecated and will be removed in version {removed_in}.\n"
            f"    Please {instructions}.\n\n{inspect.cleandoc(func.__doc__ or '')}"
        )
        return wrapper

    return decorate


def has_method(obj: object, method: str) -> bool:
    """Whether an object has something of that name that can be called."""
    return callable(getattr(obj, method, None))


def is_method_overridden(method: str, base_class: type, derived_class: type | Any) -> bool:
    """Whether a class has another method of that name than its base class.

    Args:
        method: The name.
        base_class: The base class, which has the method.
        derived_class: The class, or an instance of it.

    Raises:
        TypeError: ``base_class`` is no class.
        AttributeError: One of them has no such method.

    >>> is_method_overridden("keys", dict, dict), is_method_overridden("__repr__", object, dict)
    (False, True)
    """
    if not isinstance(base_class, type):
        raise TypeError(f"base_class must be a class, but it is {base_class!r}; pass type(...) of it.")
    derived = derived_class if isinstance(derived_class, type) else type(derived_class)
    overridden: bool = getattr(derived, method) is not getattr(base_class, method)
    return overridden
