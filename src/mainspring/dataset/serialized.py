"""A list of Python objects in one buffer of bytes.

Processes that are forked share memory as long as nobody writes to it. To look at a Python object is to write to it,
since its counter of references changes; so a list of a million of them is soon copied into every worker. A buffer of
bytes that is only read is not.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["item_of", "packed", "part_of"]

Buffer = np.ndarray[Any, np.dtype[np.uint8]]
Ends = np.ndarray[Any, np.dtype[np.int64]]


def packed(items: Sequence[Any]) -> tuple[Buffer, Ends]:
    """Return the pickles of all items in one read-only buffer, and where each of them ends in it.

    >>> buffer, ends = packed([dict(label=3), dict(label=5)])
    >>> item_of(buffer, ends, 1)
    {'label': 5}
    """
    stream = io.BytesIO()
    ends = np.empty(len(items), np.int64)
    for place, item in enumerate(items):
        try:
            stream.write(pickle.dumps(item, pickle.HIGHEST_PROTOCOL))
        except Exception as error:
            error.add_note(
                f"Item {place} of the data list cannot be pickled: give serialize_data=False, or leave out what cannot."
            )
            raise
        ends[place] = stream.tell()
    return np.frombuffer(stream.getvalue(), np.uint8), ends


def item_of(buffer: Buffer, ends: Ends, place: int) -> Any:
    """Return a new object of what stands at a place from 0 on; the buffer must be one that this program has packed."""
    begin = ends[place - 1] if place else 0
    return pickle.loads(buffer[begin : ends[place]].data)


def part_of(buffer: Buffer, ends: Ends, places: Sequence[int] | range) -> tuple[Buffer, Ends]:
    """Return what stands at some places from 0 on, in this order; the first so many share the memory of the buffer."""
    if isinstance(places, range) and places == range(len(places)):
        return buffer[: ends[len(places) - 1] if places else 0], ends[: len(places)]
    chosen = np.asarray(places, np.int64)
    sizes = np.diff(ends, prepend=0)[chosen]
    parts = [buffer[end - size : end] for end, size in zip(ends[chosen], sizes, strict=True)]
    return np.concatenate(parts) if parts else buffer[:0], np.cumsum(sizes)
