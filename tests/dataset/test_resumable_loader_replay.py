"""Loaders that cannot begin anywhere: iterable data, and loaders that iterate in their own way."""

import random
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from mainspring.dataset import cannot_seek, load_loader_state, loader_state, pass_over, resumable


class Stream(IterableDataset):
    def __init__(self, size=10):
        self.size = size
        self.read = 0

    def __iter__(self):
        for number in range(self.size):
            self.read += 1
            yield number, random.random(), float(np.random.random()), torch.rand(()).item()


class Remembering(Stream):
    """Tells where it stands, and goes on from there."""

    place = 0

    def __iter__(self):
        while self.place < self.size:
            self.read += 1
            self.place += 1
            yield self.place - 1, random.random(), float(np.random.random()), torch.rand(()).item()
        self.place = 0

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state_dict):
        self.place = state_dict["place"]


class Backwards(DataLoader):
    def __iter__(self):
        return reversed(list(super().__iter__()))


class Standing(DataLoader):
    """Remembers what it has given, as torchdata's StatefulDataLoader does."""

    given = 0

    def __iter__(self):
        for batch in islice(super().__iter__(), self.given, None):
            self.given += 1
            yield batch
        self.given = 0

    def state_dict(self):
        return {"given": self.given}

    def load_state_dict(self, state_dict):
        self.given = state_dict["given"]


class Doubling(DataLoader):
    """Iterates in its own way without an ``__iter__`` of its own, as loaders of graphs do."""

    def _get_iterator(self):
        return ([2 * item for item in batch] for batch in super()._get_iterator())


def read(loader, *place, steps=True, **options):
    batches = []
    for batch in pass_over(loader, *place, seed=3, **options):
        batches.append(batch)
        if steps:
            random.seed(9), np.random.seed(9), torch.manual_seed(9)
    return batches


@pytest.mark.parametrize("kind", [Stream, Remembering])
@pytest.mark.parametrize("workers", [0, 1])
def test_iterable_data_is_read_again_up_to_the_place(kind, workers):
    def loader():
        return resumable(DataLoader(kind(), 2, num_workers=workers, collate_fn=list), 3)

    whole = read(loader(), 1)
    assert [sample[0] for batch in whole for sample in batch] == list(range(10))
    assert read(loader(), 1, 3) == whole[3:]
    assert read(loader(), 1, 3, steps=False) == whole[3:]
    assert read(loader(), 1, 9) == []


class Owning(Stream):
    """Draws from generators of its own, one of them when a pass begins."""

    def __init__(self, size=10):
        super().__init__(size)
        self.torch, self.numpy = torch.Generator(), np.random.default_rng()

    def __iter__(self):
        order = torch.randperm(self.size, generator=self.torch).tolist()
        return ((number, self.numpy.random()) for number in order)


@pytest.mark.parametrize("workers", [0, 1])
def test_generators_that_the_data_set_owns_follow_too(workers):
    def passes(*places):
        loader = DataLoader(Owning(), 3, num_workers=workers, collate_fn=list)
        return [list(pass_over(loader, number, done, seed=5)) for number, done in places]

    first, second = passes((0, 0), (1, 0))
    assert first != second
    assert passes((1, 2)) == [second[2:]]


def test_iterable_data_that_remembers_is_not_read_again():
    whole = read(DataLoader(Remembering(), 2, collate_fn=list), 1)
    stopped = DataLoader(Remembering(), 2, collate_fn=list)
    assert list(islice(pass_over(stopped, 1, seed=3), 3)) == whole[:3]
    resumed = DataLoader(Remembering(), 2, collate_fn=list)
    assert load_loader_state(resumed, loader_state(stopped))
    assert read(resumed, 1, 3, restored=True) == whole[3:]
    assert resumed.dataset.read == 4
    assert read(resumed, 1) == whole


def test_a_loader_that_remembers_begins_there_by_itself():
    def loader():
        return resumable(Standing(range(10), 2, collate_fn=list), 3)

    stopped, resumed = loader(), loader()
    assert type(stopped) is Standing
    running = pass_over(stopped, 0, seed=3)
    assert [next(running), next(running)] == [[0, 1], [2, 3]]
    assert load_loader_state(resumed, loader_state(stopped))
    assert read(resumed, 0, 2, restored=True) == [[4, 5], [6, 7], [8, 9]]


@pytest.mark.parametrize(
    ("kind", "rest"), [(Backwards, [[4, 5, 6, 7], [0, 1, 2, 3]]), (Doubling, [[8, 10, 12, 14], [16, 18]])]
)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_that_iterates_in_its_own_way_is_used_as_it_is(kind, rest, workers):
    loader = kind(range(10), 4, collate_fn=list, num_workers=workers)
    assert resumable(loader, 3) is loader
    assert read(loader, 0, 1) == rest


def test_who_cannot_begin_anywhere_is_told_why():
    assert cannot_seek(resumable(DataLoader(range(4)), 3)) is None
    assert cannot_seek(DataLoader(Remembering())) is None
    assert cannot_seek(Standing(range(4))) is None
    assert "Backwards iterates in a way of its own" in cannot_seek(Backwards(range(4)))
    assert "Stream is iterable and has no state_dict" in cannot_seek(DataLoader(Stream()))
    assert "with num_workers=2" in cannot_seek(DataLoader(Remembering(), num_workers=2))
    assert loader_state(DataLoader(Stream())) is None
    assert not load_loader_state(DataLoader(Stream()), {"place": 3})
