"""What processes tell each other beside their work: votes, and notes on a board."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
import torch.distributed as torch_dist

from .launch import group_timeout
from .processes import get_rank, get_world_size

__all__ = ["Ballot", "Board"]

_LONGEST = 1000


class Ballot:
    """Lets processes agree on the largest of their votes, about once a second, while none waits for another.

    All processes cast their votes at the same places of a program, such as once an iteration. Now and then, these are
    sent, and what came of it is read at the next such place; so all processes learn of it at the same one. How many
    places lie between follows from what the slowest process takes for one. All processes make it together.

    Args:
        size: How many numbers a vote has, none below 0.
        seconds: About how long it is from one exchange to the next, unless a place comes later.

    >>> ballot = Ballot(2)
    >>> ballot.cast(3, 0), ballot.cast(0, 5), ballot.settle(0, 1)
    (None, [3, 0], [0, 5])
    """

    def __init__(self, size: int, seconds: float = 1.0) -> None:
        several = get_world_size() > 1
        # A group of its own: nothing that others send gets between, and no device need take part.
        self._group = torch_dist.new_group(backend="gloo", timeout=group_timeout()) if several else None
        self._seconds = seconds
        self.slowest = 0.0
        """Seconds that the slowest process took from one place to the next, as far as that was exchanged."""
        self._sent = torch.zeros(size + 1, dtype=torch.float64)
        self._work: torch_dist.Work | None = None
        self.begin()

    def begin(self) -> None:
        """Begin anew, with nothing on the way."""
        self._is_sent = False
        self._left = self._places = 1
        self._since = time.monotonic()

    def cast(self, *vote: int) -> list[int] | None:
        """Cast a vote, and return what the last exchange came to; None where it is not time yet."""
        self._left -= 1
        if self._left > 0:
            return None
        came = self._read()
        now = time.monotonic()
        self._send(vote, (now - self._since) / self._places)
        self.slowest = self._seconds if came is None else max(came[-1], 1e-9)
        self._left = self._places = max(1, min(int(self._seconds / self.slowest), _LONGEST))
        self._since = now
        return None if came is None else [int(number) for number in came[:-1]]

    def settle(self, *vote: int) -> list[int]:
        """Cast a vote, wait for all, and return what it came to, with what was on the way."""
        before = self._read()
        self._send(vote, 0.0)
        came = self._read() or []
        self.begin()
        return [int(max(pair)) for pair in zip(came, before or came, strict=True)][:-1]

    def _send(self, vote: Sequence[int], seconds: float) -> None:
        self._sent.copy_(torch.tensor([*vote, seconds], dtype=torch.float64))
        self._is_sent = True
        if self._group is not None:
            self._work = torch_dist.all_reduce(self._sent, torch_dist.ReduceOp.MAX, self._group, async_op=True)

    def _read(self) -> list[float] | None:
        if not self._is_sent:
            return None
        if self._work is not None:
            self._work.wait()
            self._work = None
        self._is_sent = False
        numbers: list[float] = self._sent.tolist()
        return numbers


class Board:
    """Notes that processes leave for each other, without any of them waiting; not for use within one process.

    Args:
        name: Begins the names of its notes.
    """

    def __init__(self, name: str) -> None:
        self._store = torch_dist.distributed_c10d._get_default_store()
        self._name = name
        self.rank = get_rank()
        self.world_size = get_world_size()

    def leave(self, key: str, text: str = "1") -> None:
        """Leave a note."""
        self._store.set(f"{self._name}/{key}", text)

    def find(self, key: str) -> str | None:
        """Return a note, or None where nobody has left it."""
        if not self._store.check([f"{self._name}/{key}"]):
            return None
        return str(self._store.get(f"{self._name}/{key}").decode())

    def is_first(self, key: str) -> bool:
        """Whether this process is the first that asks."""
        return bool(self._store.add(f"{self._name}/{key}", 1) == 1)
