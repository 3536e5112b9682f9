"""The order of the data: a function of the seed and the epoch, never of what was drawn before."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import BatchSampler, Sampler

from ..dist import get_dist_info, sync_random_seed
from ..registry import DATA_SAMPLERS
from ..utils import Stream, mix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sized

__all__ = ["DefaultSampler", "FirstOnly", "InfiniteSampler", "begin_at", "first_with"]

_AT_A_TIME = 4096  # indices that are made numbers together


@DATA_SAMPLERS.register_module()
class DefaultSampler(Sampler[int]):
    """One pass over a data set, divided among the ranks.

    Rank ``r`` of ``w`` takes every ``w``-th index from ``r``.

    Args:
        dataset: Anything with a length.
        shuffle: A new order for each epoch; otherwise 0, 1, 2, ...
        seed: Seed of the order, the same on all ranks; by default rank 0 draws one for all.
        round_up: Repeat the first indices at the end, so that all ranks have the same number. Otherwise some
            ranks may have one less.

    Raises:
        TypeError: ``dataset`` has no length.
        ValueError: ``dataset`` is empty.

    >>> sampler = DefaultSampler(range(5), seed=0)
    >>> first = list(sampler)
    >>> sorted(first), list(sampler) == first
    ([0, 1, 2, 3, 4], True)
    >>> sampler.set_epoch(1)
    >>> list(sampler) == first
    False
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = True) -> None:
        self._size = _size_of(dataset, type(self).__name__)
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = int(sync_random_seed() if seed is None else seed)
        self.epoch = 0
        self.round_up = round_up
        if round_up:
            self.num_samples = math.ceil(self._size / self.world_size)
            self.total_size = self.num_samples * self.world_size
        else:
            self.num_samples = len(range(self.rank, self._size, self.world_size))
            self.total_size = self._size

    def __iter__(self) -> Iterator[int]:
        return self.begin_at(0)

    def begin_at(self, position: int) -> Iterator[int]:
        """Return the indices of this rank but the first ``position``, in constant time."""
        first = self.rank + position * self.world_size
        order = _order(self._size, self.shuffle, self.seed, self.epoch)
        return _indices_at(range(first, self.total_size, self.world_size), self._size, order)

    def __len__(self) -> int:
        """Return the number of indices of this rank."""
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next pass belongs to: each has an order of its own."""
        self.epoch = int(epoch)


@DATA_SAMPLERS.register_module()
class InfiniteSampler(Sampler[int]):
    """Passes over a data set without end, divided among the ranks index by index.

    The ``k``-th pass has an order of its own, from the seed and ``k``. A new ``iter()`` begins at
    :attr:`start_index`.

    Args:
        dataset: Anything with a length.
        shuffle: A new order for each pass; otherwise 0, 1, 2, ...
        seed: Seed of the order, the same on all ranks; by default rank 0 draws one for all.

    Raises:
        TypeError: ``dataset`` has no length.
        ValueError: ``dataset`` is empty.

    >>> from itertools import islice
    >>> list(islice(InfiniteSampler(range(3), shuffle=False), 5))
    [0, 1, 2, 0, 1]
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        self.size = _size_of(dataset, type(self).__name__)
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = int(sync_random_seed() if seed is None else seed)
        self.start_index = 0
        """How many indices of this rank the next ``iter()`` leaves out; set by :meth:`seek`."""

    def __iter__(self) -> Iterator[int]:
        return self.begin_at(0)

    def begin_at(self, position: int) -> Iterator[int]:
        """Return the indices of this rank from :attr:`start_index` on but the first ``position``, in constant time."""
        place = self.rank + (self.start_index + position) * self.world_size  # in the stream that all ranks share
        while True:
            number, within = divmod(place, self.size)
            places = range(within, self.size, self.world_size)
            yield from _indices_at(places, self.size, _order(self.size, self.shuffle, self.seed, number))
            place += len(places) * self.world_size

    def __len__(self) -> int:
        """Return the size of the data set, since the sampler itself has no end."""
        return self.size

    def seek(self, position: int) -> None:
        """Let the next ``iter()`` begin where this rank has drawn ``position`` indices, in constant time."""
        if position < 0:
            raise ValueError(f"The position in the stream must be 0 or more, but it is {position}.")
        self.start_index = int(position)

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the stream has passes of its own and knows no epochs."""


class FirstOnly(Sampler[Any]):
    """The first ``count`` of what a sampler gives; the data set stays the user's own.

    Of a stream without end, each epoch takes the next ``count``.

    Args:
        sampler: A sampler of indices or of batches.
        count: How many of them make an epoch.
    """

    def __init__(self, sampler: Any, count: int) -> None:
        self.sampler = sampler
        self.count = count
        self.first = 0

    def __iter__(self) -> Iterator[Any]:
        there = begin_at(self.sampler, self.first)
        return islice(self.sampler if there is None else there, len(self))

    def __len__(self) -> int:
        """Return how many of them make an epoch; fewer where the sampler has fewer."""
        return min(len(self.sampler), self.count)

    def set_epoch(self, epoch: int) -> None:
        """Hand the epoch on to the first sampler inside that wants it."""
        inner = first_with("set_epoch", self.sampler)
        if isinstance(inner, InfiniteSampler):
            self.first = epoch * len(self)
        elif inner is not None:
            inner.set_epoch(epoch)


def begin_at(order: Any, position: int) -> Iterator[Any] | None:
    """Return what a sampler gives but the first ``position``, in constant time; None where only drawing leads there.

    Args:
        order: A sampler of indices or of batches, ours or anyone's.
        position: Counts what the sampler gives, indices or batches.
    """
    if type(order).__iter__ in (DefaultSampler.__iter__, InfiniteSampler.__iter__):
        return order.begin_at(position)  # type: ignore[no-any-return]
    if type(order) is FirstOnly:
        there = begin_at(order.sampler, order.first + position)
        return None if there is None else islice(there, max(len(order) - position, 0))
    if type(order) is BatchSampler:
        there = begin_at(order.sampler, position * order.batch_size)
        return None if there is None else iter(BatchSampler(there, order.batch_size, order.drop_last))
    return None


def first_with(attribute: str, sampler: Any) -> Any:
    """Return the sampler, or that inside it, that has the attribute (samplers may be anyone's), or None."""
    while sampler is not None and not hasattr(sampler, attribute):
        sampler = getattr(sampler, "sampler", None)
    return sampler


def _size_of(dataset: Any, sampler: str) -> int:
    try:
        size = len(dataset)
    except TypeError as error:
        raise TypeError(
            f"{sampler} draws indices, so the data set needs a length, but {type(dataset).__name__} has "
            "none. Give it a __len__, or make it an IterableDataset and leave out the sampler."
        ) from error
    if size == 0:
        raise ValueError(
            f"{sampler} got an empty data set: len({type(dataset).__name__}) is 0. "
            "Check the path of its files and what its filters leave over."
        )
    return size


def _order(size: int, shuffle: bool, seed: int, epoch: int) -> torch.Tensor | None:
    """Return all indices in their order, or None where that is 0, 1, 2, ..."""
    if not shuffle:
        return None
    generator = torch.Generator().manual_seed(mix(Stream.ORDER, seed, epoch))
    return torch.randperm(size, generator=generator)


def _indices_at(places: range, size: int, order: torch.Tensor | None) -> Iterator[int]:
    """Return the indices at some places of an order, which begins again after ``size``.

    Only a few at a time are Python's numbers, which take four times the memory of the tensor and as long to make.
    """
    for begin in range(0, len(places), _AT_A_TIME):
        some = places[begin : begin + _AT_A_TIME]
        within = torch.arange(some.start, some.stop, some.step) % size
        yield from (within if order is None else order[within]).tolist()
