"""What is known about all samples of a data set: put together, and compared."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..fileio import list_from_file
from ..logging import print_log

__all__ = ["differing_keys", "metainfo_from"]

_LINES = ".txt"


def metainfo_from(own: Mapping[str, Any], given: Mapping[str, Any] | None, owner: str) -> dict[str, Any]:
    """Return a copy of a class's metainfo with the entries that the user gives.

    Args:
        own: The class's.
        given: The user's, which count more. A string that is the path of a file, or a URL that ends in ``.txt``,
            becomes the list of its lines.
        owner: The class, for messages.

    Raises:
        TypeError: The user's is no dict.
    """
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(
            f"metainfo of {owner} must be a dict, such as dict(classes=['cat', 'dog']), but it is {given!r}"
            f" ({type(given).__name__})."
        )
    together = dict(copy.deepcopy(own))
    for key, value in (given or {}).items():
        if not isinstance(value, str):
            together[key] = copy.deepcopy(value)
        elif os.path.isfile(value) or ("://" in value and value.endswith(_LINES)):
            together[key] = list_from_file(value)
        else:
            together[key] = value
            if value.endswith(_LINES):
                print_log(
                    f"metainfo[{key!r}] of {owner} is {value!r}, but there is no such file, so that it is taken for a"
                    " word.",
                    logger="current",
                    level=logging.WARNING,
                )
    return together


def differing_keys(one: Mapping[str, Any], other: Mapping[str, Any], ignore: Sequence[str] = ()) -> list[str]:
    """Return the keys under which two data sets know different things, or only one knows something.

    >>> differing_keys(dict(classes=["cat"], ids=np.arange(2)), dict(classes=["dog"], ids=np.arange(2), year=2012))
    ['classes', 'year']
    """
    keys = [key for key in {**one, **other} if key not in ignore]
    return [key for key in keys if key not in one or key not in other or not _is_equal(one[key], other[key])]


def _is_equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, (np.ndarray, torch.Tensor)) or isinstance(other, (np.ndarray, torch.Tensor)):
        return type(one) is type(other) and one.shape == other.shape and bool((one == other).all())
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and type(one) is type(other):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    return bool(one == other)
