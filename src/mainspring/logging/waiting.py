"""Scalars that wait on their devices until somebody wants to read them."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .logger import print_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["Arrived", "Number", "Waiting", "fetch"]

Number = int | float
_Kind = tuple[torch.device, torch.dtype]
_NUMBER = {float}
_kind_of: Callable[[Tensor], _Kind] = attrgetter("device", "dtype")
_version_of: Callable[[Tensor], int] = attrgetter("_version")


@dataclass(slots=True)
class _Run:
    """Successive entries that wait: numbers (``kind`` None), or tensors of one device and dtype."""

    kind: _Kind | None
    values: list[Any]  # as many tensors as there are counts, or one tensor of as many elements
    counts: list[Number]


@dataclass(slots=True)
class Arrived:
    """What waited, on the host: the entries, and what is known of those that were dropped before them."""

    values: list[float] = field(default_factory=list)
    counts: list[Number] = field(default_factory=list)
    dropped_sum: float = 0.0
    dropped_count: Number = 0
    dropped_updates: int = 0


class Waiting:
    """The entries of one scalar that nobody has read yet, at most about ``max_length`` of them.

    Args:
        max_length: Of older entries only the sums are known.
        name: What the scalar is called in messages.
    """

    def __init__(self, max_length: int, name: str) -> None:
        self.pending: list[Any] = []
        """Values that wait one by one; whoever adds one whose count is not 1 calls :meth:`count_next` before."""
        self._pending_counts: list[Number] = []  # of the first of these; those of the others are 1
        self._max_length = max_length
        self._name = name
        self._runs: deque[_Run] = deque()
        self._length = 0  # of the runs
        self._dropped = Arrived()
        self._dropped_tensors: dict[_Kind, Tensor] = {}
        self._told_of_change = False

    def __len__(self) -> int:
        return len(self.pending) + self._length + self._dropped.dropped_updates

    def count_next(self, count: Number) -> None:
        """Say what the count of the value is that is added to :attr:`pending` next."""
        self._pending_counts += [1] * (len(self.pending) - len(self._pending_counts))
        self._pending_counts.append(count)

    def clear(self) -> None:
        """Forget everything."""
        self.pending.clear()
        self._pending_counts.clear()
        self._runs.clear()
        self._length = 0
        self._dropped = Arrived()
        self._dropped_tensors = {}

    def take_pending(self) -> tuple[list[Any], list[Number]]:
        """Return the values that wait one by one, with their counts, and forget them."""
        values, counts = self.pending.copy(), self._pending_counts
        self._pending_counts = []
        self.pending.clear()
        return values, counts + [1] * (len(values) - len(counts))

    def has_numbers_only(self) -> bool:
        """Whether what waits lies on the host, as numbers."""
        return not self._runs and not self._dropped.dropped_updates and _NUMBER.issuperset(map(type, self.pending))

    def fold(self) -> None:
        """Join what waits one by one into few tensors, without reading it, and drop what is too old."""
        before = len(self._runs)
        self._sort_pending()
        for run in islice(self._runs, before, None):
            if run.kind is not None:
                run.values = [_join(run.values)]
        while self._length - len(self._runs[0].counts) >= self._max_length:
            self._drop(self._runs.popleft())

    def offer(self, tensors: dict[_Kind, list[Tensor]]) -> None:
        """Add the tensors that wait to those that are to be brought to the host."""
        self._sort_pending()
        for kind, total in self._dropped_tensors.items():
            tensors.setdefault(kind, []).append(total)
        for run in self._runs:
            if run.kind is not None:
                tensors.setdefault(run.kind, []).extend(run.values)

    def take(self, elements: dict[_Kind, Iterator[Any]]) -> Arrived:
        """Return everything, taking as many elements as :meth:`offer` gave, and forget it."""
        arrived = self._dropped
        for kind in self._dropped_tensors:
            arrived.dropped_sum += next(elements[kind])
        for run in self._runs:
            values = run.values if run.kind is None else islice(elements[run.kind], len(run.counts))
            arrived.values.extend(map(float, values))  # of tensors they may be integers
            arrived.counts.extend(run.counts)
        self.clear()
        return arrived

    def _sort_pending(self) -> None:
        """Make runs of what waits one by one."""
        if not self.pending:
            return
        values, counts = self.take_pending()
        first = 0
        for kind, length in _runs_of_kinds(values):
            run = _Run(kind, values[first : first + length], counts[first : first + length])
            first += length
            if kind is not None:
                self._look_for_changes(run.values)
            self._runs.append(run)
        self._length += len(counts)

    def _drop(self, run: _Run) -> None:
        self._length -= len(run.counts)
        self._dropped.dropped_updates += len(run.counts)
        self._dropped.dropped_count += sum(run.counts)
        if run.kind is None:
            self._dropped.dropped_sum += sum(run.values)
            return
        device = run.kind[0]
        kind = (device, torch.float32 if device.type == "mps" else torch.float64)  # MPS has no float64
        total = _join(run.values).sum(dtype=kind[1])
        so_far = self._dropped_tensors.get(kind)
        self._dropped_tensors[kind] = total if so_far is None else so_far + total

    def _look_for_changes(self, tensors: Iterable[Tensor]) -> None:
        if self._told_of_change:
            return
        try:
            changed = max(map(_version_of, tensors)) > 0
        except RuntimeError:  # of one that was made in inference mode nobody counts what is written to it
            changed = any(not tensor.is_inference() and tensor._version for tensor in tensors)
        if not changed:
            return
        self._told_of_change = True
        print_log(
            f"A tensor was logged as {self._name} and then changed in place before its value was read: the"
            " log shows the later value. Log a copy instead: value.clone().",
            logger="current",
            level=logging.WARNING,
        )


def fetch(waiting: Sequence[Waiting]) -> list[Arrived]:
    """Bring all that waits to the host, with one transfer from each device."""
    tensors: dict[_Kind, list[Tensor]] = {}
    for one in waiting:
        one.offer(tensors)
    elements = _to_host(tensors)
    return [one.take(elements) for one in waiting]


def _to_host(tensors: dict[_Kind, list[Tensor]]) -> dict[_Kind, Iterator[Any]]:
    """Return the elements of the tensors, by device and dtype, in their order."""
    by_device: dict[torch.device, dict[_Kind, Tensor]] = {}
    for kind, parts in tensors.items():
        by_device.setdefault(kind[0], {})[kind] = _join(parts)
    elements: dict[_Kind, Iterator[Any]] = {}
    for joined in by_device.values():
        if len(joined) == 1:
            ((kind, values),) = joined.items()
            elements[kind] = iter(values.cpu().tolist())
            continue
        # As bytes, so that values of several dtypes travel together and stay what they are.
        packed = torch.cat([values.view(torch.uint8) for values in joined.values()]).cpu()
        pieces = torch.split(packed, [values.nbytes for values in joined.values()])
        for (kind, values), part in zip(joined.items(), pieces, strict=True):
            elements[kind] = iter(part.clone().view(values.dtype).tolist())
    return elements


def _join(tensors: list[Tensor]) -> Tensor:
    if max(map(Tensor.dim, tensors)) == 0:
        return torch.stack(tensors)
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _runs_of_kinds(values: list[Any]) -> list[tuple[_Kind | None, int]]:
    """Return the kinds of successive values, and of how many each; nearly always all are of one kind."""
    types = set(map(type, values))
    if types == _NUMBER:
        return [(None, len(values))]
    if types == {Tensor}:
        kinds = set(map(_kind_of, values))
        if len(kinds) == 1:
            return [(kinds.pop(), len(values))]
    runs = groupby(_kind_of(value) if isinstance(value, Tensor) else None for value in values)
    return [(kind, sum(1 for _ in run)) for kind, run in runs]
