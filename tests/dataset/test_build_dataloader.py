import random
from itertools import chain

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler

from mainspring.dataset import (
    DefaultSampler,
    InfiniteSampler,
    build_dataloader,
    default_collate,
    pseudo_collate,
)
from mainspring.registry import DATASETS, FUNCTIONS


@DATASETS.register_module()
class Squares(Dataset):
    def __init__(self, size=10):
        self.size = size
        self.initialised = 0

    def full_init(self):
        self.initialised += 1

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return index * index


class Dice(Dataset):
    """Answers with what the three generators give."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return index, random.random(), float(np.random.random()), torch.rand(()).item()


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(5))


@FUNCTIONS.register_module()
def scaled_collate(samples, factor):
    return [sample * factor for sample in samples]


def build(seed=0, **cfg):
    return build_dataloader({"dataset": Squares(), "batch_size": 4, **cfg}, seed)


def test_a_data_loader_is_returned_as_it_is():
    loader = DataLoader(Squares(), batch_size=3)
    assert build_dataloader(loader, 0) is loader


def test_everything_from_dicts():
    cfg = {
        "dataset": {"type": "Squares", "size": 6},
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "batch_size": 2,
        "collate_fn": {"type": "default_collate"},
        "drop_last": True,
    }
    before = repr(cfg)
    loader = build_dataloader(cfg, 11)
    assert repr(cfg) == before
    assert isinstance(loader.dataset, Squares)
    assert loader.dataset.initialised == 1
    assert (loader.sampler.seed, loader.sampler.shuffle) == (11, True)
    batches = list(loader)
    assert torch.cat(batches).tolist() == [n * n for n in DefaultSampler(range(6), seed=11)]
    assert loader.batch_size == 2
    assert loader.drop_last


def test_defaults():
    loader = build()
    assert isinstance(loader.sampler, DefaultSampler)
    assert loader.collate_fn is pseudo_collate
    assert list(loader) == [[0, 1, 4, 9], [16, 25, 36, 49], [64, 81]]
    assert build(shuffle=True, seed=5).sampler.shuffle
    assert build(shuffle=True, seed=5).sampler.seed == 5


def test_a_sampler_config_may_bring_its_own_seed():
    assert build(sampler={"type": InfiniteSampler, "seed": 9}).sampler.seed == 9


@pytest.mark.parametrize("given", [default_collate, "default_collate", {"type": default_collate}])
def test_a_collate_function_by_object_or_name(given):
    assert build(collate_fn=given).collate_fn is default_collate


def test_a_collate_function_with_arguments():
    assert next(iter(build(collate_fn={"type": "scaled_collate", "factor": 10}))) == [0, 10, 40, 90]


def test_a_batch_sampler_from_a_dict():
    loader = build(batch_sampler={"type": BatchSampler, "drop_last": True}, sampler={"type": "DefaultSampler"})
    assert isinstance(loader.batch_sampler.sampler, DefaultSampler)
    assert loader.batch_sampler.batch_size == 4
    assert len(list(loader)) == 2


def test_a_batch_sampler_that_is_there_already():
    batches = BatchSampler(SequentialSampler(range(10)), 5, drop_last=False)
    loader = build_dataloader({"dataset": Squares(), "batch_sampler": batches}, 0)
    assert loader.batch_sampler is batches
    with pytest.raises(ValueError, match=r"dataloader\.batch_size: the batch sampler is built already"):
        build(batch_sampler=batches)
    with pytest.raises(ValueError, match=r"dataloader\.sampler: the batch sampler is built already"):
        build_dataloader({"dataset": Squares(), "batch_sampler": batches, "sampler": range(10)}, 0)


def test_batches_that_the_data_set_makes_itself_are_not_collated_again():
    loader = build(dataset=[torch.zeros(3, 2), torch.ones(5, 2)], batch_size=None)
    assert [batch.shape for batch in loader] == [(3, 2), (5, 2)]


@pytest.mark.parametrize("batch_sampler", [None, {"type": BatchSampler, "drop_last": False}])
def test_num_batch_per_epoch_ends_the_epoch_early_and_draws_from_all_data(batch_sampler):
    loader = build(sampler={"type": "DefaultSampler"}, batch_sampler=batch_sampler, num_batch_per_epoch=2)
    assert len(loader) == 2
    assert isinstance(loader.dataset, Squares)
    seen = set()
    for epoch in range(20):
        # As a hook does it: one of the two has it.
        inner = loader.sampler if batch_sampler is None else loader.batch_sampler
        inner.set_epoch(epoch)
        batches = list(loader)
        assert [len(batch) for batch in batches] == [4, 4]
        seen.update(chain.from_iterable(batches))
    assert seen == {n * n for n in range(10)}


def test_more_batches_than_there_are_change_nothing():
    assert len(list(build(num_batch_per_epoch=100))) == len(build(num_batch_per_epoch=100)) == 3


def test_an_iterable_data_set_has_its_own_order():
    loader = build(dataset=Stream(), sampler=None)
    assert list(loader) == [[0, 1, 2, 3], [4]]
    for key in ("sampler", "batch_sampler", "num_batch_per_epoch"):
        with pytest.raises(ValueError, match=f"dataloader.{key}: the data set is an IterableDataset"):
            build(dataset=Stream(), **{key: 2})
    with pytest.raises(ValueError, match=r"dataloader\.shuffle: the data set is an IterableDataset"):
        build(dataset=Stream(), shuffle=True)


def draws(loader):
    return [sample for batch in loader for sample in zip(*batch, strict=True)]


def test_workers_are_seeded_by_seed_epoch_and_worker():
    def loader(seed=3, **cfg):
        return build(dataset=Dice(), batch_size=1, num_workers=2, seed=seed, **cfg)

    one = loader()
    first = draws(one)
    assert draws(loader()) == first
    assert draws(loader(seed=4)) != first
    numbers = [number for _, *sample in first for number in sample]
    assert len(set(numbers)) == len(numbers)  # no two workers, and no two libraries, share a stream
    one.sampler.set_epoch(1)  # the workers begin anew in each epoch, and do not repeat themselves
    assert not set(draws(one)) & set(first)
    limited = loader(num_batch_per_epoch=3)
    assert draws(limited) == first[:3]


def test_a_worker_function_of_ones_own():
    def quiet(worker_id):
        return None

    assert build(worker_init_fn=quiet).worker_init_fn is quiet
    ours = build(worker_init_fn={"type": "worker_init_fn", "num_workers": 0, "rank": 0, "seed": 1}).worker_init_fn
    assert ours.keywords == {"num_workers": 0, "rank": 0, "seed": 1}
    assert build(seed=None).worker_init_fn is None


@pytest.mark.parametrize(
    ("cfg", "error", "message"),
    [
        (
            {"batchsize": 4},
            ValueError,
            r"^train\.batchsize: there is no such key\. Did you mean 'batch_size'\?",
        ),
        ({"num_worker": 4}, ValueError, "Did you mean 'num_workers'"),
        ({"collate_fn": "default_colate"}, ValueError, "Did you mean 'default_collate'"),
        ({"collate_fn": 3}, TypeError, r"train\.collate_fn must be a function"),
        (
            {"sampler": {"type": "DefaultSampler"}, "shuffle": True},
            ValueError,
            r"train\.shuffle: the sampler makes",
        ),
        (
            {"batch_sampler": {"type": BatchSampler}, "drop_last": True},
            ValueError,
            r"train\.drop_last: the batch",
        ),
        (
            {"num_batch_per_epoch": 0},
            ValueError,
            r"train\.num_batch_per_epoch must be 1 or more, but it is 0",
        ),
        ({"num_batch_per_epoch": "3"}, TypeError, r"train\.num_batch_per_epoch must be an integer or None"),
        (
            {"dataset": {"type": Squares, "size": 0}},
            ValueError,
            r"train\.dataset is empty: len\(Squares\) is 0",
        ),
        (
            {"batch_size": 16, "drop_last": True},
            ValueError,
            r"train gives no batch: 10 samples, 1 rank\(s\), batch_size=16, drop_last=True",
        ),
    ],
)
def test_configs_that_cannot_work(cfg, error, message):
    with pytest.raises(error, match=message):
        build_dataloader({"dataset": Squares(), "batch_size": 4, **cfg}, 0, name="train")


@pytest.mark.parametrize("key", ["dataset", "batch_size"])
def test_what_is_needed_is_named(key):
    cfg = {"dataset": Squares(), "batch_size": 4}
    del cfg[key]
    with pytest.raises(TypeError, match=f"val_dataloader.{key} is missing"):
        build_dataloader(cfg, 0, name="val_dataloader")


def test_what_is_neither_dict_nor_loader():
    with pytest.raises(TypeError, match="train_dataloader must be a DataLoader or a dict, but it is None"):
        build_dataloader(None, 0, name="train_dataloader")


def test_an_empty_loader_is_refused_whoever_made_it():
    with pytest.raises(ValueError, match="dataloader gives no batch: 10 samples"):
        build_dataloader(DataLoader(Squares(), batch_size=11, drop_last=True), 0)


def test_an_error_of_torch_says_which_loader():
    with pytest.raises(ValueError, match="persistent_workers") as caught:
        build_dataloader({"dataset": Squares(), "batch_size": 1, "persistent_workers": True}, 0, name="test_dataloader")
    assert "Raised while building test_dataloader." in caught.value.__notes__
