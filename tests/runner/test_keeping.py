"""What a trial puts back."""

import copy
import random
from collections import deque

import numpy as np
import torch
from torch import nn

from mainspring.optim import AmpOptimWrapper
from mainspring.runner.keeping import Kept, trial


class Odd(nn.Module):
    """A module that keeps all kinds of things."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.tied = nn.Linear(2, 2)
        self.tied.weight = self.first.weight
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("steady", torch.arange(2.0).expand(3, 2))
        self.register_buffer("grows", torch.zeros(1))
        self.queue = deque([torch.zeros(2)], maxlen=2)
        self.counts = {"calls": 0, "seen": [1]}
        self.calls = 0
        self.generator = torch.Generator().manual_seed(1)
        self.norm.eval()


def spoil(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
            parameter.grad = torch.ones_like(parameter)
    model.train()
    model.first.requires_grad_(False)
    model.norm.running_mean.fill_(float("nan"))
    model.norm.num_batches_tracked = torch.tensor(7)
    model.grows = torch.zeros(5)
    model.queue.append(torch.ones(2))
    model.queue[0].add_(3)
    model.counts["seen"].append(2)
    model.counts["more"] = 1
    model.calls += 1
    model.late = nn.Linear(1, 1)
    torch.rand(3, generator=model.generator)


def test_a_module_comes_back_in_place_as_often_as_one_likes():
    model = Odd()
    model.first.bias.grad = torch.full((2,), 0.5)
    objects = [*model.parameters(), *model.buffers(), model.first.bias.grad, model.queue, model.counts]
    before, drawn = copy.deepcopy(model.state_dict()), torch.rand(3, generator=torch.Generator().manual_seed(1))
    kept = Kept(model)
    for _ in range(2):
        spoil(model)
        with torch.no_grad():
            model.first.bias.grad.mul_(2)
        kept.put_back()
        now = [*model.parameters(), *model.buffers(), model.first.bias.grad, model.queue, model.counts]
        assert all(a is b for a, b in zip(objects, now, strict=True))
        assert list(model.state_dict()) == list(before)
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert model.tied.weight is model.first.weight
        assert model.first.weight.grad is None
        assert model.first.weight.requires_grad
        assert model.first.bias.grad.tolist() == [0.5, 0.5]
        assert (model.training, model.norm.training, model.calls) == (True, False, 0)
        assert [value.tolist() for value in model.queue] == [[0, 0]]
        assert model.counts == {"calls": 0, "seen": [1]}
        assert not hasattr(model, "late")
        assert torch.equal(torch.rand(3, generator=model.generator), drawn)
        kept.put_back()


def test_the_sign_of_zero_and_the_bits_of_nan_come_back():
    layer = nn.Linear(2, 1, bias=False)
    bits = torch.tensor([[-(2**31), 0x7FC00001]], dtype=torch.int32)
    layer.weight.data = bits.view(torch.float32).clone()
    kept = Kept(layer)
    nn.init.zeros_(layer.weight)
    kept.put_back()
    assert torch.equal(layer.weight.detach().view(torch.int32), bits)


def test_optimizers_and_scalers_come_back():
    layer = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(layer.parameters(), lr=torch.tensor(0.1), capturable=False)
    wrapper = AmpOptimWrapper(
        optimizer=optimizer, dtype="float16", loss_scale={"init_scale": 4.0, "growth_interval": 1}
    )
    kept = Kept(layer, wrapper)
    new = [optimizer.state, optimizer.param_groups, optimizer.param_groups[0], optimizer.param_groups[0]["lr"]]
    for value in (1.0, 2.0):
        wrapper.update_params(layer(torch.full((1, 2), value)).sum())
    assert wrapper.loss_scaler.get_scale() == 16
    assert len(optimizer.state) == 2
    optimizer.param_groups[0]["lr"].fill_(7)
    optimizer.param_groups[0]["extra"] = 1
    kept.put_back()
    assert len(optimizer.state) == 0
    assert "extra" not in optimizer.param_groups[0]
    assert optimizer.param_groups[0]["lr"].item() == torch.tensor(0.1).item()
    assert wrapper.loss_scaler.get_scale() == 4
    assert wrapper.inner_count == 0
    now = [optimizer.state, optimizer.param_groups, optimizer.param_groups[0], optimizer.param_groups[0]["lr"]]
    assert all(a is b for a, b in zip(new, now, strict=True))


def test_a_trial_puts_back_generators_and_scalars(make_runner):
    runner = make_runner()
    runner.message_hub.update_scalar("train/loss", 1.0)
    _ = runner.optim_wrapper
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    with trial(runner) as tried:
        for _ in range(2):
            assert runner.model.training
            assert not runner.message_hub.log_scalars
            runner.message_hub.update_scalar("train/loss", 5.0)
            runner.message_hub.update_scalar("train/other", 5.0)
            runner.message_hub.update_info("note", 1)
            random.random(), np.random.rand(), torch.rand(1)
            tried.put_back()
            tried.begin()
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert list(runner.message_hub.log_scalars) == ["train/loss"]
    assert runner.message_hub.get_scalar("train/loss").current() == 1
    assert runner.message_hub.get_info("note") is None
    assert runner.message_hub.state_dict()["resumed_keys"] == {"train/loss": True}
