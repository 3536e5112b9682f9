import random
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mainspring.utils import Stream, mix, seed_generators, step_seeder

CPU = torch.device("cpu")


def draws():
    """Return what each of the global generators draws next."""
    return random.random(), np.random.random(), torch.rand(3).tolist(), torch.randint(1 << 40, (2,)).tolist()


@pytest.mark.parametrize(
    ("words", "mixed"),
    [
        # The first outputs of splitmix64 for these seeds, as published with it.
        ((0,), 0xE220A8397B1DCDAF),
        ((1,), 0x910A2DEC89025CC1),
        ((1_234_567,), 6_457_827_717_110_365_317),
        # Ours; they may never change, or resumed runs go other ways.
        ((0, 0), 0xA706DD2F4D197E6F),
        ((0, 1), 0x08B4FDA8C892B50E),
        ((1, 0), 0x5E41AB087439611E),
        ((Stream.STEP, 42, 0, 1000), 0xA1798641506D0162),
    ],
)
def test_known_answers(words, mixed):
    assert mix(*words) == mixed


def test_the_streams_keep_their_numbers():
    assert {stream.name: stream.value for stream in Stream} == {
        "INIT": 0,
        "ORDER": 1,
        "SAMPLE": 2,
        "STEP": 3,
        "EVALUATION": 4,
        "EPOCH": 5,
    }


def test_what_is_drawn_at_a_position_stays_the_same():
    seed_generators(mix(Stream.STEP, 42, 0, 1000))
    assert random.random() == 0.08666733940969573
    assert np.random.random() == 0.03914700042503649
    assert torch.rand(2, dtype=torch.float64).tolist() == [0.8987275305803875, 0.38398018775482323]


@given(st.lists(st.integers(min_value=-(2**63), max_value=2**64 - 1), max_size=6))
def test_the_result_has_64_bits(words):
    assert 0 <= mix(*words) < 2**64
    assert mix(*words) == mix(*[word + 2**64 for word in words])


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4), st.integers(0, 2**64 - 1), st.data())
def test_one_other_word_gives_another_result(words, other, data):
    index = data.draw(st.integers(0, len(words) - 1))
    changed = [*words[:index], other, *words[index + 1 :]]
    assert (mix(*changed) == mix(*words)) == (changed == words)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_neighbouring_keys_are_unrelated(place):
    """Each bit of the result flips for about half of the neighbours."""
    key, count = [3, 42, 0, 7], 4000
    mixed = [mix(*key[:place], n, *key[place + 1 :]) for n in range(count)]
    flips = np.array([[(a ^ b) >> bit & 1 for bit in range(64)] for a, b in pairwise(mixed)])
    assert abs(flips.mean() - 0.5) < 0.01
    assert np.all(abs(flips.mean(axis=0) - 0.5) < 0.05)


def test_no_two_keys_of_a_run_meet_even_in_the_32_bits_of_numpy():
    keys = list(product(Stream, (0, 1), (0, 1), range(500)))
    mixed = [mix(*key) for key in keys]
    assert len(set(mixed)) == len(keys)
    assert len({value & 0xFFFFFFFF for value in mixed}) >= len(keys) - 5  # by chance 0.01 are expected to meet


def test_the_same_seed_gives_the_same_draws_and_another_others():
    seed_generators(5)
    first = draws()
    seed_generators(6)
    other = draws()
    seed_generators(5)
    assert draws() == first
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_numpy_and_torch_draw_unrelated_numbers():
    """Their generators are the same kind: with the same 32 bits they would draw the same."""
    seed_generators(mix(Stream.STEP, 42, 0, 1000))
    words = np.random.randint(2**32, size=200, dtype=np.uint32)
    assert not set((words & 0xFFFFFF).tolist()) & set((torch.rand(200) * 2**24).long().tolist())


@given(st.integers(0, 2**64 - 1), st.integers(0, 100), st.integers(0, 10**7))
def test_a_step_seeder_seeds_as_the_key_says(seed, rank, position):
    seed_generators(mix(Stream.STEP, seed, rank, position))
    expected = draws()
    step_seeder(Stream.STEP, seed, rank, CPU)(position)
    assert draws() == expected
    seed_generators(mix(Stream.EVALUATION, seed, rank, 7, position))
    expected = draws()
    step_seeder(Stream.EVALUATION, seed, rank, CPU, 7)(position)
    assert draws() == expected


def test_the_same_position_draws_the_same_whatever_came_before():
    seed_step = step_seeder(Stream.STEP, 3, 0, CPU)
    seed_step(10)
    first = draws()
    seed_step(11)
    draws()
    draws()
    seed_step(10)
    assert draws() == first


def test_ranks_streams_and_seeds_draw_differently():
    seeders = [
        step_seeder(stream, seed, rank, CPU)
        for stream, seed, rank in product((Stream.STEP, Stream.SAMPLE), (0, 1), (0, 1))
    ]
    results = []
    for seed_step in seeders:
        seed_step(7)
        results.append(draws()[0])
    assert len(set(results)) == len(seeders)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_the_generator_of_the_device_is_seeded_too():
    device = torch.device("cuda", torch.cuda.current_device())
    seed_step = step_seeder(Stream.STEP, 3, 0, device)
    seed_step(1)
    first = torch.rand(4, device=device)
    seed_step(2)
    other = torch.rand(4, device=device)
    seed_step(1)
    assert torch.equal(torch.rand(4, device=device), first)
    assert not torch.equal(other, first)
    seed_generators(mix(Stream.STEP, 3, 0, 1), device)
    assert torch.equal(torch.rand(4, device=device), first)


def test_a_step_seeds_python_as_its_own_seed_does():
    seed_step = step_seeder(Stream.STEP, 3, 0, torch.device("cpu"))
    random.gauss(0, 1)  # leaves a second number behind, for the next call
    seed_step(7)
    state = random.getstate()
    random.gauss(0, 1)
    random.seed(mix(Stream.STEP, 3, 0, 7))
    assert random.getstate() == state
