import tracemalloc
from itertools import chain, islice
from pathlib import Path

import pytest
import torch
import torch.distributed as torch_dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.dataset import DefaultSampler, InfiniteSampler
from mainspring.dist import all_gather_object
from mainspring.registry import DATA_SAMPLERS


def test_each_epoch_has_an_order_of_its_own_that_the_seed_fixes():
    sampler, twin, other = (DefaultSampler(range(50), seed=seed) for seed in (3, 3, 4))
    orders = []
    for epoch in (0, 1, 2):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert sorted(orders[-1]) == list(range(50))
    assert orders[0] != orders[1] != orders[2] != orders[0]
    # No history: an epoch that is asked for directly is the same.
    twin.set_epoch(2)
    assert list(twin) == orders[2]
    other.set_epoch(2)
    assert list(other) != orders[2]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("kind", [DefaultSampler, InfiniteSampler])
def test_a_long_order_is_whole_wherever_it_is_begun(kind, shuffle):
    """Its indices become numbers a few thousand at a time."""
    sampler = kind(range(10_000), shuffle=shuffle, seed=3)
    order = list(islice(sampler.begin_at(0), 10_000))
    assert sorted(order) == list(range(10_000))
    assert (order == list(range(10_000))) is not shuffle
    for position in (1, 4095, 4096, 9999):
        assert list(islice(sampler.begin_at(position), 10_000 - position)) == order[position:]


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_order_is_not_made_a_list_of_numbers(shuffle):
    sampler = DefaultSampler(range(1_000_000), shuffle=shuffle, seed=3)
    tracemalloc.start()  # of Python's objects; the order itself is a tensor
    try:
        next(iter(sampler))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_pass_that_is_begun_keeps_its_order():
    sampler = DefaultSampler(range(50), seed=3)
    expected, begun = list(sampler), iter(sampler)
    sampler.set_epoch(1)
    assert list(begun) == expected


def test_epochs_of_neighbouring_seeds_do_not_coincide():
    later, next_seed = DefaultSampler(range(50), seed=3), DefaultSampler(range(50), seed=4)
    later.set_epoch(1)
    assert list(later) != list(next_seed)


def test_the_order_neither_reads_nor_moves_the_global_generator():
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    first = list(DefaultSampler(range(20), seed=1))
    infinite = list(islice(InfiniteSampler(range(20), seed=1), 30))
    assert torch.equal(torch.rand(2), expected)
    assert list(DefaultSampler(range(20), seed=1)) == first
    assert list(islice(InfiniteSampler(range(20), seed=1), 30)) == infinite


def test_without_shuffling_the_order_is_that_of_the_data_set():
    sampler = DefaultSampler(range(4), shuffle=False)
    sampler.set_epoch(5)
    assert list(sampler) == [0, 1, 2, 3]
    assert len(sampler) == 4


def test_infinite_passes_are_different_permutations():
    indices = list(islice(InfiniteSampler(range(30), seed=0), 90))
    passes = [indices[start : start + 30] for start in (0, 30, 60)]
    assert all(sorted(one) == list(range(30)) for one in passes)
    assert passes[0] != passes[1] != passes[2] != passes[0]


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 12), position=st.integers(0, 60), rank=st.integers(0, 4), shuffle=st.booleans())
def test_seeking_is_the_same_as_drawing(size, position, rank, shuffle):
    def sampler():
        made = InfiniteSampler(range(size), shuffle=shuffle, seed=7)
        made.rank, made.world_size = rank, 5
        return made

    drawn = list(islice(sampler(), position + 20))[position:]
    sought = sampler()
    sought.seek(position)
    assert list(islice(sought, 20)) == drawn
    assert list(islice(sought, 20)) == drawn  # each iter() begins there
    # All ranks together draw the stream that one rank alone would draw.
    alone = list(islice(InfiniteSampler(range(size), shuffle=shuffle, seed=7), (position + 20) * 5))
    assert drawn == alone[rank::5][position:]


def test_an_epoch_does_not_disturb_the_infinite_stream():
    sampler = InfiniteSampler(range(10), seed=0)
    before = list(islice(sampler, 25))
    sampler.set_epoch(3)
    assert list(islice(sampler, 25)) == before
    assert len(sampler) == 10


@pytest.mark.parametrize("kind", [DefaultSampler, InfiniteSampler])
def test_data_sets_that_cannot_be_sampled_are_refused(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__} got an empty data set: len\\(list\\) is 0"):
        kind([], seed=0)
    with pytest.raises(TypeError, match="needs a length, but generator has none"):
        kind((n for n in range(3)), seed=0)


def test_seeking_backwards_beyond_the_start_is_refused():
    with pytest.raises(ValueError, match="0 or more, but it is -1"):
        InfiniteSampler(range(3), seed=0).seek(-1)


def test_samplers_are_built_by_name():
    sampler = DATA_SAMPLERS.build({"type": "DefaultSampler", "dataset": range(3), "shuffle": False})
    assert list(sampler) == [0, 1, 2]
    assert isinstance(DATA_SAMPLERS.build({"type": "InfiniteSampler", "dataset": range(3)}), InfiniteSampler)


def sample_on_three_ranks(rank: int, store: Path) -> None:
    torch_dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=3)
    try:
        alone = list(DefaultSampler(range(7), seed=2, round_up=False))  # this rank's part
        parts = all_gather_object(alone)
        assert [len(part) for part in parts] == [3, 2, 2]
        assert sorted(chain.from_iterable(parts)) == list(range(7))

        rounded = DefaultSampler(range(7), seed=2)
        parts = all_gather_object(list(rounded))
        assert [len(part) for part in parts] == [len(rounded)] * 3 == [3] * 3
        dealt = [part[turn] for turn in range(3) for part in parts]
        assert sorted(dealt[:7]) == list(range(7))
        assert dealt[7:] == dealt[:2]  # the repeated ones are the first

        tiny = all_gather_object(list(DefaultSampler(range(2), shuffle=False)))
        assert tiny == [[0], [1], [0]]

        torch.manual_seed(rank)  # a seed that is drawn is the same on all ranks
        seeds = all_gather_object((DefaultSampler(range(7)).seed, InfiniteSampler(range(7)).seed))
        assert seeds[0] == seeds[1] == seeds[2]

        parts = all_gather_object(list(islice(InfiniteSampler(range(7), seed=2), 7)))
        stream = [part[turn] for turn in range(7) for part in parts]
        assert all(sorted(stream[start : start + 7]) == list(range(7)) for start in (0, 7, 14))
    finally:
        torch_dist.destroy_process_group()


def test_ranks_share_the_data(tmp_path):
    mp.spawn(sample_on_three_ranks, args=(tmp_path / "store",), nprocs=3)
