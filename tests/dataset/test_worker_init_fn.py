import random
import warnings

import numpy as np
import pytest
import torch

from mainspring.dataset import DefaultSampler, worker_init_fn
from mainspring.registry import FUNCTIONS


def draw(**arguments):
    worker_init_fn(**{"worker_id": 0, "num_workers": 2, "rank": 0, "seed": 5, **arguments})
    return random.random(), np.random.random(), torch.rand(()).item()


def test_the_arguments_fix_all_three_generators():
    first = draw()
    assert draw() == first


@pytest.mark.parametrize("other", [{"worker_id": 1}, {"rank": 1}, {"seed": 6}, {"rank": 1, "seed": 4}])
def test_workers_ranks_and_seeds_have_streams_of_their_own(other):
    assert not set(draw()) & set(draw(**other))


def test_each_epoch_of_the_sampler_has_a_stream_of_its_own():
    sampler = DefaultSampler(range(4), seed=0)
    first = draw(sampler=sampler)
    sampler.set_epoch(1)
    assert draw(sampler=sampler) != first
    sampler.set_epoch(0)
    assert draw(sampler=sampler) == first


def test_warnings_of_other_workers_can_be_silenced():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        draw(disable_subprocess_warning=True)
        warnings.warn("worker 0", stacklevel=1)
        draw(disable_subprocess_warning=True, worker_id=1)
        warnings.warn("worker 1", stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["worker 0"]


def test_it_is_found_by_name():
    assert FUNCTIONS.get("worker_init_fn") is worker_init_fn
