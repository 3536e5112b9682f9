"""Questions about sequences, and small changes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any

__all__ = [
    "concat_list",
    "is_list_of",
    "is_seq_of",
    "is_str",
    "is_tuple_of",
    "iter_cast",
    "list_cast",
    "slice_list",
    "to_1tuple",
    "to_2tuple",
    "to_3tuple",
    "to_4tuple",
    "to_ntuple",
    "tuple_cast",
]

Types = type | tuple[type, ...]


def is_str(x: Any) -> bool:
    """Whether it is a string; bytes are none."""
    return isinstance(x, str)


def is_seq_of(seq: Any, expected_type: Types, seq_type: type | None = None) -> bool:
    """Whether it is a sequence of which every item is of a type; of an empty one that is true.

    Args:
        seq: Anything.
        expected_type: A type, or a tuple of types of which each item has one.
        seq_type: The type that the sequence must have; by default any sequence, a string among them.

    >>> is_seq_of([1, 2.5], (int, float)), is_seq_of((1, 2), int, seq_type=list), is_seq_of(3, int)
    (True, False, False)
    """
    if seq_type is not None and not isinstance(seq_type, type):
        raise TypeError(f"seq_type must be a type such as list, or None, but it is {seq_type!r}.")
    kind: Any = seq_type or Sequence
    return isinstance(seq, kind) and all(isinstance(item, expected_type) for item in seq)


def is_list_of(seq: Any, expected_type: Types) -> bool:
    """Whether it is a list of which every item is of a type, or of one of several."""
    return is_seq_of(seq, expected_type, seq_type=list)


def is_tuple_of(seq: Any, expected_type: Types) -> bool:
    """Whether it is a tuple of which every item is of a type, or of one of several."""
    return is_seq_of(seq, expected_type, seq_type=tuple)


def iter_cast(inputs: Iterable[Any], dst_type: type, return_type: Callable[[Iterable[Any]], Any] | None = None) -> Any:
    """Convert every item to a type.

    Args:
        inputs: The items.
        dst_type: The type.
        return_type: What to make of the converted items, such as ``list``; None for an iterator over them.

    Raises:
        TypeError: ``inputs`` cannot be iterated over, or ``dst_type`` is no type.

    >>> iter_cast(("1", "2"), int, list)
    [1, 2]
    """
    if not isinstance(inputs, Iterable):
        raise TypeError(f"inputs must be something to iterate over, such as a list, but it is {inputs!r}.")
    if not isinstance(dst_type, type):
        raise TypeError(f"dst_type must be a type, such as int, but it is {dst_type!r}.")
    converted = map(dst_type, inputs)
    return converted if return_type is None else return_type(converted)


def list_cast(inputs: Iterable[Any], dst_type: type) -> list[Any]:
    """Return a list of the items, converted to a type; see :func:`iter_cast`."""
    converted: list[Any] = iter_cast(inputs, dst_type, list)
    return converted


def tuple_cast(inputs: Iterable[Any], dst_type: type) -> tuple[Any, ...]:
    """Return a tuple of the items, converted to a type; see :func:`iter_cast`."""
    converted: tuple[Any, ...] = iter_cast(inputs, dst_type, tuple)
    return converted


def slice_list(in_list: Sequence[Any], lens: int | Sequence[int]) -> list[Any]:
    """Cut a list into pieces.

    Args:
        in_list: The list.
        lens: The length of each piece, which add up to that of the list; or one length for all, that divides it.

    Raises:
        TypeError: ``lens`` is neither an integer nor a list of integers.
        ValueError: The lengths do not add up to that of the list, or one is negative.

    >>> slice_list([1, 2, 3, 4], [1, 3]), slice_list([1, 2, 3, 4], 2)
    ([[1], [2, 3, 4]], [[1, 2], [3, 4]])
    """
    if isinstance(lens, int) and not isinstance(lens, bool):
        if lens < 1 or len(in_list) % lens:
            raise ValueError(f"lens is {lens}, but must divide the length of the list, which is {len(in_list)}.")
        lens = [lens] * (len(in_list) // lens)
    elif not isinstance(lens, (list, tuple)) or not is_seq_of(lens, int):
        raise TypeError(f"lens must be an integer or a list of integers, but it is {lens!r}.")
    if sum(lens) != len(in_list) or any(length < 0 for length in lens):
        raise ValueError(
            f"lens are the lengths of the pieces, which must add up to {len(in_list)}, the length of the list, but they"
            f" are {list(lens)}, which add up to {sum(lens)}."
        )
    pieces, start = [], 0
    for length in lens:
        pieces.append(in_list[start : start + length])
        start += length
    return pieces


def concat_list(in_list: Iterable[Iterable[Any]]) -> list[Any]:
    """Join lists into one.

    >>> concat_list([[1], [2, 3]])
    [1, 2, 3]
    """
    return list(chain.from_iterable(in_list))


def to_ntuple(n: int) -> Callable[[Any], Any]:
    """Return a function that makes a tuple of ``n`` times a value, and leaves what can be iterated over as it is.

    >>> to_ntuple(3)(7), to_2tuple((7, 8)), to_2tuple(7)
    ((7, 7, 7), (7, 8), (7, 7))
    """
    return partial(_repeated, n)


def _repeated(n: int, x: Any) -> Any:
    return x if isinstance(x, Iterable) else (x,) * n


to_1tuple = to_ntuple(1)
to_2tuple = to_ntuple(2)
to_3tuple = to_ntuple(3)
to_4tuple = to_ntuple(4)
