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


def chain():
    """Return a weight, and a loss that goes through a view, a shared factor, and a function of our own."""

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(3, 4))
    hidden = Twice.apply(weight[1:].exp())
    return weight, (hidden * weight.sum() + hidden).mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradients_are_those_of_torch_s_backward(dtype):
    weight, loss = chain()
    loss.to(dtype).backward()
    other, loss = chain()
    OptimWrapper(torch.optim.SGD([other], lr=0.1)).backward(loss.to(dtype))
    assert torch.equal(weight.grad, other.grad)


def test_gradients_of_several_losses_add_up():
    weight, loss = chain()
    loss.backward(retain_graph=True)
    loss.backward()
    other, loss = chain()
    wrapper = OptimWrapper(torch.optim.SGD([other], lr=0.1))
    wrapper.backward(loss, retain_graph=True)
    wrapper.backward(loss)
    assert torch.equal(weight.grad, other.grad)


def test_a_graph_is_used_up():
    weight, loss = chain()
    wrapper = OptimWrapper(torch.optim.SGD([weight], lr=0.1))
    wrapper.backward(loss)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        wrapper.backward(loss)


def test_a_loss_that_is_no_scalar_is_refused_as_ever():
    weight = nn.Parameter(torch.ones(3))
    with pytest.raises(RuntimeError, match="can be implicitly created only for scalar outputs"):
        OptimWrapper(torch.optim.SGD([weight], lr=0.1)).backward(weight * 2)


@pytest.mark.parametrize(("owner", "name"), [(torch.Tensor, "backward"), (torch.autograd, "backward")])
def test_a_backward_that_others_put_in_place_is_called(monkeypatch, owner, name):
    heard, given = [], getattr(owner, name)

    def listening(*args, **kwargs):
        heard.append(name)
        return given(*args, **kwargs)

    monkeypatch.setattr(owner, name, listening)
    weight, loss = chain()
    OptimWrapper(torch.optim.SGD([weight], lr=0.1)).backward(loss)
    assert heard == ["backward"]
    assert weight.grad is not None


def test_a_mode_sees_the_backward():
    class Seeing(torch.overrides.TorchFunctionMode):
        seen = ()

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.seen += (func,)
            return func(*args, **(kwargs or {}))

    weight, loss = chain()
    with Seeing() as mode:
        OptimWrapper(torch.optim.SGD([weight], lr=0.1)).backward(loss)
    assert torch.Tensor.backward in mode.seen
