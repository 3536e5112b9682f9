"""The mean over all items of a group, however they are spread over its losses."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mainspring import AmpOptimWrapper, MessageHub, OptimWrapper
from mainspring.optim.item_count import ItemCount

BF16 = 2e-2
"""Tolerance for bfloat16, relative to the largest gradient: it keeps 8 bits, and a loss of k parts rounds k times."""


def network(dtype=torch.float64):
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)


def items(count, dtype=torch.float64):
    generator = torch.Generator().manual_seed(count)
    return (
        torch.randn(count, 4, generator=generator, dtype=torch.float64).to(dtype),
        torch.randn(count, 2, generator=generator, dtype=torch.float64).to(dtype),
    )


def mean_loss(model, batch):
    inputs, targets = batch
    return F.mse_loss(model(inputs), targets)


def gradients(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


class Keep(torch.optim.SGD):
    """Keeps the gradient of each step."""

    def __init__(self, params):
        super().__init__(params, lr=0.0)
        self.steps = []

    def step(self, closure=None):
        self.steps.append(torch.cat([p.grad.flatten() for group in self.param_groups for p in group["params"]]))


def assert_near(found, expected, dtype):
    if dtype is torch.bfloat16:
        assert (found - expected).abs().max() <= BF16 * expected.abs().max()
    else:
        tolerance = 1e-12 if dtype is torch.float64 else 1e-5
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())


def run(model, wrapper, sizes, numbers=None):
    """Train on one micro-batch of each size; the items of all lie one behind the other."""
    inputs, targets = items(sum(sizes), next(model.parameters()).dtype)
    wrapper.initialize_count_status(model, 0, len(sizes))
    for index, batch in enumerate(zip(inputs.split(sizes), targets.split(sizes), strict=True)):
        wrapper.enter_iteration(index)
        with wrapper.optim_context(model):
            loss = mean_loss(model, batch)
        wrapper.update_params(loss, **({} if numbers is None else {"num_items": numbers[index]}))
    return inputs, targets


def expected_gradients(model, data, sizes, counts):
    """Return the gradient of the mean over each group's items, as one big batch gives it, in float64."""
    whole = copy.deepcopy(model).double()
    inputs, targets = (part.double() for part in data)
    found = []
    for start in range(0, len(sizes), counts):
        begin, end = sum(sizes[:start]), sum(sizes[: start + counts])
        whole.zero_grad()
        mean_loss(whole, (inputs[begin:end], targets[begin:end])).backward()
        found.append(gradients(whole).clone())
    return found


dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])


@dtypes
@settings(max_examples=40)
@given(counts=st.integers(1, 7), iterations=st.integers(1, 15), size=st.integers(1, 6))
def test_micro_batches_of_one_size_are_one_big_batch(dtype, counts, iterations, size):
    model, sizes = network(dtype), [size] * iterations
    wrapper = OptimWrapper(Keep(model.parameters()), accumulative_counts=counts)
    data = run(model, wrapper, sizes)
    for found, expected in zip(wrapper.optimizer.steps, expected_gradients(model, data, sizes, counts), strict=True):
        assert_near(found.double(), expected, dtype)


@dtypes
@settings(max_examples=40)
@given(
    counts=st.integers(1, 7),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=15),
    as_tensors=st.booleans(),
)
def test_micro_batches_of_any_sizes_are_one_big_batch_with_their_items(dtype, counts, sizes, as_tensors):
    model = network(dtype)
    wrapper = OptimWrapper(Keep(model.parameters()), accumulative_counts=counts)
    numbers = [torch.tensor(size) if as_tensors and index % 2 == 0 else size for index, size in enumerate(sizes)]
    data = run(model, wrapper, sizes, numbers)
    for found, expected in zip(wrapper.optimizer.steps, expected_gradients(model, data, sizes, counts), strict=True):
        assert_near(found.double(), expected, dtype)


@settings(max_examples=15)
@given(counts=st.integers(1, 4), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_float16_with_a_scaler_gives_it_too(counts, sizes):
    """In float16, with the autocast of the CPU: 11 bits, so a hundredth of the largest gradient is wide enough."""
    model = network(torch.float32)
    wrapper = AmpOptimWrapper(
        optimizer=Keep(model.parameters()), dtype="float16", loss_scale=1024, accumulative_counts=counts
    )
    data = run(model, wrapper, sizes, sizes)
    expected = expected_gradients(model, data, sizes, counts)
    assert len(wrapper.optimizer.steps) == len(expected)  # none overflowed
    for found, one in zip(wrapper.optimizer.steps, expected, strict=True):
        assert (found.double() - one).abs().max() <= 1e-2 * one.abs().max()


def test_many_items_do_not_overflow_float16():
    """Counted one by one, 60,000 items times the scale of 65,536 would overflow in each step."""
    model = network(torch.float32)
    wrapper = AmpOptimWrapper(
        optimizer=Keep(model.parameters()), dtype="float16", loss_scale=2.0**12, accumulative_counts=2
    )
    run(model, wrapper, [3, 4, 5, 4], [60_000, 80_000, 100_000, 90_000])
    assert len(wrapper.optimizer.steps) == 2


def test_clipping_sees_the_mean():
    parameter = nn.Parameter(torch.tensor([0.0]))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=1.0), accumulative_counts=2, clip_grad={"max_norm": 2.0})
    wrapper.message_hub = MessageHub("items")
    wrapper.update_params((1.0 * parameter).sum(), num_items=1)
    wrapper.update_params((5.0 * parameter).sum(), num_items=3)
    assert wrapper.message_hub.get_scalar("train/grad_norm").current() == pytest.approx(4.0)
    assert parameter.item() == pytest.approx(-2.0)


@pytest.mark.parametrize("numbers", [(2, None), (None, 2), (torch.tensor(2), None)])
def test_with_and_without_them_in_one_group_is_refused(numbers):
    parameter = nn.Parameter(torch.ones(1))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=1.0), accumulative_counts=2)
    wrapper.update_params(parameter.sum(), num_items=numbers[0])
    with pytest.raises(ValueError, match="Pass num_items to each call of update_params, or to none"):
        wrapper.update_params(parameter.sum(), num_items=numbers[1])


def test_the_next_group_may_do_otherwise():
    parameter = nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=1.0), accumulative_counts=2)
    for number in (3, 1, None, None, 1, 3):
        wrapper.update_params(parameter.sum() * (number or 1), num_items=number)
    assert parameter.item() == pytest.approx(-(10 / 4) - 1 - (10 / 4))


def test_dropped_gradients_drop_their_items():
    parameter = nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=1.0), accumulative_counts=3)
    wrapper.update_params(parameter.sum() * 100, num_items=100)
    wrapper.zero_grad()
    wrapper.update_params(parameter.sum(), num_items=2)
    wrapper.update_params(4 * parameter.sum(), num_items=1)
    assert parameter.item() == pytest.approx(-2.0)


def test_a_batch_without_items_has_no_weight():
    parameter = nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=1.0), accumulative_counts=2)
    for number, slope in ((torch.tensor(0), 7.0), (torch.tensor(4), 2.0), (0, 5.0), (0, 5.0)):
        wrapper.update_params(slope * parameter.sum(), num_items=number)
    assert parameter.item() == pytest.approx(-2.0)  # the second group has none at all, and changes nothing


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (1.5, TypeError, "must be an integer or a tensor of one element, but it is 1.5"),
        (True, TypeError, "but it is True"),
        (-1, ValueError, "must not be negative, but it is -1"),
        (torch.ones(3), ValueError, r"one number, but it is a tensor of shape \(3,\). Sum it up"),
    ],
)
def test_impossible_numbers(number, error, message):
    parameter = nn.Parameter(torch.ones(1))
    with pytest.raises(error, match=message):
        OptimWrapper(torch.optim.SGD([parameter], lr=1.0)).update_params(parameter.sum(), num_items=number)


def test_a_loss_is_checked_first():
    parameter = nn.Parameter(torch.ones(1))
    with pytest.raises(TypeError, match="The loss must be a tensor, but it is 3"):
        OptimWrapper(torch.optim.SGD([parameter], lr=1.0)).update_params(3, num_items=2)


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_a_stopped_group_goes_on_with_the_same_bits(stop, as_tensor):
    sizes = [3, 1, 4, 5, 2, 6, 7]
    numbers = [torch.tensor(size) if as_tensor else size for size in sizes]

    def made(state=None):
        model = network(torch.float32)
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), accumulative_counts=3)
        if state is not None:
            model.load_state_dict(state[0])
            wrapper.load_state_dict(state[1])
        return model, wrapper

    def train(model, wrapper, first, last):
        inputs, targets = items(sum(sizes), torch.float32)
        batches = list(zip(inputs.split(sizes), targets.split(sizes), strict=True))
        wrapper.initialize_count_status(model, first, len(sizes))
        for index in range(first, last):
            wrapper.enter_iteration(index)
            wrapper.update_params(mean_loss(model, batches[index]), num_items=numbers[index])

    whole, wrapper = made()
    train(whole, wrapper, 0, len(sizes))
    stopped, wrapper = made()
    train(stopped, wrapper, 0, stop)
    rest, wrapper = made(copy.deepcopy((stopped.state_dict(), wrapper.state_dict())))
    assert set(wrapper.state_dict()) >= {"item_unit", "accumulated"}
    train(rest, wrapper, stop, len(sizes))
    for name, value in whole.state_dict().items():
        assert torch.equal(rest.state_dict()[name], value), name


def test_sparse_gradients_are_averaged_too():
    table = nn.Embedding(4, 2, sparse=True)
    counted = ItemCount()
    counted.weigh(table(torch.tensor([1, 2])).sum(), 3, losses=1).backward()
    counted.average(table.parameters())
    assert table.weight.grad.to_dense()[1].tolist() == [1.0, 1.0]


def test_in_a_run_it_goes_on_with_the_same_bits(make_runner, net, tmp_path):
    from mainspring.hooks import Hook

    class StoppedError(Exception):
        pass

    class Stop(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 3:
                raise StoppedError

    class Counting(net):
        def train_step(self, data, optim_wrapper):
            inputs, labels = self.data_preprocessor(data, True)
            kept = labels != 0
            loss = F.cross_entropy(self.layers(inputs)[kept], labels[kept])
            optim_wrapper.update_params(loss, num_items=kept.sum())
            return {"loss": loss}

    def run(name, **options):
        torch.manual_seed(0)
        runner = make_runner(
            model=Counting(dropout=0.2),
            work_dir=tmp_path / name,
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 3},
            default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False}},
            **options,
        )
        runner.train()
        return runner.model.state_dict()

    whole = run("whole")
    with pytest.raises(StoppedError):
        run("stopped", custom_hooks=[Stop()])
    rest = run("stopped", resume=True)
    for name, value in whole.items():
        assert torch.equal(rest[name], value), name


@pytest.mark.parametrize("counts", [1, 2])
def test_nothing_is_read_from_a_device(counts):
    """Tensors on meta hold nothing: whoever reads one gets an error."""
    model = network(torch.float32).to("meta")
    wrapper = OptimWrapper(
        torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=counts, clip_grad={"max_norm": 1.0}
    )
    wrapper.message_hub = MessageHub("meta")
    number = torch.ones((), dtype=torch.int64, device="meta")
    inputs = torch.ones(3, 4, device="meta")
    for _ in range(4):
        wrapper.update_params(model(inputs).mean(), num_items=number)
    assert wrapper.inner_count == 4
    with pytest.raises(RuntimeError, match="meta"):
        number.item()
