"""Arguments of schedulers, checked: each error names the argument, its value, and what to write instead."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

__all__ = ["active_range", "number", "whole_number"]


def number(path: str, value: Any, low: float = -math.inf, high: float = math.inf, cure: str = "") -> float:
    """Return ``value`` as a float.

    Args:
        path: What the user calls it, such as ``"LinearLR.start_factor"``; begins the message.
        value: What was given.
        low: The least that is accepted.
        high: The most that is accepted.
        cure: What to write instead; ends the message.

    Raises:
        TypeError: It is no real number.
        ValueError: It is not finite, or outside of ``low`` to ``high``.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{path} must be a number, but it is {value!r} ({type(value).__name__}). {cure}".rstrip())
    converted = float(value)
    if not math.isfinite(converted) or not low <= converted <= high:
        raise ValueError(f"{path} must be {_bounds(low, high)}, but it is {value!r}. {cure}".rstrip())
    return converted


def whole_number(path: str, value: Any, low: int, cure: str = "") -> int:
    """Return ``value`` as an int; a float such as ``12.0`` is accepted, since configs compute with floats.

    Args:
        path: What the user calls it, such as ``"StepLR.step_size"``; begins the message.
        value: What was given.
        low: The least that is accepted.
        cure: What to write instead; ends the message.

    Raises:
        TypeError: It is no number.
        ValueError: It has a fraction, or is below ``low``.
    """
    converted = number(path, value, cure=cure)
    if not converted.is_integer():
        raise ValueError(f"{path} must be a whole number, but it is {value!r}. Round it, with int({value!r}).")
    if converted < low:
        raise ValueError(f"{path} must be at least {low}, but it is {value!r}. {cure}".rstrip())
    return int(value)


def active_range(owner: str, begin: Any, end: Any) -> tuple[int, int]:
    """Return the first step at which a scheduler acts, and the first after it at which it does not.

    Raises:
        TypeError: One of them is no number.
        ValueError: One of them is negative or has a fraction, or ``end`` does not lie after ``begin``.
    """
    first = whole_number(f"{owner}.begin", begin, low=0, cure="The first step is 0.")
    stop = whole_number(f"{owner}.end", end, low=0, cure="Leave it out for a schedule that lasts to the end.")
    if stop <= first:
        raise ValueError(
            f"{owner}.end must be larger than begin, but begin is {first} and end is {stop}."
            f" The scheduler acts at steps begin to end - 1; write end={first + 1} for one step."
        )
    return first, stop


def _bounds(low: float, high: float) -> str:
    if low == -math.inf:
        return "a finite number"
    if high == math.inf:
        return f"a finite number of at least {low:g}"
    return f"between {low:g} and {high:g}"
