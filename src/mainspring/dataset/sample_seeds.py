"""A sample's seed travels with its index to the process that reads it.

A torch loader takes each batch of indices from its batch sampler, sends it to the process that reads, and there takes
one index after the other from it and hands it to the data set. :class:`SeededIndices` sets the generators just before
it gives an index away. So neither the data set nor the collate function need be wrapped, and the data set gets the very
indices of the sampler. Where a batch has one seed, as when the data set is asked for all of it at once, :class:`Sealed`
sets them on arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import get_worker_info

from ..utils import Stream, mix, step_seeder
from .owned import Reseed, owned_generators

__all__ = ["Origin", "Sealed", "SeededIndices"]

_CPU = torch.device("cpu")


class Origin:
    """From what the seeds of a pass follow.

    Args:
        seed: The seed of the stream.
        number: The number of the pass.
        owned: The generators that the data set keeps for itself, where it is read in this process. Otherwise they are
            looked for where it is read.
    """

    __slots__ = ("number", "owned", "seed")

    def __init__(self, seed: int, number: int, owned: Sequence[Reseed] | None = None) -> None:
        self.seed = seed
        self.number = number
        self.owned = owned

    def seeder(self) -> Callable[[int], None]:
        """Return ``seed_sample(position)``, which sets the generators of the process that calls it."""
        seed_global = step_seeder(Stream.SAMPLE, self.seed, self.number, _CPU)
        owned = _owned_in_worker() if self.owned is None else self.owned
        if not owned:
            return seed_global

        def seed_sample(position: int) -> None:
            seed_global(position)
            seed = mix(Stream.SAMPLE, self.seed, self.number, position)
            for place, reseed in enumerate(owned):
                reseed(mix(seed, place))

        return seed_sample


class SeededIndices:
    """The indices of a batch; as each is taken, the generators are set for its place in the stream.

    Args:
        indices: What a batch sampler gave.
        origin: See :class:`Origin`.
        position: The place of the first in the stream that all ranks share.
        step: From one place to the next, the number of ranks.
    """

    __slots__ = ("indices", "origin", "position", "step")

    def __init__(self, indices: Sequence[Any], origin: Origin, position: int, step: int) -> None:
        self.indices = indices
        self.origin = origin
        self.position = position
        self.step = step

    def __iter__(self) -> Iterator[Any]:
        seed_sample, position = self.origin.seeder(), self.position
        for index in self.indices:
            seed_sample(position)
            yield index
            position += self.step

    def __len__(self) -> int:
        """Return the number of indices."""
        return len(self.indices)


class Sealed:
    """Something that becomes what it was made from, and sets the generators, when it arrives in another process.

    Args:
        index: What the data set is asked for.
        origin: See :class:`Origin`.
        position: See :class:`SeededIndices`.
    """

    __slots__ = ("index", "origin", "position")

    def __init__(self, index: Any, origin: Origin, position: int) -> None:
        self.index = index
        self.origin = origin
        self.position = position

    def __reduce__(self) -> tuple[Any, ...]:
        return open_sealed, (self.index, self.origin, self.position)


def open_sealed(index: Any, origin: Origin, position: int) -> Any:
    """Set the generators, and return the index."""
    origin.seeder()(position)
    return index


_found: tuple[Any, list[Reseed]] = (None, [])  # the data set of this worker, and its generators


def _owned_in_worker() -> list[Reseed]:
    global _found
    worker = get_worker_info()
    if worker is None:
        return []
    if _found[0] is not worker.dataset:
        _found = (worker.dataset, owned_generators(worker.dataset))
    return _found[1]
