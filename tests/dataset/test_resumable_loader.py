"""The bytes of a batch follow from the seed and its place, however it is read."""

import random
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
    get_worker_info,
)

from mainspring.dataset import (
    DefaultSampler,
    InfiniteSampler,
    ResumableLoader,
    build_dataloader,
    pass_over,
    pseudo_collate,
    resumable,
)


class Dice(Dataset):
    """Answers with the index, and with what the three generators give."""

    def __init__(self, size=22):
        self.size = size
        self.read = []

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.read.append(index)
        return index, random.random(), float(np.random.random()), torch.rand(()).item()


class DiceByBatch(Dice):
    def __getitems__(self, indices):
        assert type(indices) is list
        return [self[index] for index in indices]


class Sizes(BatchSampler):
    """Batches of 1, 2, 3, ... in a new order each time, with no word about epochs: it shuffles what it has."""

    def __init__(self, size=22):
        self.indices = list(range(size))

    def __iter__(self):
        random.shuffle(self.indices)
        rest, size = iter(self.indices), 1
        while batch := list(islice(rest, size)):
            yield batch
            size += 1

    def __len__(self):
        return 7


class Counting:
    """Knows itself how often it was gone over, and draws as it goes."""

    def __init__(self, size=22):
        self.size, self.turn = size, 0

    def __iter__(self):
        self.turn += 1
        for _ in range(self.size):
            yield (random.randrange(self.size) + self.turn) % self.size

    def __len__(self):
        return self.size


def collate(samples):
    return samples, random.random()


def generator(seed=7):
    return torch.Generator().manual_seed(seed)


def from_dict(**cfg):
    return build_dataloader({"dataset": Dice(), "batch_size": 4, **cfg}, 3)


WAYS = {
    "default sampler": lambda **o: from_dict(shuffle=True, **o),
    "first batches": lambda **o: from_dict(shuffle=True, num_batch_per_epoch=4, **o),
    "first batches of a batch sampler": lambda **o: from_dict(
        batch_sampler={"type": BatchSampler, "drop_last": True},
        sampler={"type": "DefaultSampler"},
        num_batch_per_epoch=4,
        **o,
    ),
    "a stream in epochs": lambda **o: from_dict(sampler={"type": InfiniteSampler}, num_batch_per_epoch=4, **o),
    "shuffle": lambda **o: DataLoader(Dice(), 4, shuffle=True, **o),
    "shuffle with a generator": lambda **o: DataLoader(Dice(), 4, shuffle=True, generator=generator(), **o),
    "in order": lambda **o: DataLoader(Dice(), 4, drop_last=True, **o),
    "weighted": lambda **o: DataLoader(Dice(), 4, sampler=WeightedRandomSampler(torch.rand(22), 30), **o),
    "subset": lambda **o: DataLoader(Dice(), 4, sampler=SubsetRandomSampler(range(9), generator()), **o),
    "batch sampler": lambda **o: DataLoader(
        Dice(), batch_sampler=BatchSampler(DefaultSampler(Dice(), seed=5), 3, False), **o
    ),
    "batches of many sizes": lambda **o: DataLoader(Dice(), batch_sampler=Sizes(), **o),
    "a sampler that counts": lambda **o: DataLoader(Dice(), 4, sampler=Counting(), **o),
    "whole batches": lambda **o: DataLoader(DiceByBatch(), 4, shuffle=True, **o),
    "part of a data set": lambda **o: DataLoader(Subset(Dice(), range(3, 20)), 4, shuffle=True, **o),
    "no batches": lambda **o: DataLoader(Dice(), None, shuffle=True, **o),
    "a collate function that draws": lambda **o: DataLoader(Dice(), 4, shuffle=True, collate_fn=collate, **o),
}


def make(way, seed=3, once_a_batch=False, **options):
    torch.manual_seed(0)  # some of the data sets above have random weights
    loader = WAYS[way](**{"collate_fn": pseudo_collate, **options} if "draws" not in way else options)
    return resumable(loader, seed, once_a_batch=once_a_batch)


def passes(loader, *numbers):
    """Go over the loader, with random numbers drawn by others in between."""
    read = []
    for number in numbers:
        read.append([])
        for batch in pass_over(loader, number, seed=3):
            read[-1].append(batch)
            random.seed(len(read)), np.random.seed(len(read)), torch.manual_seed(len(read))
    return read


@pytest.mark.parametrize("once_a_batch", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_bytes_do_not_depend_on_who_reads(way, once_a_batch):
    expected = passes(make(way, once_a_batch=once_a_batch), 0, 1, 2)
    assert expected[0] != expected[1] != expected[2] != expected[0]
    assert passes(make(way, once_a_batch=once_a_batch, num_workers=1), 0) == expected[:1]
    workers = {"num_workers": 2, "prefetch_factor": 3, "persistent_workers": True}
    assert passes(make(way, once_a_batch=once_a_batch, **workers), 0, 1, 2) == expected


def test_a_seed_for_each_batch_is_that_of_its_first_sample():
    each, once = (make("default sampler", once_a_batch=once) for once in (False, True))
    for columns, others in zip(passes(each, 1)[0], passes(once, 1)[0], strict=True):
        (first, *rest), (other_first, *other_rest) = list(zip(*columns, strict=True)), list(zip(*others, strict=True))
        assert first == other_first
        assert [sample[0] for sample in rest] == [sample[0] for sample in other_rest]
        assert not {sample[1:] for sample in rest} & {sample[1:] for sample in other_rest}


@pytest.mark.parametrize("way", WAYS)
def test_a_loader_begins_anywhere(way):
    whole = passes(make(way), 0, 1, 2, 3)
    for number, done, workers in ((0, 1, 0), (1, 0, 0), (2, 3, 0), (2, 3, 2), (2, len(whole[2]), 0)):
        loader = make(way, num_workers=workers)
        assert list(pass_over(loader, number, done, seed=3)) == whole[number][done:]
        assert passes(loader, number + 1) == [whole[number + 1]]  # the next pass begins at its beginning


@pytest.mark.parametrize("way", [way for way in WAYS if way != "a collate function that draws"])
def test_nothing_is_read_to_be_thrown_away(way):
    loader = make(way)
    rest = list(pass_over(loader, 2, 3, seed=3))
    dataset = getattr(loader.dataset, "dataset", loader.dataset)
    samples = len(rest) if loader.batch_sampler is None else sum(len(columns[0]) for columns in rest)
    assert len(dataset.read) == samples


def test_an_infinite_stream_goes_on():
    def stream(**options):
        return resumable(from_dict(sampler={"type": InfiniteSampler}, **options), 3)

    expected = list(islice(pass_over(stream(), 0, seed=3), 20))
    for workers in (0, 2):
        loader = stream(num_workers=workers)
        assert list(islice(pass_over(loader, 0, 7, seed=3), 13)) == expected[7:]
    indices = [index for batch in expected for index in batch[0]]
    assert sorted(indices[:22]) == sorted(indices[22:44]) == list(range(22))


def test_seeds_are_those_of_places_and_passes():
    loader = resumable(DataLoader(Dice(40), 4, collate_fn=list), 3)
    draws = [sample[1:] for one in passes(loader, 0, 1) for batch in one for sample in batch]
    assert len(set(draws)) == 80
    other = resumable(DataLoader(Dice(40), 4, collate_fn=list), 4)
    assert not {sample[1:] for batch in other for sample in batch} & set(draws)
    # A sample's place counts, and not the batch that it is read in.
    wider = resumable(DataLoader(Dice(40), 10, collate_fn=list), 3)
    assert [sample[1:] for one in passes(wider, 0, 1) for batch in one for sample in batch] == draws


def test_ranks_share_one_stream():
    def loader(rank, world_size, batch_size):
        made = resumable(DataLoader(Dice(), batch_size, sampler=sampler(rank, world_size), collate_fn=list), 3)
        made._stream.rank, made._stream.world_size = rank, world_size
        return made

    def sampler(rank, world_size):
        return list(range(22))[rank::world_size]

    alone = [sample for batch in loader(0, 1, 4) for sample in batch]
    for rank in (0, 1):
        assert [sample for batch in loader(rank, 2, 2) for sample in batch] == alone[rank::2]


def test_a_generator_s_own_seed_counts_and_is_kept():
    def loader(seed):
        return resumable(DataLoader(range(22), 22, shuffle=True, generator=generator(seed), collate_fn=list), 3)

    (first,), (same,), (other,) = loader(1), loader(1), loader(2)
    assert first == same != other
    resumed = loader(2)
    resumed.load_state_dict(loader(1).state_dict())
    assert list(resumed) == [first]


def test_a_seed_that_a_sampler_drew_is_kept():
    def loader():
        return resumable(DataLoader(range(22), 22, sampler=DefaultSampler(range(22)), collate_fn=list), 3)

    first, resumed = loader(), loader()
    order = list(first)
    assert list(resumed) != order
    resumed.load_state_dict(first.state_dict())
    resumed.seek(0)
    assert list(resumed) == order
    # One that follows from the run's seed follows from that of the run that goes on.
    assert resumable(from_dict(), 3).state_dict() == {"generators": [], "samplers": [None]}


class SeenBy(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        worker = get_worker_info()
        return type(index), type(worker.dataset), worker.dataset is self, getattr(self, "mark", None)


@pytest.mark.parametrize("persistent", [False, True])
def test_the_data_set_stays_the_user_s_own(persistent):
    dataset = SeenBy()
    given = DataLoader(dataset, 1, num_workers=1, collate_fn=list, persistent_workers=persistent)
    loader = resumable(given, 3)
    assert loader.dataset is dataset
    assert loader.sampler is given.sampler
    assert (loader.batch_size, loader.drop_last, len(loader)) == (1, False, 3)
    assert next(iter(loader)) == [(int, SeenBy, True, None)]
    dataset.mark = "changed between epochs"
    assert next(iter(loader)) == [(int, SeenBy, True, None if persistent else dataset.mark)]


def test_batches_of_the_user_reach_a_data_set_that_reads_whole_batches():
    class Types(Dice):
        def __getitems__(self, indices):
            return [type(indices)]

    tuples = [(0, 1), (2, 3)]
    for workers in (0, 1):
        loader = resumable(DataLoader(Types(), batch_sampler=tuples, num_workers=workers, collate_fn=list), 3)
        assert list(loader) == [[tuple]] * 2


class Transform:
    """Owns generators, and one that it makes from a seed, as albumentations does."""

    def __init__(self):
        self.numpy = np.random.default_rng()
        self.old = [np.random.RandomState()]
        self.parts = {"python": random.Random(), "torch": torch.Generator()}
        self.inner = Seedable()

    def __call__(self):
        return (
            float(self.numpy.random()),
            float(self.old[0].random()),
            self.parts["python"].random(),
            torch.rand((), generator=self.parts["torch"]).item(),
            self.inner.draw,
        )


class Seedable:
    draw = None

    def set_random_seed(self, seed):
        self.draw = seed


class Transformed(Dice):
    def __init__(self):
        super().__init__()
        self.transform = Transform()

    def __getitem__(self, index):
        return index, *self.transform()


@pytest.mark.parametrize("once_a_batch", [False, True])
@pytest.mark.parametrize("kind", [Transformed, "by batch"])
def test_generators_that_objects_own_follow_too(kind, once_a_batch):
    class ByBatch(Transformed):
        def __getitems__(self, indices):
            return [self[index] for index in indices]

    def loader(**options):
        given = DataLoader((ByBatch if kind == "by batch" else kind)(), 4, collate_fn=list, **options)
        return resumable(given, 3, once_a_batch=once_a_batch)

    expected = passes(loader(), 0, 1)
    assert passes(loader(num_workers=2), 0, 1) == expected
    assert list(pass_over(loader(num_workers=1), 1, 2, seed=3)) == expected[1][2:]
    draws = [number for one in expected for batch in one for sample in batch for number in sample[1:5]]
    assert len(set(draws)) == len(draws)


def test_seeding_can_be_turned_off():
    class Calm(Dice):
        def __getitem__(self, index):
            return random.getstate()

    def states(**options):
        return [batch[0] for batch in resumable(DataLoader(Calm(5), 1, collate_fn=list), 3, **options)]

    assert len(set(states())) == 5
    assert len(set(states(sample_seeding=False))) == 1


def test_other_attributes_of_a_subclass_are_there():
    class WithWord(DataLoader):
        word = "here"

        def say(self):
            return f"{self.word}: {len(self)}"

    loader = resumable(WithWord(range(5), 2), 3)
    assert isinstance(loader, ResumableLoader)
    assert (loader.word, loader.say()) == ("here", "here: 3")
    with pytest.raises(AttributeError, match="wrod"):
        _ = loader.wrod


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 12), position=st.integers(0, 14), rank=st.integers(0, 2), round_up=st.booleans())
def test_beginning_within_an_epoch_is_the_same_as_drawing(size, position, rank, round_up):
    sampler = DefaultSampler(range(size), seed=7, round_up=round_up)
    sampler.rank, sampler.world_size = rank, 3
    sampler.total_size = -(-size // 3) * 3 if round_up else size
    assert list(sampler.begin_at(position)) == list(sampler)[position:]


def test_a_sampler_of_ones_own_is_drawn_from_as_it_is():
    class Backwards(DefaultSampler):
        def __iter__(self):
            return reversed(list(super().__iter__()))

    loader = resumable(DataLoader(range(10), 3, sampler=Backwards(range(10), shuffle=False), collate_fn=list), 3)
    assert list(pass_over(loader, 4, 2, seed=3)) == [[3, 2, 1], [0]]


def test_an_order_is_not_lost_with_torch_s_samplers_in_others():
    order = BatchSampler(SequentialSampler(range(10)), 4, drop_last=True)
    loader = resumable(DataLoader(range(10), batch_sampler=order, collate_fn=list), 3)
    assert list(pass_over(loader, 0, 1, seed=3)) == [[4, 5, 6, 7]]


def order_of(batches):
    return [number for batch in batches for number in batch]


def plain():
    return resumable(DataLoader(range(12), 4, shuffle=True, collate_fn=list), 3)


def sought(number):
    loader = plain()
    loader.seek(number)
    return order_of(loader)


def test_what_nobody_announced_is_the_next_pass():
    loader = plain()
    assert [order_of(loader) for _ in range(3)] == [sought(0), sought(1), sought(2)]
    next(iter(loader))  # begun and given up
    assert order_of(loader) == sought(4)


def test_who_reads_a_pass_that_is_on_reads_the_same_pass():
    loader = plain()
    loader.seek(2, done=1)
    batches = iter(loader)
    first = next(batches)
    assert order_of(loader) == order_of(loader) == sought(2)
    assert [*first, *order_of(batches)] == sought(2)[4:]
    assert order_of(loader) == sought(3)


def test_an_epoch_that_is_told_again_is_not_begun_again():
    loader = plain()
    loader.seek(2, done=1)
    loader.set_epoch(2)
    assert order_of(loader) == sought(2)[4:]
    loader.set_epoch(2)
    assert order_of(loader) == sought(2)


def test_an_epoch_that_the_sampler_was_told_counts():
    def loader():
        return resumable(DataLoader(range(12), 4, sampler=DefaultSampler(range(12), seed=1), collate_fn=list), 3)

    told, other = loader(), loader()
    order_of(told)
    told.sampler.set_epoch(7)
    other.seek(7)
    assert order_of(told) == order_of(other)
    other.seek(8)
    assert order_of(told) == order_of(other)


class Scaled(Dataset):
    scale = 1

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return index * self.scale


def test_to_forget_the_iterator_ends_workers_that_persist():
    loader = resumable(DataLoader(Scaled(), 2, num_workers=1, persistent_workers=True, collate_fn=list), 3)
    assert order_of(loader) == [0, 1, 2, 3]
    loader.dataset.scale = 5
    assert order_of(loader) == [0, 1, 2, 3], "the worker has a copy"
    # What hooks of OpenMMLab's projects do when the transforms change.
    loader._DataLoader__initialized = False
    loader._iterator = None
    assert order_of(loader) == [0, 5, 10, 15]
    loader._DataLoader__initialized = True
    assert order_of(loader) == [0, 5, 10, 15]
    loader._iterator = None
