"""The optimizer is called directly, but not past anybody who listens."""

import functools

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from mainspring.optim import OptimWrapper


class Counting(torch.optim.SGD):
    """Overrides both calls."""

    calls = ()

    def step(self, closure=None):
        self.calls += ("step",)
        return super().step(closure)

    def zero_grad(self, set_to_none=True):
        self.calls += ("zero_grad",)
        return super().zero_grad(set_to_none)


def update(optimizer, **kwargs):
    wrapper = OptimWrapper(optimizer)
    weight = optimizer.param_groups[0]["params"][0]
    before = weight.detach().clone()
    wrapper.update_params((weight * torch.arange(3.0)).sum(), **kwargs)
    return before - weight.detach()


def new(kind=torch.optim.SGD, **options):
    return kind([nn.Parameter(torch.ones(3))], lr=0.5, **options)


def test_the_step_is_made():
    for options in ({}, {"momentum": 0.9}, {"fused": True}):
        optimizer = new(**options)
        torch.testing.assert_close(update(optimizer), torch.tensor([0.0, 0.5, 1.0]))
        assert optimizer.param_groups[0]["params"][0].grad is None


def test_nothing_stands_between_when_nobody_listens(monkeypatch):
    entered = []
    enter = torch.autograd.profiler.record_function.__enter__
    monkeypatch.setattr(
        torch.autograd.profiler.record_function, "__enter__", lambda self: entered.append(self.name) or enter(self)
    )
    update(new())
    assert entered == []
    new().step()
    assert entered == ["Optimizer.step#SGD.step"]


def test_a_profiler_sees_the_marks():
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        update(new())
    names = {event.key for event in profile.key_averages()}
    assert {"Optimizer.step#SGD.step", "Optimizer.zero_grad#SGD.zero_grad"} <= names


def test_hooks_on_the_optimizer_are_called():
    optimizer, heard = new(), []
    optimizer.register_step_pre_hook(lambda *args: heard.append("before"))
    optimizer.register_step_post_hook(lambda *args: heard.append("after"))
    update(optimizer)
    assert heard == ["before", "after"]


def test_hooks_on_all_optimizers_are_called():
    heard = []
    handles = [
        register_optimizer_step_pre_hook(lambda *args: heard.append("before")),
        register_optimizer_step_post_hook(lambda *args: heard.append("after")),
    ]
    try:
        update(new())
    finally:
        for handle in handles:
            handle.remove()
    assert heard == ["before", "after"]


def test_overridden_calls_are_called():
    optimizer = new(Counting)
    torch.testing.assert_close(update(optimizer), torch.tensor([0.0, 0.5, 1.0]))
    assert optimizer.calls == ("step", "zero_grad")


def test_calls_set_on_the_object_are_called():
    optimizer, heard = new(), []
    optimizer.step = lambda: heard.append("step")
    optimizer.zero_grad = lambda: heard.append("zero_grad")
    update(optimizer)
    assert heard == ["step", "zero_grad"]


def test_what_others_put_around_the_class_s_step_is_called():
    class Own(torch.optim.SGD):
        pass

    optimizer, heard = new(Own), []
    around = Own.step

    @functools.wraps(around)  # copies the marks of torch, and points to what is within
    def step(self):
        heard.append("step")
        return around(self)

    Own.step = step
    torch.testing.assert_close(update(optimizer), torch.tensor([0.0, 0.5, 1.0]))
    assert heard == ["step"]


@pytest.mark.parametrize("set_to_none", [True, False])
def test_arguments_arrive(set_to_none):
    optimizer = new()
    update(optimizer, zero_kwargs={"set_to_none": set_to_none})
    assert (optimizer.param_groups[0]["params"][0].grad is None) == set_to_none


def test_arguments_of_the_step_arrive():
    optimizer, heard = new(), []

    def closure():
        heard.append("closure")
        return torch.zeros(())

    update(optimizer, step_kwargs={"closure": closure})
    assert heard == ["closure"]
