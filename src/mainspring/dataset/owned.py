"""Generators that objects keep for themselves: found once, and set like the global ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

__all__ = ["Reseed", "owned_generators"]

Reseed = Callable[[int], None]
"""Sets one generator from 64 bits."""

_DEPTH = 12  # a pipeline in a data set in wrappers of wrappers, and what its transforms are made of
_LONGEST = 256  # longer lists hold data, not transforms


def owned_generators(root: Any, *, without: tuple[Any, ...] = ()) -> list[Reseed]:
    """Return a function for each generator that an object, or what it is made of, keeps for itself.

    Looked for are ``set_random_seed(seed)`` methods (albumentations has them) and generators of Python, NumPy and
    torch, in the attributes of objects, in lists, tuples and dicts.

    Args:
        root: A data set or a sampler, usually.
        without: Objects that are not looked into.
    """
    return list(_search(root, {id(item) for item in without}, _DEPTH))


def _search(item: Any, seen: set[int], depth: int) -> Iterator[Reseed]:
    if id(item) in seen:
        return
    seen.add(id(item))
    reseed = _reseed(item)
    if reseed is not None:
        yield reseed
    elif depth > 0:
        for part in _parts(item):
            yield from _search(part, seen, depth - 1)


def _reseed(item: Any) -> Reseed | None:
    if isinstance(item, torch.Generator):
        return lambda seed: _drop(item.manual_seed(seed))
    if isinstance(item, np.random.Generator):
        bits: Any = item.bit_generator
        return lambda seed: setattr(bits, "state", type(bits)(seed).state)
    if isinstance(item, np.random.RandomState):
        return lambda seed: item.seed((seed ^ seed >> 32) & 0xFFFFFFFF)
    if isinstance(item, random.Random):
        return item.seed
    if callable(getattr(type(item), "set_random_seed", None)):
        # 32 bits, which every library takes that passes the number on to NumPy.
        return lambda seed: _drop(item.set_random_seed((seed ^ seed >> 32) & 0xFFFFFFFF))
    return None


def _drop(_: Any) -> None:
    """Return nothing."""


def _parts(item: Any) -> list[Any]:
    if isinstance(item, (torch.Tensor, np.ndarray, type, ModuleType, FunctionType)):
        return []
    if isinstance(item, dict):
        return list(item.values()) if len(item) <= _LONGEST else []
    if isinstance(item, (list, tuple)):
        return list(item) if len(item) <= _LONGEST else []
    return list(getattr(item, "__dict__", {}).values())
