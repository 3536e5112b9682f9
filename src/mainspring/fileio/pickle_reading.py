"""Pickles of plain data, read without running what they name."""

from __future__ import annotations

import collections
import datetime
import decimal
import io
import pathlib
import pickle
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import torch

from .pickle_arrays import Array, DType, array_from_buffer, number, with_arrays

__all__ = ["load_plain_pickle"]


class _Call:
    """Something that a pickle may call with data, and nothing else.

    A Python function or class in its place could be altered: a pickle may set attributes of whatever it names.
    """

    __slots__ = ("_function", "_name")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self._name, self._function = name, function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __repr__(self) -> str:
        return self._name

    def __setstate__(self, state: Any) -> NoReturn:
        raise pickle.UnpicklingError(f"This pickle tries to alter {self._name}: do not trust it.")


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):  # as protocols 0 to 2 write bytes
        raise pickle.UnpicklingError(f"This pickle asks for the encoding {encoding!r}, which none needs.")
    return text.encode("latin-1")


def _storage(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True)


# What is written in C cannot be altered, and stands here by itself.
_BUILTINS = (bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, range, slice)
_TYPES = (
    *(collections.OrderedDict, collections.defaultdict, collections.deque, decimal.Decimal, torch.Size, torch.device),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone),
)
_NUMBERS = "bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128"
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
_RECONSTRUCT = "multiarray._reconstruct"

_KNOWN: dict[str, Any] = {
    **{f"{module}.{kind.__name__}": kind for kind in _BUILTINS for module in ("builtins", "__builtin__")},
    "__builtin__.xrange": range,  # this and the next two: Python 2's names
    "__builtin__.long": int,
    "__builtin__.unicode": str,
    **{f"{kind.__module__}.{kind.__name__}": kind for kind in _TYPES},
    **{f"numpy.{name}": getattr(np, name) for name in _NUMBERS.split() if hasattr(np, name)},
    **{f"torch.{name}": kind for name, kind in vars(torch).items() if isinstance(kind, torch.dtype)},
}
_KNOWN |= {
    name: _Call(name, function)
    for name, function in {
        "_codecs.encode": _encode,
        "collections.Counter": collections.Counter,
        **{f"{module}.{name}": getattr(pathlib, name) for module in ("pathlib", "pathlib._local") for name in _PATHS},
        "numpy.dtype": DType,
        "numpy.ndarray": Array,
        **{f"numpy.{core}.{_RECONSTRUCT}": Array for core in ("core", "_core")},
        **{f"numpy.{core}.multiarray.scalar": number for core in ("core", "_core")},
        **{f"numpy.{core}.numeric._frombuffer": array_from_buffer for core in ("core", "_core")},
        "torch.storage._load_from_bytes": _storage,
        "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
        "torch._utils._rebuild_parameter": torch._utils._rebuild_parameter,
    }.items()
}


class _Unpickler(pickle.Unpickler):
    has_arrays = False

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in _KNOWN:
            raise ValueError(
                f"The pickle names {full}, which is not plain data: to make one may run any code. If you trust whoever"
                " wrote the file, add trust=True."
            )
        self.has_arrays |= full.endswith(_RECONSTRUCT)
        return _KNOWN[full]


def load_plain_pickle(file: Any, **kwargs: Any) -> Any:
    """Read a pickle of plain data, and refuse any other before anything runs.

    Plain are Python's numbers, strings, bytes, containers, dates and paths, NumPy's arrays and numbers, torch's
    tensors. A file can still claim more memory than there is.

    Args:
        file: A file that is open for reading bytes.
        **kwargs: ``encoding`` and the like, as ``pickle.load`` takes them.

    Raises:
        ValueError: The pickle names something else.
        pickle.UnpicklingError: It is no pickle.
    """
    unpickler = _Unpickler(file, **kwargs)
    loaded = unpickler.load()
    return with_arrays(loaded) if unpickler.has_arrays else loaded
