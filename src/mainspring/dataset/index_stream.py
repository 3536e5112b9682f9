"""The order of the data: batches of indices, from any position of any pass on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from ..dist import get_dist_info
from ..utils import Stream, mix, seed_generators
from .epochs import samplers_of, tell_epoch
from .owned import owned_generators
from .sample_seeds import Origin, Sealed, SeededIndices
from .samplers import DefaultSampler, FirstOnly, InfiniteSampler, begin_at
from .shares import Share

__all__ = ["IndexStream"]

# What draws once, at its beginning, and keeps nothing from one pass to the next.
_PLAIN = {
    BatchSampler, DistributedSampler, FirstOnly, RandomSampler, SequentialSampler, Share, SubsetRandomSampler,
    WeightedRandomSampler, list, range, tuple,
}  # fmt: skip


class IndexStream:
    """What a torch loader takes for its batch sampler, or for its sampler where it makes no batches.

    Each ``iter()`` is the pass that :meth:`seek` announced, and follows from the seed and the number of the pass. Our
    samplers begin anywhere at once. Others are drawn from up to the position, with the global generators and those of
    their own set before; no data is read. One that may keep something from pass to pass, since it is neither torch's
    nor has ``set_epoch``, is drawn from through the passes that this process has not seen, too.

    Args:
        loader: The loader whose order this is.
        seed: From which order and samples follow.
        sample_seeding: Whether each sample gets a seed.
        once_a_batch: Whether each batch gets one instead, that of its first sample.
    """

    def __init__(self, loader: DataLoader[Any], seed: int, sample_seeding: bool, once_a_batch: bool = False) -> None:
        self.loader = loader
        self.seed = seed
        self.sample_seeding = sample_seeding
        self.once_a_batch = once_a_batch
        self.number = 0
        self.done = 0
        self.announced = True
        """Whether the pass of this number is still to begin."""
        self.begun_at = 0
        """At which batch it was begun."""
        self.rank, self.world_size = get_dist_info()
        self._makes_batches = loader.batch_sampler is not None
        self._order: Any = loader.batch_sampler if self._makes_batches else loader.sampler
        samplers = samplers_of(loader)
        sizes = (sampler.batch_size for sampler in samplers if type(sampler) is BatchSampler)
        self._batch_size: int = next(sizes, 1)
        self.own_seeds = [generator.initial_seed() for generator in _torch_generators(samplers, loader.generator)]
        """What the generators that were given with the order had been seeded with."""
        others = [sampler for sampler in samplers if type(sampler) not in _PLAIN]
        self._draws_at_once = not others
        self._keeps_history = any(not hasattr(sampler, "set_epoch") for sampler in others)
        self._begun = 0  # passes that were begun in this process
        self._samplers = samplers
        self._epochs = self._epochs_of_samplers()
        self._ours = [sampler for sampler in samplers if isinstance(sampler, (DefaultSampler, InfiniteSampler))]

    def seek(self, number: int, done: int) -> None:
        """Let the next ``iter()`` be the pass of this number, without its first ``done`` batches."""
        self.number, self.done = number, done
        self.announced = True

    def sampler_seeds(self) -> list[int | None]:
        """Return the seeds of our samplers; None where it is the stream's."""
        return [None if sampler.seed == self.seed else sampler.seed for sampler in self._ours]

    def take_seeds(self, own_seeds: Sequence[int], sampler_seeds: Sequence[int | None]) -> None:
        """Go on with the seeds of an earlier process, which may have drawn them."""
        if len(own_seeds) == len(self.own_seeds):
            self.own_seeds = list(own_seeds)
        if len(sampler_seeds) == len(self._ours):
            for sampler, seed in zip(self._ours, sampler_seeds, strict=True):
                sampler.seed = sampler.seed if seed is None else seed

    def __len__(self) -> int:
        """Return the number of batches in a whole pass."""
        return len(self._order)

    def begin(self) -> None:
        """Prepare for the next ``iter()``, which is the next pass where none was announced."""
        if not self.announced:
            news = [now for before, now in zip(self._epochs, self._epochs_of_samplers(), strict=True) if now != before]
            self.seek(self.number + 1 if not news or news[0] is None else news[0], 0)
        self.begun_at = self.done
        self.announced = False
        self._prepare()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """For the length of the block, let ``iter()`` be the pass of this number from its beginning."""
        done, self.done = self.done, 0
        try:
            self._prepare()
            yield
        finally:
            self.done = done

    def _prepare(self) -> None:
        """Tell the samplers, and set what they and the workers begin with."""
        if self._keeps_history:
            for missed in range(self._begun, self.number):
                tell_epoch(self.loader, missed)
                deque(self._drawn(missed), maxlen=0)
        self._begun = max(self._begun, self.number + 1)
        tell_epoch(self.loader, self.number)
        self._epochs = self._epochs_of_samplers()
        self._seed_order(self.number)

    def _epochs_of_samplers(self) -> list[int | None]:
        """Return which epochs the samplers were told, by whomever, where they keep that as most do."""
        epochs = (getattr(sampler, "epoch", None) for sampler in self._samplers)
        return [epoch if isinstance(epoch, int) else None for epoch in epochs]

    def __iter__(self) -> Iterator[Any]:
        return self._pass(self.number, self.done)  # torch calls iter() twice where it has workers, and uses one

    def _pass(self, number: int, done: int) -> Iterator[Any]:
        batches, samples = self._from(number, done)
        yield from self._seeded(batches, number, samples) if self.sample_seeding else batches

    def _from(self, number: int, done: int) -> tuple[Iterator[Any], int]:
        """Return the batches of a pass but the first ``done``, and the number of samples in those."""
        there = begin_at(self._order, done)
        if there is not None:
            return there, done * self._batch_size
        batches = self._drawn(number)
        return batches, sum(self._size(batch) for batch in islice(batches, done))

    def _drawn(self, number: int) -> Iterator[Any]:
        """Draw from a sampler that may be anyone's, with the generators set by where it stands."""
        self._seed_order(number)
        batches = iter(self._order)
        for place in count():
            if place == 0 or not self._draws_at_once:
                seed_generators(mix(Stream.ORDER, self.seed, number, place))
            try:
                batch = next(batches)
            except StopIteration:
                return
            yield list(batch) if self._makes_batches and isinstance(batch, Iterator) else batch

    def _seed_order(self, number: int) -> None:
        key = mix(Stream.ORDER, self.seed, number)
        seed_generators(key)  # the loader itself draws one number, from which its workers start
        for place, reseed in enumerate(owned_generators([self._order], without=(self.loader.dataset,))):
            reseed(mix(key, place, *self.own_seeds))
        if self.loader.generator is not None:
            self.loader.generator.manual_seed(mix(key, *self.own_seeds))

    def _seeded(self, batches: Iterator[Any], number: int, samples: int) -> Iterator[Any]:
        """Give each batch the seeds of its samples, of which so many come before."""
        dataset: Any = self.loader.dataset
        here = self.loader.num_workers == 0
        origin = Origin(self.seed, number, owned_generators(dataset) if here else None)
        in_batches = self.once_a_batch or getattr(dataset, "__getitems__", None)
        seed_here = origin.seeder() if here else None
        for batch in batches:
            position = samples * self.world_size + self.rank
            samples += self._size(batch)
            if self._makes_batches and not in_batches:
                yield SeededIndices(batch, origin, position, self.world_size)
            elif seed_here is not None:
                seed_here(position)
                yield batch
            else:
                yield Sealed(batch, origin, position)

    def _size(self, batch: Any) -> int:
        return len(batch) if self._makes_batches else 1


def _torch_generators(samplers: list[Any], of_loader: torch.Generator | None) -> list[torch.Generator]:
    """Return the generators that were given with an order: of the loader and of its samplers, each once."""
    found = [of_loader, *(getattr(sampler, "generator", None) for sampler in samplers)]
    return list({id(one): one for one in found if isinstance(one, torch.Generator)}.values())
