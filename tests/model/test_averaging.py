"""Averages of weights: their values, their state, and what they refuse."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.overrides import TorchFunctionMode

from mainspring import MODELS
from mainspring.model import (
    BaseAveragedModel,
    ExponentialMovingAverage,
    MomentumAnnealingEMA,
    StochasticWeightAverage,
)


class Net(nn.Module):
    """Has of each kind of tensor one: tied, of another type, whole numbers, not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.decoder = nn.Linear(3, 3, bias=False)
        self.decoder.weight = self.encoder.weight
        self.scale = nn.Parameter(torch.ones(2, dtype=torch.float64))
        self.turns = nn.Parameter(torch.ones(2, dtype=torch.complex64))
        self.lengths = nn.Parameter(torch.tensor([1, 2]), requires_grad=False)
        self.register_buffer("noise", torch.zeros(2), persistent=False)
        self.register_buffer("nothing", None)

    def forward(self, inputs):
        return self.decoder(self.norm(self.encoder(inputs)))


def step(net, number):
    """Change everything in the model, as a step of training does."""
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            if tensor.is_floating_point() or tensor.is_complex():
                tensor.copy_(torch.randn(tensor.shape, dtype=tensor.dtype, generator=generator))
            else:
                tensor.fill_(number)


def averaged_by_hand(weight, interval=1, update_buffers=False, calls=9):
    """Return the state of an average of ``calls`` steps, one tensor after the other; ``weight`` tells the new part."""
    net = Net()
    average = copy.deepcopy(net)
    for number in range(calls):
        step(net, number)
        theirs = dict(net.named_parameters())
        kept = dict(net.named_buffers())
        if update_buffers:
            theirs |= {name: kept.pop(name) for name in ("norm.running_mean", "norm.running_var")}
        own = {**dict(average.named_parameters()), **dict(average.named_buffers())}
        with torch.no_grad():
            for name, tensor in theirs.items():
                if number == 0 or name == "lengths":
                    own[name].copy_(tensor)
                elif number % interval == 0:
                    own[name].lerp_(tensor, weight(number))
            for name, tensor in kept.items():
                own[name].copy_(tensor)
    return tensors(average)


def tensors(module):
    """Return the tensors by name, those that are not saved too."""
    return {name: tensor.clone() for name, tensor in (*module.named_parameters(), *module.named_buffers())}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def run(average, net, calls=range(9)):
    for number in calls:
        step(net, number)
        average.update_parameters(net)
    return average


KINDS = {
    "swa": (StochasticWeightAverage, {}, lambda interval: lambda number: 1 / (number // interval + 1)),
    "ema": (ExponentialMovingAverage, {"momentum": 0.1}, lambda interval: lambda number: 0.1),
    "annealing": (
        MomentumAnnealingEMA,
        {"momentum": 0.3, "gamma": 2},
        lambda interval: lambda number: max(0.3, 2 / (2 + number)),
    ),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


# Values.


@each_kind
@pytest.mark.parametrize("interval", [1, 3])
@pytest.mark.parametrize("update_buffers", [False, True])
def test_same_bits_as_one_tensor_after_the_other(kind, interval, update_buffers):
    cls, options, weight = KINDS[kind]
    net = Net()
    average = run(cls(net, interval=interval, update_buffers=update_buffers, **options), net)
    assert_equal(tensors(average.module), averaged_by_hand(weight(interval), interval, update_buffers))
    assert average.steps.item() == average.updates == 9


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12), st.integers(1, 4))
def test_swa_is_the_mean_of_what_it_saw(values, interval):
    model = nn.Linear(1, 1, bias=False).double()
    average = StochasticWeightAverage(model, interval=interval)
    for value in values:
        nn.init.constant_(model.weight, value)
        average.update_parameters(model)
    seen = values[::interval]
    assert average.module.weight.item() == pytest.approx(sum(seen) / len(seen), abs=1e-9)


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12),
    st.floats(0.001, 0.5),
    st.sampled_from([ExponentialMovingAverage, MomentumAnnealingEMA]),
)
def test_an_average_stays_between_what_it_saw_and_forgets_its_beginning(values, momentum, cls):
    model = nn.Linear(1, 1, bias=False).double()
    average = cls(model, momentum=momentum)
    nn.init.constant_(average.module.weight, 1e6)
    for value in values:
        nn.init.constant_(model.weight, value)
        average.update_parameters(model)
    assert min(values) - 1e-9 <= average.module.weight.item() <= max(values) + 1e-9


def test_the_model_is_left_alone():
    net = Net()
    average = ExponentialMovingAverage(net, momentum=0.1)
    step(net, 1)
    before = {name: (tensor, tensor.clone()) for name, tensor in net.named_parameters()}
    average.update_parameters(net)
    for name, tensor in net.named_parameters():
        assert tensor is before[name][0]
        assert torch.equal(tensor, before[name][1])
    assert net.encoder.weight.requires_grad
    assert not any(tensor.requires_grad for tensor in average.parameters())
    assert average.module.decoder.weight is average.module.encoder.weight
    assert average.module.encoder.weight is not net.encoder.weight


def test_calling_it_calls_the_averaged_model():
    net = Net().eval()
    average = run(ExponentialMovingAverage(net, momentum=0.5), net, range(3))
    inputs = torch.ones(2, 3)
    assert torch.equal(average(inputs), average.module(inputs))
    assert not torch.equal(average(inputs), net(inputs))


class Calls(TorchFunctionMode):
    def __init__(self):
        self.names = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(getattr(func, "__name__", str(func)))
        return func(*args, **(kwargs or {}))


def test_one_call_for_all_tensors_of_a_type():
    net = Net()
    average = ExponentialMovingAverage(net, momentum=0.1)
    average.update_parameters(net)
    with Calls() as calls:
        average.update_parameters(net)
    assert calls.names.count("_foreach_lerp_") == 3  # float32, float64, complex64
    assert not {"lerp_", "copy_", "item", "__int__", "__bool__"} & set(calls.names)


@each_kind
def test_updates_never_read_a_value(kind):
    """On a device without values, whoever asks for one gets an error."""
    cls, options, _ = KINDS[kind]
    net = Net().to("meta")
    average = cls(net, device="meta", interval=2, update_buffers=True, **options)
    for _ in range(5):
        average.update_parameters(net)
    assert average.updates == 5
    assert average.steps.device.type == "meta"


def test_the_average_may_live_on_another_device():
    net = Net()
    average = run(ExponentialMovingAverage(net, momentum=0.1, device="meta"), net)
    assert {tensor.device.type for tensor in average.state_dict().values()} == {"meta"}
    assert {tensor.device.type for tensor in net.state_dict().values()} == {"cpu"}


def test_the_average_may_be_more_precise_than_the_model():
    model = nn.Linear(2, 2).bfloat16()
    average = StochasticWeightAverage(model).float()
    for value in (1.0, 2.0, 2.0):
        nn.init.constant_(model.weight, value)
        average.update_parameters(model)
    assert average.module.weight.dtype is torch.float32
    assert torch.allclose(average.module.weight, torch.tensor(5 / 3))


def test_copy_from_leaves_the_steps():
    net = Net()
    average = run(ExponentialMovingAverage(net, momentum=0.1), net)
    step(net, 20)
    average.copy_from(net)
    assert_equal(tensors(average.module), tensors(net))
    assert average.updates == 9


# A user's own.


class Largest(BaseAveragedModel):
    def avg_func(self, averaged_param, source_param, steps):
        assert type(steps) is int
        averaged_param.copy_(torch.maximum(averaged_param.abs(), source_param.abs()))


class Halfway(ExponentialMovingAverage):
    def avg_func(self, averaged_param, source_param, steps):
        averaged_param.copy_((averaged_param + source_param) / 2)


class Slower(MomentumAnnealingEMA):
    """Written as for MMEngine, where steps is a tensor."""

    def avg_func(self, averaged_param, source_param, steps):
        averaged_param.lerp_(source_param, max(self.momentum, self.gamma / (self.gamma + self.steps.item() ** 2)))


def test_a_subclass_says_how_it_averages():
    net = nn.Linear(2, 2)
    average = run(Largest(net), net, range(1))
    first = average.module.weight.clone()
    run(average, net, range(1, 3))
    step(net, 1)
    second = net.weight.abs()
    step(net, 2)
    assert torch.equal(average.module.weight, torch.maximum(torch.maximum(first.abs(), second), net.weight.abs()))


def test_a_subclass_of_an_average_is_obeyed():
    net = nn.Linear(2, 2)
    average = run(Halfway(net, momentum=0.01), net, range(2))
    step(net, 0)
    first = net.weight.clone()
    step(net, 1)
    assert torch.equal(average.module.weight, (first + net.weight) / 2)


def test_steps_are_a_tensor_that_counts():
    net = nn.Linear(2, 2)
    average = run(Slower(net, momentum=0.01, gamma=4), net, range(3))
    expected = copy.deepcopy(net)
    step(expected, 0)
    for number in (1, 2):
        step(net, number)
        with torch.no_grad():
            expected.weight.lerp_(net.weight, 4 / (4 + number**2))
    assert torch.equal(average.module.weight, expected.weight)


def test_without_a_formula_there_is_no_average():
    with pytest.raises(TypeError, match="abstract method"):
        BaseAveragedModel(nn.Linear(1, 1))


def test_built_by_name():
    average = MODELS.build(
        {"type": "MomentumAnnealingEMA", "gamma": 7, "interval": 2}, default_args={"model": nn.Linear(1, 1)}
    )
    assert type(average) is MomentumAnnealingEMA
    assert (average.momentum, average.gamma, average.interval, average.update_buffers) == (0.0002, 7, 2, False)
    for name in ("StochasticWeightAverage", "ExponentialMovingAverage"):
        assert type(MODELS.build({"type": name, "model": nn.Linear(1, 1)})).__name__ == name


# State.


def test_names_of_the_state():
    average = ExponentialMovingAverage(nn.BatchNorm1d(2))
    names = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert list(average.state_dict()) == ["steps", *(f"module.{name}" for name in names)]
    assert average.state_dict()["steps"].dtype is torch.int64
    assert average.state_dict()["steps"].shape == ()


@each_kind
@pytest.mark.parametrize("stop", range(1, 9))
def test_goes_on_from_its_state_with_the_same_bits(kind, stop):
    """Wherever it stops within the interval, and however far the momentum has fallen."""
    cls, options, weight = KINDS[kind]
    net = Net()
    first = run(cls(net, interval=3, update_buffers=True, **options), net, range(stop))
    state = copy.deepcopy(first.state_dict())
    other = Net()
    step(other, 50)
    second = cls(other, interval=3, update_buffers=True, **options)
    second.load_state_dict(state)
    run(second, net, range(stop, 9))
    assert_equal(tensors(second.module), averaged_by_hand(weight(3), 3, update_buffers=True))


def reset(average):
    average.steps.zero_()


def replace(average):
    average.steps = torch.tensor(0)


def load(average):
    average.load_state_dict({"steps": torch.tensor(0)}, strict=False)


@pytest.mark.parametrize("change", [reset, replace, load])
def test_whoever_sets_the_steps_is_heeded(change):
    net = Net()
    average = run(ExponentialMovingAverage(net, momentum=0.1), net)
    change(average)
    assert average.updates == 0
    step(net, 30)
    average.update_parameters(net)
    assert_equal(tensors(average.module), tensors(net))
    assert average.updates == average.steps.item() == 1


def test_copies_and_moves_keep_the_steps():
    net = nn.Linear(2, 2)
    average = run(ExponentialMovingAverage(net, momentum=0.1), net)
    twin = copy.deepcopy(average)
    run(twin, net, range(9, 11))
    assert (twin.updates, average.updates) == (11, 9)
    assert average.to(torch.float64).updates == 9


# What it refuses.


@pytest.mark.parametrize(
    ("cls", "options", "error", "message"),
    [
        (StochasticWeightAverage, {"interval": 0}, ValueError, r"interval must be at least 1, but it is 0\."),
        (StochasticWeightAverage, {"interval": 1.5}, TypeError, "interval must be an integer"),
        (StochasticWeightAverage, {"update_buffers": 1}, TypeError, "update_buffers must be True or False"),
        (ExponentialMovingAverage, {"momentum": 0.0}, ValueError, r"momentum must lie between 0 and 1, but it is 0\.0"),
        (ExponentialMovingAverage, {"momentum": 1}, ValueError, r"momentum must lie between 0 and 1, but it is 1\."),
        (ExponentialMovingAverage, {"momentum": "big"}, TypeError, "momentum must be a number"),
        (MomentumAnnealingEMA, {"momentum": 2}, ValueError, r"MomentumAnnealingEMA: momentum must lie"),
        (MomentumAnnealingEMA, {"gamma": 0}, ValueError, r"gamma must be positive, but it is 0\."),
        (MomentumAnnealingEMA, {"gamma": None}, TypeError, "gamma must be a number"),
    ],
)
def test_impossible_arguments(cls, options, error, message):
    with pytest.raises(error, match=message):
        cls(nn.Linear(1, 1), **options)


def test_it_takes_a_module():
    with pytest.raises(TypeError, match="ExponentialMovingAverage: model must be Module, but it is 3"):
        ExponentialMovingAverage(3)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(threading.Lock(), r"head\.extra \(lock\)"), (torch.ones(1, requires_grad=True) * 2, r"head\.extra \(Tensor\)")],
)
def test_a_model_that_cannot_be_copied_is_told_what_of_it(value, shown):
    net = nn.Sequential()
    net.add_module("head", nn.Linear(1, 1))
    net.head.extra = value
    with pytest.raises(TypeError, match=rf"Sequential cannot be copied, because of its {shown}: .* __deepcopy__"):
        ExponentialMovingAverage(net)


class Sharded(nn.Linear):
    def __deepcopy__(self, memo):
        raise AssertionError("sharded modules cannot be copied.")


def test_a_module_that_refuses_to_be_copied():
    with pytest.raises(TypeError, match=r"Sharded cannot be copied: AssertionError: sharded .* copied\. Keep such"):
        ExponentialMovingAverage(Sharded(1, 1))
    with pytest.raises(TypeError, match=r"Sequential cannot be copied, because of its 0 \(Sharded\): AssertionError"):
        ExponentialMovingAverage(nn.Sequential(Sharded(1, 1)))


def without_part(net):
    net.norm = None


def without_parameter(net):
    net.encoder.bias = None


def without_buffer(net):
    net.noise = None


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (nn.DataParallel, r"encoder\.weight"),
        (without_part, r"norm\.weight, norm\.bias"),
        (without_parameter, r"encoder\.bias"),
        (without_buffer, "noise"),
    ],
)
def test_another_model_than_the_one_that_is_averaged(change, missing):
    net = Net()
    average = ExponentialMovingAverage(net)
    with pytest.raises(ValueError, match=rf"has no (scale, turns, lengths, )?{missing}.*, which its average has"):
        average.update_parameters(change(net) or net)
    assert average.updates == 0


def test_what_is_added_to_the_model_takes_no_part():
    net = nn.Sequential(nn.Linear(2, 2))
    average = StochasticWeightAverage(net)
    net.append(nn.Linear(2, 2))
    for value in (1.0, 3.0):
        nn.init.constant_(net[0].weight, value)
        average.update_parameters(net)
    assert list(average.module.state_dict()) == ["0.weight", "0.bias"]
    assert torch.equal(average.module[0].weight, torch.full((2, 2), 2.0))


# What it warns of.


@pytest.mark.parametrize(
    ("dtype", "momentum", "text"),
    [
        (torch.float32, 0.9, "for an average over many steps write 0.1, or less"),
        (torch.bfloat16, 0.001, "torch.bfloat16 by less than that type can express"),
        (torch.float16, 0.0002, "torch.float16 by less than that type can express"),
        (torch.float32, 0.0002, None),
        (torch.bfloat16, 0.01, None),
    ],
)
def test_warnings(dtype, momentum, text, capsys):
    ExponentialMovingAverage(nn.Linear(1, 1).to(dtype), momentum=momentum)
    lines = capsys.readouterr().out.splitlines()
    assert [text in line and "WARNING" in line for line in lines] == ([True] if text else [])


class Many(nn.Module):
    """Has vectors enough that they are averaged in one piece, a matrix, and statistics."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(nn.LayerNorm(3 + size) for size in range(6)))
        self.head = nn.Linear(2, 3)
        self.norm = nn.BatchNorm1d(3)


def drift(model, step):
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
        model.norm.running_mean.fill_(step)


def exchange_a_parameter(model, average):
    model.layers[2].weight = nn.Parameter(torch.full((5,), 7.0))


def exchange_a_layer(model, average):
    model.layers[1] = nn.LayerNorm(4)


def exchange_memory(model, average):
    model.layers[0].bias.data = torch.full((3,), 5.0)


def cast_both(model, average):
    model.double()
    average.double()


def cast_the_average(model, average):
    average.module.double()


def exchange_the_average(model, average):
    average.load_state_dict({name: tensor.clone() for name, tensor in average.state_dict().items()}, assign=True)


def put_other_values_in(model, average):
    state = {name: tensor + 1 for name, tensor in average.state_dict().items()}
    average.load_state_dict(state)


@pytest.mark.parametrize(
    "change",
    [
        lambda model, average: None,
        exchange_a_parameter,
        exchange_a_layer,
        exchange_memory,
        cast_both,
        cast_the_average,
        exchange_the_average,
        put_other_values_in,
    ],
)
def test_what_is_found_once_follows_changes(change):
    torch.manual_seed(0)
    model = Many()
    average = ExponentialMovingAverage(model, momentum=0.25)
    for step in range(8):
        if step == 4:
            change(model, average)
        before = {name: tensor.clone() for name, tensor in average.module.named_parameters()}
        drift(model, step)
        average.update_parameters(model)
        for name, tensor in average.module.named_parameters():
            source = model.get_parameter(name).to(tensor.dtype)
            expected = source if step == 0 else before[name] * 0.75 + source * 0.25
            torch.testing.assert_close(tensor, expected, msg=f"{name} at {step}")
        assert average.module.norm.running_mean.tolist() == [step] * 3


def test_a_copy_of_an_average_leaves_the_model_and_the_average_alone():
    model = Many()
    average = ExponentialMovingAverage(model, momentum=0.25)
    for step in range(2):
        drift(model, step)
        average.update_parameters(model)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(average)))
    before = [tensor.clone() for tensor in average.module.parameters()]
    drift(model, 2)
    twin.update_parameters(model)
    assert all(torch.equal(old, new) for old, new in zip(before, average.module.parameters(), strict=True))
    average.update_parameters(model)
    for one, other in zip(average.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)
