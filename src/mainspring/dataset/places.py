"""Indices as users give them, and the places from 0 on that they mean."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np

__all__ = ["place_of_index", "places_of"]


def place_of_index(index: int, size: int, owner: str) -> int:
    """Return the place from 0 on that an index means; below 0 counts from the end.

    Raises:
        IndexError: It is out of range.
        TypeError: It is no whole number.
    """
    try:
        place = operator.index(index)
    except TypeError as error:
        raise TypeError(
            f"A sample of {owner} has a whole number as its index, but this is {index!r} ({type(index).__name__})."
        ) from error
    if not -size <= place < size:
        raise IndexError(f"There is no sample {place}: {owner} has {size} samples.")
    return place % size


def places_of(indices: int | Sequence[int], size: int, owner: str) -> Sequence[int]:
    """Return the places from 0 on of a part of the samples.

    Args:
        indices: The first so many (below 0: the last), at most all there are; or the indices themselves.
        size: How many samples there are.
        owner: The data set, for the errors.

    Raises:
        IndexError: One is out of range.
        TypeError: They are neither a whole number nor a list of them.

    >>> places_of(3, 10, "Pets"), places_of(-3, 10, "Pets"), places_of([0, -1], 10, "Pets")
    (range(0, 3), range(7, 10), [0, 9])
    """
    if isinstance(indices, (int, np.integer)) and not isinstance(indices, bool):
        return range(size)[:indices] if indices >= 0 else range(size)[indices:]
    if isinstance(indices, (str, bytes)) or not isinstance(indices, (Sequence, np.ndarray)):
        raise TypeError(
            f"indices of {owner} must be a number of samples or a list of indices, but they are {indices!r}"
            f" ({type(indices).__name__})."
        )
    return [place_of_index(index, size, owner) for index in indices]
