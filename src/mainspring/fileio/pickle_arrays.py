"""NumPy's arrays out of a pickle, without the code of NumPy's that trusts it.

A pickle hands ``numpy.dtype`` and ``numpy.ndarray`` their inner state. Altered by hand, that state makes an array that
reads and writes memory which is not its own. So stand-ins take the state, and arrays are made from it by functions
that check what they are given.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

__all__ = ["Array", "DType", "array_from_buffer", "number", "with_arrays"]


class DType:
    """Stands in for ``numpy.dtype``."""

    __slots__ = ("_code", "_state")

    def __init__(self, code: str | bytes, align: bool = False, copy: bool = False) -> None:
        self._code = _text(code)
        self._state: tuple[Any, ...] = (3, "|", None, None, None, -1, -1, 0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._state = state

    def real(self) -> np.dtype[Any]:
        """Return the data type, made from its description."""
        _, order, subarray, names, fields, size = self._state[:6]
        if subarray is not None:
            base, shape = subarray
            return np.dtype((base.real(), shape))
        if names is not None:
            described = [fields[name] for name in names]  # type, offset, and a title where there is one
            form: Any = {"names": list(names), "itemsize": size}
            form["formats"] = [dtype.real() for dtype, *_ in described]
            form["offsets"] = [offset for _, offset, *_ in described]
            form["titles"] = [title[0] if title else None for _, _, *title in described]
            return np.dtype(form)  # type: ignore[no-any-return]
        code = "O" if self._code.startswith("O") else self._code  # its size was written too once
        if code[:1] in ("M", "m"):  # dates and spans of time: the unit is in the state
            unit, count = self._state[8][1][:2]
            code += "" if _text(unit) == "generic" else f"[{count}{_text(unit)}]"
        return np.dtype(code).newbyteorder(_text(order))  # type: ignore[arg-type]


class Array:
    """Stands in for an array; :func:`with_arrays` puts the real one in its place."""

    __slots__ = ("value",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, *args: Any) -> None:
        self.value: np.ndarray[Any, Any] = np.empty(0, np.int8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, fortran_order, data = state[-4:]
        kind = dtype.real()
        if kind.char == "O":
            objects = np.empty(len(data), object)
            for index, item in enumerate(data):  # objects[:] = data would take lists apart
                objects[index] = item
            self.value = objects.reshape(shape)
        else:
            self.value = _from_bytes(data, kind, shape, "F" if fortran_order else "C")


def array_from_buffer(buffer: bytes | bytearray, dtype: DType, shape: tuple[int, ...], order: str) -> Any:
    """Return an array from its bytes, as pickles of protocol 5 have it."""
    return _from_bytes(buffer, dtype.real(), shape, order)


def number(dtype: DType, data: bytes | str) -> Any:
    """Return a NumPy number from its bytes."""
    return _from_bytes(data, dtype.real(), (), "C")[()]


def with_arrays(loaded: Any) -> Any:
    """Return what was read, with arrays in place of the stand-ins; containers stay the same objects."""
    waiting: list[Any] = []
    seen: dict[int, Any] = {}  # by identity; holding on to an object keeps its identity its own
    result = _resolve(loaded, waiting, seen)
    while waiting:
        container = waiting.pop()
        if isinstance(container, np.ndarray):
            container = container.reshape(-1)
        for key, value in container.items() if isinstance(container, dict) else enumerate(container):
            new = _resolve(value, waiting, seen)
            if new is not value:
                container[key] = new
    return result


def _resolve(value: Any, waiting: list[Any], seen: dict[int, Any]) -> Any:
    if isinstance(value, tuple):
        items = [_resolve(item, waiting, seen) for item in value]
        changed = any(new is not old for new, old in zip(items, value, strict=True))
        return tuple(items) if changed else value
    if isinstance(value, Array):
        value = value.value
        if not value.dtype.hasobject:
            return value
    if isinstance(value, (dict, list, deque, np.ndarray)) and id(value) not in seen:
        seen[id(value)] = value
        waiting.append(value)
    return value


def _from_bytes(data: bytes | bytearray | str, kind: np.dtype[Any], shape: tuple[int, ...], order: str) -> Any:
    data = data.encode("latin-1") if isinstance(data, str) else data  # as Python 2 wrote it
    if kind.hasobject or len(data) != kind.itemsize * math.prod(shape):
        raise ValueError(f"{len(data)} bytes are no array of shape {tuple(shape)} and data type {kind}")
    return np.ndarray(shape, kind, data, order=order).copy("K")  # type: ignore[arg-type]


def _text(word: str | bytes) -> str:
    return word.decode("ascii") if isinstance(word, bytes) else word
