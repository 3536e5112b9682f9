"""Each of several processes takes its share of an order that knows of one process only."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from ..dist import get_dist_info
from ..logging import print_log
from .samplers import DefaultSampler, InfiniteSampler

__all__ = ["Share", "shared_over_ranks"]

_OF_ONE = (RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler)
"""torch's samplers, which give every process the whole order."""
_OF_MANY = (DefaultSampler, InfiniteSampler, DistributedSampler)


class Share(Sampler[Any]):
    """Every ``w``-th index of a sampler, from the ``r``-th on, for rank ``r`` of ``w``.

    All processes draw the same order, since the loader sets the generators from the seed before. The first indices are
    repeated at the end, so that all have the same number, as :class:`DefaultSampler` does.

    Args:
        sampler: One of torch's that gives each process all indices.

    >>> list(Share(SequentialSampler(range(3))))
    [0, 1, 2]
    """

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler
        self.rank, self.world_size = get_dist_info()

    def __iter__(self) -> Iterator[Any]:
        first: list[Any] = []
        place = -1
        for place, index in enumerate(self.sampler):
            if place < self.world_size:
                first.append(index)
            if place % self.world_size == self.rank:
                yield index
        missing = -(place + 1) % self.world_size
        if first and self.world_size - missing <= self.rank:
            yield first[(self.rank - self.world_size + missing) % len(first)]

    def __len__(self) -> int:
        """Return the number of indices of this rank."""
        return -(-len(self.sampler) // self.world_size)


def shared_over_ranks(loader: DataLoader[Any], name: str) -> DataLoader[Any]:
    """Let a loader that was built for one process give each of several its share of the data.

    That is so for the samplers of torch, which ``shuffle`` and ``sampler`` of a ``DataLoader`` make. Those for several
    processes, and ours, are left alone. Of any other nobody knows: a warning says so.

    Args:
        loader: Its sampler is replaced.
        name: What the user calls the loader, for the warning.
    """
    rank, world_size = get_dist_info()
    if world_size == 1:
        return loader
    if isinstance(loader.dataset, IterableDataset):
        _warn(rank, f"{name}: the data set {type(loader.dataset).__name__} is iterable", "the data set")
        return loader
    holder: Any = loader if loader.batch_sampler is None or loader.batch_size is not None else loader.batch_sampler
    sampler = getattr(holder, "sampler", None)
    if type(sampler) in _OF_ONE and (holder is loader or type(holder) is BatchSampler):
        share = Share(sampler)
        for owner in (loader, loader.batch_sampler):
            if getattr(owner, "sampler", None) is sampler:
                vars(owner)["sampler"] = share  # a DataLoader lets nobody set it
    elif not isinstance(sampler, (Share, *_OF_MANY)) and not any(
        hasattr(one, attribute) for one in (sampler, holder) for attribute in ("rank", "num_replicas", "world_size")
    ):
        kind = type(holder if sampler is None else sampler).__name__
        _warn(rank, f"{name}: its order is made by a {kind}, which need not know of several processes", "it")
    return loader


def _warn(rank: int, what: str, who: str) -> None:
    if rank == 0:
        print_log(
            f"{what}. Unless {who} itself gives each process other samples, all train on the same ones. A"
            " DefaultSampler, or torch's DistributedSampler, divides them.",
            "current",
            logging.WARNING,
        )
