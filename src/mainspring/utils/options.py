"""Options: a dict from a user becomes a frozen dataclass, or one error that names the key."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from .names import did_you_mean

__all__ = ["check_annotated", "check_count", "check_type", "options_from"]

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
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{path}.{error}") from error


def check_type(value: Any, expected: Any, path: str) -> None:
    """Raise a ``TypeError`` that begins with ``path`` unless ``value`` fits the annotation ``expected``.

    An int is accepted where a float is expected; a bool is no number, and a string no sequence. Of a generic
    annotation only the outer type is looked at.

    >>> check_type("1e-4", float, "optimizer.lr")
    Traceback (most recent call last):
    ...
    TypeError: optimizer.lr must be a number, but it is '1e-4' (str). In YAML, 1e-4 is a string: write 1.0e-4.
    """
    if not _fits(value, expected):
        given = f"{value!r} ({type(value).__name__})"
        raise TypeError(f"{path} must be {_describe(expected)}, but it is {given}.{_cure(value, expected)}")


def check_count(value: Any, path: str, least: int = 1) -> None:
    """Raise an error that begins with ``path`` unless ``value`` is an integer, and large enough.

    Raises:
        TypeError: It is no integer.
        ValueError: It is below ``least``.

    >>> check_count(0, "LoggerHook: interval")
    Traceback (most recent call last):
    ...
    ValueError: LoggerHook: interval must be at least 1, but it is 0.
    """
    check_type(value, int, path)
    if value < least:
        raise ValueError(f"{path} must be at least {least}, but it is {value}.")


def check_annotated(target: Callable[..., Any], given: Mapping[str, Any], path: str) -> None:
    """Raise a ``TypeError`` unless each argument fits the annotation that the class or function has for it.

    For our own classes and functions, and others whose annotations say exactly what they take. A list may stand for a
    tuple; an annotation that cannot be read now is passed over.

    Args:
        target: The class or function.
        given: Arguments by name.
        path: Where the user wrote them; begins the message.

    >>> def repeat(text: str, times: int = 1) -> str: ...
    >>> check_annotated(repeat, dict(text="a", times="2"), "repeat")
    Traceback (most recent call last):
    ...
    TypeError: repeat.times must be an integer, but it is '2' (str). Write it without quotes.
    """
    expected = _annotations(target)
    for name, value in given.items():
        if name in expected and not (type(value) is list and _fits(tuple(value), expected[name])):
            check_type(value, expected[name], f"{path}.{name}")


@functools.lru_cache(maxsize=512)
def _annotations(target: Callable[..., Any]) -> dict[str, Any]:
    """Return what the annotations of the parameters mean, as far as that is known."""
    function: Any = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    if not inspect.isfunction(function):  # written in C
        return {}
    names = function.__globals__
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        annotation = parameter.annotation
        if annotation is inspect.Parameter.empty or parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        try:
            found[name] = eval(annotation, names) if isinstance(annotation, str) else annotation
            _fits(None, found[name])
        except (NameError, TypeError, AttributeError):  # imported for type checkers only, or no class
            found.pop(name, None)
    return found


def _cure(value: Any, expected: Any) -> str:
    if not isinstance(value, str):
        return ""
    if _fits(1.5, expected) or _fits(1, expected):
        try:
            number = float(value)
        except ValueError:
            return ""
        if _fits(1.5, expected) and "e" in value.lower() and "." not in value:
            return f" In YAML, {value} is a string: write {value.lower().replace('e', '.0e')}."
        return " Write it without quotes." if number == number else ""
    if _fits(True, expected) and value.lower() in ("true", "false", "yes", "no", "on", "off"):
        return " Write True or False, without quotes."
    return ""


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
    if kind in (Sequence, Collection, Iterable) and isinstance(value, (str, bytes)):
        return False
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
        Sequence: "a list",
        os.PathLike: "a path",
    }
    kind = origin or expected
    return names.get(kind, getattr(kind, "__name__", str(kind)))
