import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mainspring.optim import AmpOptimWrapper, OptimWrapper
from mainspring.optim.bad_numbers import BadNumber, GradientWatch, NumberWatch, SkipWatch, takes_flag

NAN, INF = float("nan"), float("inf")

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd, fused": lambda p: torch.optim.SGD(p, lr=0.1, fused=True),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "momentum, fused": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adam, fused": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "adamw, fused": lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True, fused=True),
    "adagrad, fused": lambda p: torch.optim.Adagrad(p, lr=0.1, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1),
}
FUSED = [name for name in OPTIMIZERS if "fused" in name]


@pytest.fixture(autouse=True, params=["on the CPU", "on a device"])
def where_tensors_lie(request):
    if request.param == "on a device":
        request.getfixturevalue("as_on_a_device")


class Net(nn.Module):
    """Its loss is what the batch asks for: good, not finite, or finite with a gradient that is not."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, inputs, kind):
        loss = self.norm(self.linear(inputs)).square().mean() + self.linear.weight.square().sum()
        if kind == "gradient":
            return loss + (self.linear.weight * 0).square().sum().sqrt()
        return loss * {"good": 1.0, "nan": NAN, "inf": INF, "-inf": -INF}[kind]


def batches(kinds):
    generator = torch.Generator().manual_seed(5)
    return [(torch.randn(6, 3, generator=generator), kind) for kind in kinds]


def train(kinds, optimizer, watch=None, **options):
    """Train by the wrapper, as a run does, leaving out steps unless another watch is given."""
    model = Net()
    wrapper = options.pop("wrapper", OptimWrapper)(optimizer=OPTIMIZERS[optimizer](model.parameters()), **options)
    wrapper.watch = SkipWatch(0, model) if watch is None else watch(wrapper.optimizer)
    left_out = []
    for inputs, kind in batches(kinds):
        if isinstance(wrapper.watch, SkipWatch):
            wrapper.watch.begin_iteration()
        with wrapper.optim_context(model):
            loss = model(inputs, kind)
        wrapper.update_params(loss)
        wrapper.watch.end_iteration()
        wrapper.watch.iteration += 1
        left_out.append(wrapper.left_out)
    return model, wrapper, left_out


def train_by_hand(kinds, optimizer, counts=1, max_norm=None, dtype=None):
    """Train without the wrapper, and without the groups of batches of which one is bad."""
    model = Net()
    optimizer = OPTIMIZERS[optimizer](model.parameters())
    data = batches(kinds)
    for begin in range(0, len(data), counts):
        group = data[begin : begin + counts]
        if any(kind != "good" for _, kind in group):
            continue
        for inputs, kind in group:
            with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
                loss = model(inputs, kind)
            (loss / counts).backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def assert_same(model, optimizer, expected_model, expected_optimizer):
    expected = expected_model.state_dict()
    for name, tensor in model.state_dict().items():
        assert tensor.equal(expected[name]), name
    states, expected_states = optimizer.state_dict()["state"], expected_optimizer.state_dict()["state"]
    assert states.keys() == expected_states.keys()
    for index, state in states.items():
        for name, value in state.items():
            assert torch.as_tensor(value).equal(torch.as_tensor(expected_states[index][name])), name


KINDS = ["nan", "good", "inf", "good", "gradient", "good", "good", "-inf", "nan", "good"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_left_out_step_has_not_happened(optimizer):
    model, wrapper, left_out = train(KINDS, optimizer)
    assert_same(model, wrapper.optimizer, *train_by_hand(KINDS, optimizer))
    assert left_out == [kind != "good" for kind in KINDS]
    assert [bad.iteration for bad in wrapper.watch.take()] == [i for i, kind in enumerate(KINDS) if kind != "good"]
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("optimizer", ["momentum", "adam, fused"])
@pytest.mark.parametrize("bad", [0, 1, 2, 5, 7])
@pytest.mark.parametrize("kind", ["nan", "gradient"])
def test_bad_number_drops_its_whole_group(optimizer, bad, kind):
    kinds = ["good"] * 9
    kinds[bad] = kind
    model, wrapper, left_out = train(kinds, optimizer, accumulative_counts=3)
    assert_same(model, wrapper.optimizer, *train_by_hand(kinds, optimizer, counts=3))
    assert left_out.count(True) == 1
    assert left_out[bad // 3 * 3 + 2]


@given(st.lists(st.sampled_from(["good", "good", "nan", "gradient"]), max_size=8), st.sampled_from([1, 2]))
def test_any_sequence_is_that_of_its_good_groups(kinds, counts):
    kinds = kinds[: len(kinds) // counts * counts]
    model, wrapper, _ = train(kinds, "momentum, fused", accumulative_counts=counts)
    assert_same(model, wrapper.optimizer, *train_by_hand(kinds, "momentum, fused", counts))


@pytest.mark.parametrize("optimizer", ["momentum", "adam, fused"])
def test_skipping_with_clipping_and_bfloat16(optimizer):
    model, wrapper, _ = train(KINDS, optimizer, wrapper=AmpOptimWrapper, dtype="bfloat16", clip_grad={"max_norm": 0.5})
    expected = train_by_hand(KINDS, optimizer, max_norm=0.5, dtype=torch.bfloat16)
    assert_same(model, wrapper.optimizer, *expected)


@pytest.mark.parametrize("optimizer", ["momentum", "adam, fused"])
def test_scaler_of_float16_looks_after_gradients_and_the_watch_after_losses(optimizer):
    scales = []

    class Recorded(AmpOptimWrapper):
        def zero_grad(self, **kwargs):
            super().zero_grad(**kwargs)
            scales.append(self.loss_scaler.get_scale())

    options = {"loss_scale": {"init_scale": 8.0, "growth_interval": 2}, "dtype": "float16"}
    kinds = ["good", "nan", "good", "gradient", "good"]
    model, wrapper, left_out = train(kinds, optimizer, wrapper=Recorded, **options)
    assert left_out == [False, True, False, False, False]
    assert scales == [8, 8, 16, 8, 8]  # the bad loss has not lowered it, nor begun the count to the next growth anew
    assert [bad.iteration for bad in wrapper.watch.take()] == [1]
    assert model.norm.num_batches_tracked.item() == 4
    assert all(parameter.isfinite().all() for parameter in model.parameters())


class Reads(TorchDispatchMode):
    """Counts how often a value goes to the host."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["good", "nan", "gradient"])
def test_only_an_optimizer_without_flag_and_its_first_step_wait(optimizer, kind):
    model, wrapper, _ = train(["good"], optimizer)
    wrapper.watch.begin_iteration()
    loss = model(torch.randn(6, 3), kind)
    loss.backward()
    wrapper.watch.note_loss(loss)
    stepped = wrapper.optimizer.step
    with Reads() as reads:
        wrapper.optimizer.step = lambda: None  # what an optimizer reads itself is its own affair
        wrapper.step()
        wrapper.watch.end_iteration()
    wrapper.optimizer.step = stepped
    assert takes_flag(wrapper.optimizer) == (optimizer in FUSED)
    assert reads.count == (0 if optimizer in FUSED else 1)
    assert wrapper.left_out == (kind != "good")


def test_parameter_that_joins_later_has_no_state_that_a_flag_could_spare():
    late = nn.Parameter(torch.ones(2))
    first = nn.Parameter(torch.ones(2))
    wrapper = OptimWrapper(torch.optim.SGD([{"params": [first]}, {"params": [late]}], lr=0.1, momentum=0.9, fused=True))
    wrapper.watch = SkipWatch(0, nn.Module())
    for loss in (lambda: first.sum(), lambda: (first.sum() + late.sum()) * NAN, lambda: (first + late).sum()):
        wrapper.watch.begin_iteration()
        wrapper.update_params(loss())
        wrapper.watch.end_iteration()
    assert wrapper.optimizer.state[late]["momentum_buffer"].tolist() == [1, 1]
    assert late.tolist() == pytest.approx([0.9, 0.9])


def test_dropped_gradients_take_their_loss_with_them():
    weight = nn.Parameter(torch.ones(1))
    wrapper = OptimWrapper(torch.optim.SGD([weight], lr=0.1))
    wrapper.watch = SkipWatch(0, nn.Module())
    wrapper.watch.begin_iteration()
    wrapper.backward(weight.sum() * NAN)
    wrapper.zero_grad()
    wrapper.backward(weight.sum())
    wrapper.step()
    assert weight.item() == pytest.approx(0.9)
    assert not wrapper.left_out


def test_group_goes_on_after_a_stop():
    kinds = ["good", "good", "good", "nan", "good", "good"]
    expected = train_by_hand(kinds, "momentum", counts=3)

    model, wrapper, _ = train(kinds[:4], "momentum", accumulative_counts=3)
    saved = copy.deepcopy((model.state_dict(), wrapper.state_dict(), wrapper.watch.state_dict()))

    resumed = Net()
    resumed.load_state_dict(saved[0])
    wrapper = OptimWrapper(OPTIMIZERS["momentum"](resumed.parameters()), accumulative_counts=3)
    wrapper.load_state_dict(saved[1])
    wrapper.initialize_count_status(resumed, 4, 6)
    wrapper.watch = SkipWatch(4, resumed)
    wrapper.watch.load_state_dict(saved[2])
    for inputs, kind in batches(kinds)[4:]:
        wrapper.watch.begin_iteration()
        wrapper.update_params(resumed(inputs, kind))
        wrapper.watch.end_iteration()
    assert wrapper.left_out
    assert_same(resumed, wrapper.optimizer, *expected)


def test_between_groups_there_is_nothing_to_keep():
    _, wrapper, _ = train(["good"] * 3, "momentum", accumulative_counts=3)
    assert wrapper.watch.state_dict() == {}


# Noting without leaving out.


def noting(optimizer):
    return NumberWatch(0)


def noting_gradients(optimizer):
    return GradientWatch(0, optimizer)


def test_watch_changes_no_bit():
    kinds = ["good"] * 5
    for watch in (noting, noting_gradients):
        model, wrapper, left_out = train(kinds, "adam", watch)
        assert_same(model, wrapper.optimizer, *train_by_hand(kinds, "adam"))
        assert left_out == [False] * 5
        assert wrapper.watch.take() == []


@pytest.mark.parametrize(
    ("options", "watch", "found"),
    [
        ({}, noting, [("loss", 4)]),  # of weights that the gradient has made so
        ({}, noting_gradients, [("gradient", 3), ("loss", 4), ("gradient", 4)]),
        ({"clip_grad": {"max_norm": 1.0}}, noting, [("gradient", 3), ("loss", 4), ("gradient", 4)]),
        ({"clip_grad": {"type": "value", "clip_value": 1.0}}, noting, [("loss", 4)]),
        ({"accumulative_counts": 5}, noting, []),
        ({"accumulative_counts": 5}, noting_gradients, [("gradient", 3), ("gradient", 4)]),
        ({"accumulative_counts": 6}, noting_gradients, [("gradient", 3), ("gradient", 4)]),
        ({"accumulative_counts": 2, "clip_grad": {"max_norm": 1.0}}, noting, [("gradient", 3), ("loss", 4)]),
    ],
)
def test_gradient_is_seen_where_its_norm_is_computed(options, watch, found):
    kinds = ["good", "good", "good", "gradient", "good"]
    _, wrapper, _ = train(kinds, "sgd", watch, **options)
    assert [(bad.what, bad.iteration) for bad in wrapper.watch.take()] == found
    assert wrapper.watch.take() == []


def test_values_of_all_shapes_and_dtypes_are_read():
    watch = NumberWatch(10)
    for loss in (torch.tensor(1.0), torch.tensor([INF]), torch.tensor([[1.0, -INF]]), torch.tensor(NAN).bfloat16()):
        watch.note_loss(loss.requires_grad_())
        watch.iteration += 1
    found = watch.take()
    assert found[0] == BadNumber(INF, "loss", 11)
    assert [bad.iteration for bad in found] == [11, 12, 13]
    assert found[1].value == -INF
    assert math.isnan(found[2].value)


def test_sum_that_overflows_is_no_bad_number():
    watch = NumberWatch(0)
    for _ in range(3):
        watch.note_loss(torch.tensor(1.7e308, dtype=torch.float64))
    assert watch.take() == []


def test_graph_of_a_noted_loss_is_let_go():
    watch = NumberWatch(0)
    watch.note_loss(nn.Parameter(torch.ones(3)).sum())
    assert not any(value.requires_grad for value in watch._losses)


def test_state_is_looked_at():
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    watch = NumberWatch(3)
    weight.grad = torch.tensor([1.0, NAN])
    watch.note_state(optimizer, 6, gathered=False)
    assert watch.take() == []
    watch.note_state(optimizer, 6, gathered=True)
    assert [(bad.what, bad.iteration) for bad in watch.take()] == [("gradient", 6)]
    weight.data[1] = INF
    watch.note_state(optimizer, 6, gathered=False)
    assert [(bad.what, bad.iteration) for bad in watch.take()] == [("weights", 6)]


def test_sum_of_weights_in_half_precision_does_not_overflow():
    weight = nn.Parameter(torch.full((10,), 60_000.0, dtype=torch.float16))
    watch = NumberWatch(0)
    watch.note_state(torch.optim.SGD([weight], lr=0.1), 0, gathered=True)
    assert watch.take() == []


def test_sparse_gradients_are_looked_at():
    table = nn.Embedding(4, 2, sparse=True)
    wrapper = OptimWrapper(torch.optim.SGD(table.parameters(), lr=0.1))
    wrapper.watch = SkipWatch(0, table)
    before = table.weight.detach().clone()
    for factor in (NAN, 1.0):
        wrapper.watch.begin_iteration()
        wrapper.update_params((table(torch.tensor([1, 1])) * factor).sum())
        wrapper.watch.end_iteration()
    expected = before.clone()
    expected[1] -= 0.2
    torch.testing.assert_close(table.weight.detach(), expected)


def test_overflow_that_the_scaler_handles_is_no_bad_number():
    options = {"loss_scale": 8.0, "dtype": "float16", "clip_grad": {"max_norm": 1.0}, "wrapper": AmpOptimWrapper}
    _, wrapper, left_out = train(["good", "gradient", "inf"], "sgd", noting, **options)
    assert wrapper.scales_loss
    assert [(bad.what, bad.iteration) for bad in wrapper.watch.take()] == [("loss", 2)]
    assert left_out == [False] * 3
