"""How far the content of a checkpoint goes for who walks through it."""

from __future__ import annotations

from typing import Any

__all__ = ["check_extent"]

_DEEPEST = 100  # so that what is read can be walked with Python's calls in calls, of which 1000 are allowed
_FREE = 1_000_000
_TIMES = 16


def check_extent(content: Any, length: int) -> None:
    """Refuse what is nested too deeply, holds itself, or is far longer than its pickle when each part is written out.

    A list that holds one list twice, which holds one list twice, and so on forty times, is a pickle of 300 bytes, and
    keeps busy for ever whoever goes through its items.
    """
    limit = _FREE + _TIMES * length
    known: dict[int, tuple[int, int]] = {}
    """Of each container, by identity, how many items it has in full, and how deep they are."""
    above: set[int] = set()
    waiting = [(content, False)]
    while waiting:
        value, counted = waiting.pop()
        if not isinstance(value, (list, tuple)) or id(value) in known:
            continue
        if counted:
            above.discard(id(value))
            inner = [known.get(id(item), (1, 0)) if isinstance(item, (list, tuple)) else (1, 0) for item in value]
            size, depth = 1 + sum(size for size, _ in inner), 1 + max((depth for _, depth in inner), default=0)
            if size > limit:
                raise ValueError("it holds the same content again and again, too often to be gone through")
            if depth > _DEEPEST:
                raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
            known[id(value)] = size, depth
            continue
        if id(value) in above:
            raise ValueError("it has a container that holds itself")
        above.add(id(value))
        waiting.append((value, True))
        waiting += [(item, False) for item in value if isinstance(item, (list, tuple))]
