"""What stands in for the objects that MMEngine leaves in a checkpoint, so that no code of theirs is run.

Beside tensors and plain values, MMEngine's files hold its histories, which name functions by ``getattr``, and arrays
and numbers of NumPy. The unpickler is given the classes below for these names: they keep data, and do nothing.
"""

from __future__ import annotations

import logging
import re
from typing import Any, Literal

import numpy as np

from ..logging import HistoryBuffer, print_log

__all__ = ["STAND_INS", "without_stand_ins"]


class _Dtype:
    """Stands in for a NumPy dtype."""

    def __init__(self, code: str, *flags: Any) -> None:
        self.code = code
        self.order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def array(self, data: bytes, shape: tuple[int, ...] = (), order: Literal["C", "F"] = "C") -> np.ndarray[Any, Any]:
        """Return the numbers, or texts, in ``data``."""
        if not re.fullmatch(r"[<>=|][biufcSU]\d+", self.order + self.code):
            raise ValueError(f"it holds a NumPy array of the type {self.code!r}")
        if not data:
            if 0 not in shape and self.code not in ("S0", "U0"):  # which may be as long as it likes, in a short pickle
                raise ValueError("it holds a NumPy array without its numbers")
            return np.zeros(shape if 0 in shape else (), self.code)
        return np.frombuffer(data, self.order + self.code).reshape(shape, order=order).astype(self.code)


class _Array:
    """Stands in for a NumPy array."""

    value: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran_order, data = state
        if isinstance(data, list):  # an array of objects, which are plain by themselves
            self.value = data
        else:
            self.value = dtype.array(data, shape, "F" if fortran_order else "C")


class _History:
    """Stands in for MMEngine's HistoryBuffer."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _array(*args: Any) -> _Array:
    return _Array()


def _number(dtype: _Dtype, data: bytes) -> Any:
    return dtype.array(data)[()]


def _nothing(*args: Any) -> None:
    """Stands in for ``getattr``, with which a history names its statistics."""


STAND_INS: list[Any] = [
    (_History, "mmengine.logging.history_buffer.HistoryBuffer"),
    (_nothing, "builtins.getattr"),
    (_nothing, "__builtin__.getattr"),
    (_Array, "numpy.ndarray"),
    (_Dtype, "numpy.dtype"),
    *((_array, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((_number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]
"""Pairs as ``torch.serialization.safe_globals`` takes them."""


def without_stand_ins(checkpoint: Any) -> Any:
    """Return what was read with real arrays in place of stand-ins, and histories as this package saves them.

    Containers stay the same objects. A history that makes no sense is left out, which the log says.
    """
    lost: list[str] = []
    result = _convert(checkpoint, "", lost, {})
    if lost:
        text = f"These histories cannot be read and are left out: {', '.join(lost)}."
        print_log(text, logger="current", level=logging.WARNING)
    return result


def _convert(value: Any, name: str, lost: list[str], done: dict[int, Any]) -> Any:
    if isinstance(value, _History):
        return _history(value, name, lost)
    if isinstance(value, _Array):
        value = value.value
    if not isinstance(value, (dict, list, tuple)):
        return value
    if id(value) in done:  # one object in several places stays one
        return done[id(value)]
    done[id(value)] = value
    if isinstance(value, tuple):
        items = [_convert(item, name, lost, done) for item in value]
        if any(new is not old for new, old in zip(items, value, strict=True)):
            done[id(value)] = tuple(items)
        return done[id(value)]
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        converted = _convert(item, str(key), lost, done)
        if isinstance(item, _History) and converted is None and isinstance(value, dict):
            del value[key]
        elif converted is not item:
            value[key] = converted
    return value


def _history(history: _History, name: str, lost: list[str]) -> dict[str, Any] | None:
    """Return the state of a history, as :class:`~mainspring.logging.HistoryBuffer` has it."""
    try:
        values, counts = (
            _convert(history.state[key], key, lost, {}).tolist() for key in ("_log_history", "_count_history")
        )
        return HistoryBuffer(values, counts).state_dict()
    except (KeyError, AttributeError, TypeError, ValueError):
        lost.append(name)
        return None
