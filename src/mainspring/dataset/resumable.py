"""A data loader that begins at any position, and reads there what it would have read."""

from __future__ import annotations

import inspect
import logging
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from ..logging import print_log
from .index_stream import IndexStream
from .worker_processes import Held, are_alive, end_workers, start_workers

__all__ = ["ResumableLoader", "resumable"]

_ORDER = ("self", "dataset", "batch_size", "shuffle", "sampler", "batch_sampler", "drop_last")
_SETTINGS = [name for name in inspect.signature(DataLoader).parameters if name not in _ORDER]


def _settings(loader: DataLoader[Any]) -> dict[str, Any]:
    """Return a loader's arguments but those that make its order, as far as this version of torch keeps them."""
    return {name: getattr(loader, name) for name in _SETTINGS if hasattr(loader, name)}


class _Reader(DataLoader[Any]):
    """The loader by which a :class:`ResumableLoader` reads."""

    def _get_iterator(self) -> Any:
        return start_workers(self, super()._get_iterator)

    def is_usable(self) -> bool:
        """Whether another pass can be read: with workers that persist, none of them has died."""
        return self.persistent_workers and are_alive(self._iterator)


class ResumableLoader(DataLoader[Any]):
    """A loader of map-style data whose batches are a function of the seed and of where in the stream they stand.

    Neither the number of workers, nor prefetching, nor what was read before changes a bit of a batch: the order of a
    pass follows from the seed and the pass's number, and before a sample is read, the generators of Python, NumPy and
    torch are set from the seed, the pass and the sample's place in it, in the process that reads it. Data sets with
    ``__getitems__`` are seeded once a batch, by its first sample, and so are all with ``once_a_batch``. What a data set
    gathers by itself, such as a cache that changes what it gives, stays its own affair.

    Data set, sampler and all settings are those of the loader that it is made from.

    Args:
        given: A loader of map-style data.
        seed: From which order and samples follow, the same on all ranks.
        sample_seeding: Whether each sample gets a seed. Otherwise the data set draws from generators that run on.
        once_a_batch: Whether all samples of a batch share a seed, that of the first. What they draw then depends on the
            size of batches, too, and the seeding costs as much for a batch as for a sample otherwise.

    >>> import random
    >>> class Dice:
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, index):
    ...         return random.randrange(1000)
    >>> loader = ResumableLoader(DataLoader(Dice(), batch_size=2, shuffle=True, collate_fn=list), seed=0)
    >>> loader.seek(3)
    >>> first, second = loader
    >>> loader.seek(3, done=1)
    >>> list(loader) == [second]
    True
    """

    def __init__(
        self, given: DataLoader[Any], seed: int, sample_seeding: bool = True, once_a_batch: bool = False
    ) -> None:
        settings = _settings(given)
        if given.batch_sampler is not None and given.batch_size is None:
            super().__init__(given.dataset, batch_sampler=given.batch_sampler, **settings)
        else:
            settings.update(batch_size=given.batch_size, sampler=given.sampler, drop_last=given.drop_last)
            super().__init__(given.dataset, **settings)
        self._given = given
        self._stream = IndexStream(self, seed, sample_seeding, once_a_batch)
        self._reader: _Reader | None = None
        self._begun: weakref.ref[Any] | None = None
        self.is_aside: Callable[[], bool] = lambda: False
        """Whether who calls ``iter()`` now only looks at the data, as a hook does, while somebody else goes through."""

    def seek(self, number: int, done: int = 0) -> None:
        """Let the next ``iter()`` be the pass of this number, without its first ``done`` batches.

        An ``iter()`` that nobody announced is the next pass where the one before is over or given up. Where that is
        still being read, it is the same pass from its beginning, and so is any that :attr:`is_aside`; these leave alone
        what is being read or was announced.
        """
        self._stream.seek(number, done)

    def set_epoch(self, epoch: int) -> None:
        """Let the next ``iter()`` be this pass, unless the loader stands in it already."""
        if epoch != self._stream.number or not (self._stream.announced or self.is_being_read):
            self._stream.seek(epoch, 0)

    @property
    def is_being_read(self) -> bool:
        """Whether somebody holds a pass that is begun and not over."""
        batches = None if self._begun is None else self._begun()
        if batches is None:
            return False
        try:
            return bool(batches._num_yielded < len(self) - self._stream.begun_at)
        except TypeError:  # a sampler that knows no length
            return True

    @property
    def _iterator(self) -> Any:
        """Where a torch loader keeps its iterator with workers that persist; users set it to None to be rid of them."""
        return None if self._reader is None else self._reader._iterator

    @_iterator.setter
    def _iterator(self, batches: Any) -> None:
        reader, self._reader = vars(self).get("_reader"), None
        if reader is not None:
            end_workers(reader._iterator)

    def __len__(self) -> int:
        """Return the number of batches in a whole pass."""
        return len(self._given)

    def __iter__(self) -> Any:
        stream = self._stream
        if self.is_aside() or (self.is_being_read and not stream.announced):
            with stream.aside():
                return iter(self._new_reader(persistent_workers=False))
        if self._reader is None or not self._reader.is_usable():
            self._reader = self._new_reader()
        stream.begin()
        batches: Any = iter(self._reader)
        if self.persistent_workers:  # the reader keeps that one, whoever has it
            batches = Held(batches)
        self._begun = weakref.ref(batches)
        return batches

    def _new_reader(self, **changes: Any) -> _Reader:
        settings = {**_settings(self), **changes}
        if self.batch_sampler is None:
            settings.update(sampler=self._stream, batch_size=None)
        else:
            settings.update(batch_sampler=self._stream)
        return _Reader(self.dataset, **settings)

    def __getattr__(self, name: str) -> Any:
        # A subclass of DataLoader may have attributes of its own.
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._given, name)

    def state_dict(self) -> dict[str, Any]:
        """Return what the order follows from beside seed and position: the seeds that were given with it."""
        return {"generators": list(self._stream.own_seeds), "samplers": self._stream.sampler_seeds()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the seeds that were given with the order, where it is made of as many parts."""
        self._stream.take_seeds(state_dict["generators"], state_dict["samplers"])


def resumable(
    loader: DataLoader[Any], seed: int, sample_seeding: bool = True, once_a_batch: bool = False
) -> DataLoader[Any]:
    """Return the loader as a :class:`ResumableLoader`, or itself where it cannot be one.

    That is so for iterable data, and for subclasses that iterate in a way of their own.
    """
    kind = type(loader)
    foreign = kind.__iter__ is not DataLoader.__iter__ or kind._get_iterator is not DataLoader._get_iterator
    if foreign or isinstance(loader.dataset, IterableDataset):
        return loader
    if loader.num_workers > 0 and not getattr(loader, "in_order", True):
        print_log(
            "in_order=False hands over batches as workers finish them: results depend on timing, and a run that goes"
            " on within a pass takes other batches for used than it has used. Leave in_order out for exact resume.",
            logger="current",
            level=logging.WARNING,
        )
    return ResumableLoader(loader, seed, sample_seeding, once_a_batch)
