"""The largest batch that fits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset

from mainspring import BaseModel
from mainspring.analysis import find_batch_size
from mainspring.analysis.batch_size import _largest

ALONE = dict.fromkeys(("val_dataloader", "val_cfg", "val_evaluator"))


@given(limit=st.integers(1, 300), begin=st.integers(1, 300), most=st.none() | st.integers(1, 300))
def test_the_search_finds_the_largest_with_few_trials(limit, begin, most):
    tried = []

    def works(size):
        tried.append(size)
        return size <= limit

    assert _largest(works, begin, most) == min(limit, most or limit)
    assert len(tried) == len(set(tried)) <= 20
    assert most is None or max(tried) <= most


@pytest.fixture
def small(net):
    """Return a model whose memory is full at more than 13 samples, in the second update."""

    seen = []

    class Small(net):
        error = torch.OutOfMemoryError("CUDA out of memory.")

        def train_step(self, data, optim_wrapper):
            outputs = super().train_step(data, optim_wrapper)
            seen.append(len(data[0]))
            if len(data[0]) > 13 and seen[-2:] == [len(data[0])] * 2:
                raise self.error
            return outputs

    return Small


@pytest.mark.parametrize("start", [None, 2, 13, 20])
def test_it_finds_the_largest_and_leaves_the_run_as_it_was(make_runner, small, tmp_path, start):
    def make(name):
        torch.manual_seed(0)
        wrapper = {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}}
        return make_runner(model=small(dropout=0.3), optim_wrapper=wrapper, work_dir=tmp_path / name, **ALONE)

    plain, runner = make("plain"), make("tried")
    plain.train()
    assert find_batch_size(runner, start, max_batch_size=200) == 13
    assert not runner.optim_wrapper.optimizer.state
    assert all(parameter.grad is None for parameter in runner.model.parameters())
    runner.train()
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, plain.model.state_dict()[name])


def test_memory_errors_without_a_class(make_runner, small):
    small.error = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ...")
    assert find_batch_size(make_runner(model=small(), **ALONE), max_batch_size=64) == 13
    small.error = RuntimeError("shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        find_batch_size(make_runner(model=small(), **ALONE), max_batch_size=64)
    assert caught.value.__notes__ == ["(raised in a training step with 16 samples, which find_batch_size has tried)"]


def test_a_bound_of_the_users_own(make_runner):
    sizes = []

    def fits(size):
        sizes.append(size)
        return size * 1000 < 7500

    assert find_batch_size(make_runner(**ALONE), fits=fits) == 7
    assert sizes == [4, 8, 6, 7]


def test_as_many_as_there_are_samples_at_most(make_runner):
    assert find_batch_size(make_runner(**ALONE), fits=lambda size: True) == 20
    assert find_batch_size(make_runner(**ALONE), max_batch_size=3) == 3


def test_accumulation_and_samples_of_ones_own(make_runner, net):
    shapes = []

    class Looks(net):
        def train_step(self, data, optim_wrapper):
            shapes.append((tuple(data[0].shape), data[1].tolist()))
            return super().train_step(data, optim_wrapper)

    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 2}
    runner = make_runner(model=Looks(), optim_wrapper=wrapper, **ALONE)
    samples = [(torch.zeros(6), 0), (torch.ones(6), 2)]
    assert find_batch_size(runner, 3, max_batch_size=3, samples=samples) == 3
    assert shapes == [((3, 6), [0, 2, 0])] * 4


class Plain(BaseModel):
    """A model that can be trained with a single sample, as batch normalisation cannot."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(6, 3)

    def forward(self, inputs, labels=None, mode="tensor"):
        return {"loss": torch.nn.functional.cross_entropy(self.layer(inputs), labels)}


class Stream(IterableDataset):
    def __iter__(self):
        for number in range(50):
            yield torch.full((6,), float(number)), number % 3


def test_iterable_data(make_runner):
    runner = make_runner(
        train_dataloader=DataLoader(Stream(), batch_size=4), train_cfg={"by_epoch": False, "max_iters": 5}, **ALONE
    )
    assert find_batch_size(runner, fits=lambda size: size <= 60) == 60


def test_errors(make_runner, make_loader):
    with pytest.raises(ValueError, match="on the CPU needs an end: max_batch_size"):
        find_batch_size(make_runner(**ALONE))
    with pytest.raises(ValueError, match="max_batch_size must be a whole number of at least 1, but it is 0"):
        find_batch_size(make_runner(**ALONE), max_batch_size=0)
    with pytest.raises(ValueError, match="start must be a whole number of at least 1, but it is 0"):
        find_batch_size(make_runner(**ALONE), 0, max_batch_size=9)
    with pytest.raises(ValueError, match="not even a batch of one sample fits"):
        find_batch_size(make_runner(model=Plain(), **ALONE), fits=lambda size: False)
    with pytest.raises(ValueError, match="there are no samples"):
        find_batch_size(make_runner(**ALONE), max_batch_size=9, samples=[])
    runner = make_runner(
        train_dataloader=DataLoader(Stream(), batch_size=None), train_cfg={"by_epoch": False, "max_iters": 5}, **ALONE
    )
    with pytest.raises(TypeError, match="its batch_size is None"):
        find_batch_size(runner, max_batch_size=9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fits": 3}, "fits must be a function of the batch size, but it is 3"),
        ({"runner": None, "max_batch_size": 8}, "find_batch_size: runner must be Runner, but it is None"),
    ],
)
def test_arguments_of_the_wrong_type(make_runner, arguments, message):
    with pytest.raises(TypeError, match=message):
        find_batch_size(**{"runner": make_runner(), **arguments})
