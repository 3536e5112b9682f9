"""Options: a dict from a user becomes a frozen dataclass, or one error that names the key."""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from .names import did_you_mean

__all__ = ["check_type", "options_from"]

T = TypeVar("T")


def options_from(cls: type[T], given: Any, path: str) -> T:
    """Fill the dataclass ``cls`` from a mapping.

    Args:
        cls: A (frozen) dataclass. Its fields are the options, their annotations the accepted types; what it
            checks in ``__post_init__`` it raises as a ``ValueError`` that begins with the field's name.
        given: A mapping, an instance of ``cls``, or None for the defaults.
        path: Where the user wrote it, such as ``"train_cfg"``; begins every message.

    Raises:
        TypeError: ``given`` is no mapping, a value has the wrong type, or an option without default is missing.
        ValueError: A key is unknown (the nearest one is named), or a value is impossible.

    >>> import dataclasses
    >>> @dataclasses.dataclass(frozen=True)
    ... class Randomness:
    ...     seed: int | None = None
    ...     deterministic: bool = False
    >>> options_from(Randomness, {"seed": 3}, "randomness")
    Randomness(seed=3, deterministic=False)
    >>> options_from(Randomness, {"sed": 3}, "randomness")
    Traceback (most recent call last):
    ...
    ValueError: randomness.sed: there is no such option. Did you mean 'seed'? The options are: seed, deterministic.
    """
    if isinstance(given, cls):
        return given
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        raise TypeError(f"{path} must be a dict of options, but it is {given!r} ({type(given).__name__}).")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key, value in given.items():
        if key not in fields:
            raise ValueError(
                f"{path}.{key}: there is no such option.{did_you_mean(str(key), fields)}"
                f" The options are: {', '.join(fields)}."
            )
        check_type(value, hints[key], f"{path}.{key}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in given:
            raise TypeError(f"{path}.{name} is missing: {path} needs it.")
    try:
        return cls(**given)
    except ValueError as error:
        raise ValueError(f"{path}.{error}") from error


def check_type(value: Any, expected: Any, path: str) -> None:
    """Raise a ``TypeError`` that begins with ``path`` unless ``value`` fits the annotation ``expected``.

    An int is accepted where a float is expected; a bool is no number. Of a generic annotation only the outer
    type is looked at.
    """
    if not _fits(value, expected):
        raise TypeError(f"{path} must be {_describe(expected)}, but it is {value!r} ({type(value).__name__}).")


def _fits(value: Any, expected: Any) -> bool:
    if expected is Any:
        return True
    if expected is None or expected is type(None):
        return value is None
    origin = typing.get_origin(expected)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(expected))
    if origin is typing.Literal:
        return any(value == option and type(value) is type(option) for option in typing.get_args(expected))
    kind = origin or expected
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _describe(expected: Any) -> str:
    if expected is None or expected is type(None):
        return "None"
    origin = typing.get_origin(expected)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(option) for option in typing.get_args(expected))
    if origin is typing.Literal:
        return " or ".join(repr(option) for option in typing.get_args(expected))
    names = {
        int: "an integer",
        float: "a number",
        bool: "True or False",
        str: "a string",
        dict: "a dict",
        list: "a list",
        Mapping: "a dict",
        os.PathLike: "a path",
    }
    kind = origin or expected
    return names.get(kind, getattr(kind, "__name__", str(kind)))
