"""What may stand in a checkpoint: tensors, and plain containers of plain values; and how other types get in and out."""

from __future__ import annotations

import os
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from .kept_as_dict import KeptAsDict
from .names import RegisteredName

__all__ = ["from_plain", "to_plain"]

_MOST_BITS = 2039  # a pickle says the length of a number in one byte, or in a way that torch does not read safely
_AS_THEY_ARE = frozenset({str, float, bool, complex, type(None), torch.dtype, torch.device})
_SCALARS = _AS_THEY_ARE | {int, bytes}
_DICTS = (dict, OrderedDict, Counter)  # besides lists, tuples and sets: what torch reads safely
_PATHS = (Path, type(Path()))

_KIND = "mainspring.type"
"""The key of a dict that stands for something else: its value says what for, and the other entries what of."""

_FACTORIES = {kind.__name__: kind for kind in (int, float, complex, bool, str, bytes, list, tuple, dict, set)}
_DTYPES = re.compile(r"[<>=|][biufcSUmM]\d+(\[[\w*/]+\])?")


def to_plain(value: Any, path: str = "checkpoint", exact: bool = True) -> Any:
    """Return ``value`` rebuilt from what ``torch.load(..., weights_only=True)`` reads back, and without code of others.

    These are tensors, numbers, strings, and dicts, ordered dicts, counters, lists, tuples and sets of them. A few more
    types become dicts that say what they stand for, and that :func:`from_plain` makes them of again: arrays and numbers
    of NumPy, ``deque``, ``defaultdict``, ``frozenset`` and paths. Parameters and other subclasses of tensors become
    tensors; tensors are neither copied nor moved. The state dict of a module stays an ``OrderedDict``, with the version
    numbers that modules leave in it.

    Args:
        value: Anything that is to be saved.
        path: Where it stands, for the message.
        exact: Refuse a type that cannot be brought back, such as a named tuple, a member of an enumeration, or a
            subclass of dict. Otherwise the nearest plain one takes its place, which is good enough for what is only
            looked at.

    Raises:
        TypeError: Something in it cannot be saved; the message says where it stands, and what to save instead.

    >>> from collections import deque
    >>> to_plain({"last": deque([1, 2], maxlen=3)})
    {'last': {'mainspring.type': 'deque', 'items': [1, 2], 'maxlen': 3}}
    >>> from_plain(_)
    {'last': deque([1, 2], maxlen=3)}
    """
    kind = type(value)
    if kind in _SCALARS:
        return _scalar(value, path)
    if isinstance(value, torch.Tensor):
        return _tensor(value, path)
    if kind is list or kind is tuple or kind is torch.Size:
        return kind(_plain_items(value, path, exact))
    if kind in _DICTS:
        return _mapping(value, path, exact)
    if isinstance(value, KeptAsDict):
        return _mapping(dict(value), path, exact)
    if kind is RegisteredName:
        return str(value)
    if kind is set:
        items = _plain_items(value, path, exact)
        return set(items) if _all_hashable(items) else {_KIND: "set", "items": items}
    encode = next((encode for kinds, encode in _ENCODERS if kind in kinds), None)
    if encode is not None:
        return encode(value, path, exact)
    if isinstance(value, np.generic):
        return _number(value, path)
    if exact or not isinstance(value, _NEAREST):
        raise TypeError(_refusal(value, path))
    return to_plain(_nearest(value), path, exact)


def from_plain(value: Any) -> Any:
    """Return what :func:`to_plain` was given, from what it has returned. Containers that stay as they are are kept.

    Nothing that the value names is called or imported, but for the types that :func:`to_plain` tells.

    Raises:
        ValueError: It stands for something that this version does not know.
        KeyError: What it stands for cannot be made of what is there; so may be TypeError.
    """
    return _rebuilt(value, {})


# To plain


def _plain_items(items: Iterable[Any], path: str, exact: bool) -> list[Any]:
    return [
        item if type(item) in _AS_THEY_ARE else to_plain(item, f"{path}[{index}]", exact)
        for index, item in enumerate(items)
    ]


def _scalar(value: Any, path: str) -> Any:
    if value == b"":  # which a pickle makes by calling a class that torch does not read
        return {_KIND: "bytes"}
    if type(value) is int and value.bit_length() > _MOST_BITS:
        raise TypeError(f"{path} is a number of {value.bit_length()} bits; at most {_MOST_BITS} can be read back.")
    return value


def _tensor(value: torch.Tensor, path: str) -> torch.Tensor:
    if value.is_nested:
        raise TypeError(
            f"{path} is a nested tensor, which cannot be saved: its sizes stand where they cannot be checked before it"
            " is read. Save its parts, tensor.unbind()."
        )
    # A subclass (a parameter, a user's) is unpickled by code; its plain tensor is not.
    return value.detach() if type(value) is torch.Tensor else value.detach().as_subclass(torch.Tensor)


def _mapping(value: Mapping[Any, Any], path: str, exact: bool) -> Any:
    kind: Any = type(value)
    name = value.get(_KIND)
    if name is not None and not (isinstance(name, str) and name in _KINDS):  # one that is plain already may come again
        raise TypeError(f"{path} has the key {_KIND!r}, which is kept for {', '.join(_KINDS)}. Take another key.")
    keys = [to_plain(key, f"{path}'s {key!r}", exact) for key in value]
    items = [to_plain(item, f"{path}[{key!r}]", exact) for key, item in value.items()]
    if not _all_hashable(keys):
        return {_KIND: kind.__name__, "items": [list(pair) for pair in zip(keys, items, strict=True)]}
    result = kind(dict(zip(keys, items, strict=True)))
    versions = getattr(value, "_metadata", None)
    if versions is not None:
        result._metadata = to_plain(versions, f"{path}._metadata", exact)
    return result


def _all_hashable(items: Iterable[Any]) -> bool:
    try:
        hash(tuple(items))
    except TypeError:
        return False
    return True


def _array(value: np.ndarray[Any, Any], path: str, exact: bool) -> Any:
    dtype = value.dtype.str
    if value.dtype.hasobject and value.dtype.names is None:
        items = _plain_items(value.ravel().tolist(), path, exact)
        return {_KIND: "numpy.ndarray", "dtype": "object", "shape": value.shape, "items": items}
    if not _DTYPES.fullmatch(dtype):
        if not exact:
            return to_plain(value.tolist(), path, exact)
        raise TypeError(
            f"{path} is a NumPy array of the type {value.dtype}, which cannot be saved. Save its fields, each an array."
        )
    order: Literal["C", "F"] = "F" if value.flags.fnc else "C"
    laid_out = np.require(value.T if order == "F" else value, requirements=["C", "W"])  # torch warns of others
    try:
        data = torch.from_numpy(laid_out)
    except (TypeError, ValueError):  # torch knows neither its type nor, perhaps, its byte order
        content = bytearray(laid_out.tobytes())
        data = torch.frombuffer(content, dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
    return {_KIND: "numpy.ndarray", "dtype": dtype, "shape": value.shape, "order": order, "data": data}


def _number(value: Any, path: str) -> Any:
    item = bytes(value) if isinstance(value, bytes) else value.item()
    if type(item) not in _SCALARS or value.dtype.kind not in "biufcSU":
        raise TypeError(_refusal(value, path))
    return {_KIND: "numpy.generic", "dtype": value.dtype.str, "value": to_plain(item, path)}


def _default_dict(value: defaultdict[Any, Any], path: str, exact: bool) -> Any:
    factory = value.default_factory
    name = None if factory is None else getattr(factory, "__name__", "")
    if factory is not None and _FACTORIES.get(name or "") is not factory:
        if not exact:
            return to_plain(dict(value), path, exact)
        raise TypeError(
            f"{path} is a defaultdict of {factory!r}, which cannot be saved; one of {', '.join(_FACTORIES)} can. Save"
            " dict(...) of it, and make the defaultdict of that where it is loaded."
        )
    return {_KIND: "defaultdict", "factory": name, "items": to_plain(dict(value), path, exact)}


_ENCODERS: tuple[tuple[tuple[type, ...], Callable[[Any, str, bool], Any]], ...] = (
    ((np.ndarray,), _array),
    ((defaultdict,), _default_dict),
    (
        (deque,),
        lambda value, path, exact: {
            _KIND: "deque",
            "items": _plain_items(value, path, exact),
            "maxlen": value.maxlen,
        },
    ),
    ((frozenset,), lambda value, path, exact: {_KIND: "frozenset", "items": _plain_items(value, path, exact)}),
    (_PATHS, lambda value, path, exact: {_KIND: "Path", "path": os.fspath(value)}),
)

# What is near enough for what is only looked at. A member of an enumeration, say, is unpickled by its class; the number
# or the text that it is, is not.
_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (bytes, bytes.__bytes__),
    (bool, bool),
    (int, int.__int__),
    (float, float.__float__),
    (complex, complex.__complex__),
    (Mapping, dict),
    (tuple, tuple),
    (list, list),
    (set, set),
    (frozenset, frozenset),
    (deque, deque),
    (np.ndarray, np.asarray),
    (os.PathLike, os.fspath),
)
_NEAREST = tuple(base for base, _ in _BASES)


def _nearest(value: Any) -> Any:
    return next(convert(value) for base, convert in _BASES if isinstance(value, base))


def _refusal(value: Any, path: str) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    name = type(value).__name__
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        cure = f"Save tuple(...) of it, and make it with {name}(*saved) where it is loaded."
    elif isinstance(value, Enum):
        cure = f"Save its value, and make it with {name}(saved) where it is loaded."
    elif isinstance(value, _NEAREST):
        base = next(base for base in _NEAREST if isinstance(value, base))
        plain = {Mapping: "dict", np.ndarray: "np.asarray", os.PathLike: "str"}.get(base, base.__name__)
        cure = f"Save {plain}(...) of it, and make the {name} of that where it is loaded."
    else:
        cure = "Save what is needed to rebuild the object, such as its state_dict() or arguments."
    return (
        f"{path} is a {kind}, which cannot be saved: a checkpoint holds only tensors, NumPy's arrays, numbers, strings,"
        " None, paths, and dicts, lists, tuples, sets and the like of these, so that reading one never runs code, and"
        f" brings back what was saved. {cure}"
    )


# From plain


def _rebuilt(value: Any, done: dict[int, Any]) -> Any:
    if not isinstance(value, (dict, list, tuple)):
        return value
    if id(value) in done:  # one object in several places stays one
        return done[id(value)]
    done[id(value)] = value
    if isinstance(value, tuple):
        items = [_rebuilt(item, done) for item in value]
        if any(new is not old for new, old in zip(items, value, strict=True)):
            done[id(value)] = tuple(items)
        return done[id(value)]
    if isinstance(value, list):
        value[:] = [_rebuilt(item, done) for item in value]
        return value
    for key, item in value.items():
        value[key] = _rebuilt(item, done)  # no key is new, so that this may go on
    kind = value.get(_KIND)
    if kind is not None:
        if kind not in _KINDS:
            raise ValueError(f"it holds a {kind!r}, which this version of mainspring does not know")
        done[id(value)] = _KINDS[kind](value)
    return done[id(value)]


def _array_from(plain: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    shape = tuple(plain["shape"])
    if plain["dtype"] == "object":
        objects = np.empty(len(plain["items"]), dtype=object)
        for index, item in enumerate(plain["items"]):  # which may be sequences themselves
            objects[index] = item
        return objects.reshape(shape)
    dtype = _checked_dtype(plain["dtype"])
    content = bytearray(plain["data"].cpu().numpy().tobytes())
    return np.ndarray(shape, dtype, content, order=plain["order"])


def _number_from(plain: Mapping[str, Any]) -> Any:
    return _checked_dtype(plain["dtype"]).type(plain["value"])


def _checked_dtype(name: str) -> np.dtype[Any]:
    if not _DTYPES.fullmatch(name):
        raise ValueError(f"it holds a NumPy array of the type {name!r}")
    return np.dtype(name)


def _default_dict_from(plain: Mapping[str, Any]) -> defaultdict[Any, Any]:
    name = plain["factory"]
    return defaultdict(None if name is None else _FACTORIES[name], plain["items"])


_KINDS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "numpy.ndarray": _array_from,
    "numpy.generic": _number_from,
    "deque": lambda plain: deque(plain["items"], plain["maxlen"]),
    "defaultdict": _default_dict_from,
    "set": lambda plain: set(plain["items"]),
    "frozenset": lambda plain: frozenset(plain["items"]),
    "dict": lambda plain: dict(plain["items"]),
    "OrderedDict": lambda plain: OrderedDict(plain["items"]),
    "Counter": lambda plain: Counter(dict(plain["items"])),
    "bytes": lambda plain: b"",
    "Path": lambda plain: Path(plain["path"]),
}
"""What a dict may stand for, and how that is made of it."""
