import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mainspring import MessageHub, MMLogger, OptimWrapper


def weight(*values, dtype=torch.float64):
    return nn.Parameter(torch.tensor(values, dtype=dtype))


def sgd(parameter, lr=0.1, **options):
    return OptimWrapper(torch.optim.SGD([parameter], lr=lr), **options)


def loss_of(parameter, batch):
    inputs, targets = batch
    return F.mse_loss(inputs @ parameter, targets)


def batches_of(count, size=3):
    generator = torch.Generator().manual_seed(count)
    return [
        (
            torch.randn(size, 2, generator=generator, dtype=torch.float64),
            torch.randn(size, generator=generator, dtype=torch.float64),
        )
        for _ in range(count)
    ]


def test_a_loss_becomes_an_update_and_gradients_are_dropped():
    parameter = weight(1.0, 2.0)
    wrapper = sgd(parameter)
    wrapper.update_params((parameter * parameter).sum())
    assert parameter.tolist() == pytest.approx([0.8, 1.6])
    assert parameter.grad is None


def test_the_parts_of_an_update_can_be_called_by_themselves():
    parameter = weight(1.0)
    wrapper = sgd(parameter)
    wrapper.backward(parameter.sum(), retain_graph=False)
    assert parameter.grad.item() == 1
    wrapper.step()
    wrapper.zero_grad(set_to_none=False)
    assert parameter.grad.item() == 0
    assert parameter.item() == pytest.approx(0.9)


def test_arguments_reach_the_optimizer():
    class Told(torch.optim.SGD):
        told = None

        def step(self, closure=None, *, told=None):
            self.told = told
            return super().step(closure)

    parameter = weight(1.0)
    wrapper = OptimWrapper(Told([parameter], lr=0.1))
    wrapper.update_params(parameter.sum(), step_kwargs={"told": 3}, zero_kwargs={"set_to_none": False})
    assert wrapper.optimizer.told == 3
    assert parameter.grad.item() == 0


def test_a_closure_goes_to_the_optimizer_itself():
    parameter = weight(3.0, -2.0)
    wrapper = OptimWrapper(torch.optim.LBFGS([parameter], max_iter=20))

    def closure():
        wrapper.zero_grad()
        loss = (parameter - 1).square().sum()
        loss.backward()
        return loss

    wrapper.optimizer.step(closure)
    assert parameter.tolist() == pytest.approx([1.0, 1.0])


# Accumulation


@settings(deadline=None, max_examples=60)
@given(counts=st.integers(1, 5), iterations=st.integers(1, 14))
def test_a_group_gives_the_update_of_its_one_big_batch(counts, iterations):
    """The last group, too, which may be smaller than the others."""
    batches = batches_of(iterations)
    accumulated, at_once = weight(0.5, -1.0), weight(0.5, -1.0)

    wrapper = sgd(accumulated, accumulative_counts=counts)
    wrapper.initialize_count_status(nn.Identity(), 0, iterations)
    updates = []
    for batch in batches:
        before = accumulated.detach().clone()
        wrapper.update_params(loss_of(accumulated, batch))
        updates.append(not torch.equal(before, accumulated))

    optimizer = torch.optim.SGD([at_once], lr=0.1)
    for start in range(0, iterations, counts):
        group = batches[start : start + counts]
        optimizer.zero_grad()
        loss_of(at_once, [torch.cat(parts) for parts in zip(*group, strict=True)]).backward()
        optimizer.step()

    torch.testing.assert_close(accumulated, at_once, rtol=1e-12, atol=1e-12)
    assert updates == [(i + 1) % counts == 0 or i + 1 == iterations for i in range(iterations)]


@settings(deadline=None, max_examples=40)
@given(counts=st.integers(2, 4), groups=st.integers(1, 3), rest=st.integers(0, 3), resumed_group=st.integers(0, 3))
def test_a_run_that_is_resumed_between_groups_goes_on_the_same(counts, groups, rest, resumed_group):
    iterations = counts * groups + rest % counts
    start = min(resumed_group, groups) * counts
    batches = batches_of(iterations)
    whole, stopped = weight(0.5, -1.0), weight(0.5, -1.0)
    wrapper = sgd(whole, accumulative_counts=counts)
    wrapper.initialize_count_status(nn.Identity(), 0, iterations)
    for batch in batches:
        wrapper.update_params(loss_of(whole, batch))
    for first, last in ((0, start), (start, iterations)):
        wrapper = sgd(stopped, accumulative_counts=counts)
        wrapper.initialize_count_status(nn.Identity(), first, iterations)
        for batch in batches[first:last]:
            wrapper.update_params(loss_of(stopped, batch))
    assert torch.equal(whole, stopped)


def test_where_a_run_stands_in_its_groups():
    parameter = weight(1.0)
    wrapper = sgd(parameter, accumulative_counts=3)
    wrapper.initialize_count_status(nn.Identity(), 0, 7)
    seen = []
    for _ in range(7):
        sync = wrapper.should_sync()
        wrapper.backward(wrapper.scale_loss(parameter.sum()))
        seen.append((wrapper.inner_count, sync, wrapper.should_update()))
    assert seen == [(n, n in (3, 6, 7), n in (3, 6, 7)) for n in range(1, 8)]


def test_without_a_known_end_every_group_is_whole():
    parameter = weight(1.0)
    wrapper = sgd(parameter, accumulative_counts=3)
    assert [wrapper.scale_loss(torch.tensor(3.0)).item() for _ in range(3)] == [1.0, 1.0, 1.0]
    for _ in range(4):
        wrapper.update_params(parameter.sum())
    assert parameter.item() == pytest.approx(0.9)
    wrapper.initialize_count_status(nn.Identity(), 4, -1)
    assert wrapper.scale_loss(torch.tensor(3.0)).item() == 1.0


@pytest.mark.parametrize("end", [2, 3, 4])
def test_more_updates_than_iterations_are_no_division_by_zero(end):
    """A step may call update_params several times, as for a GAN."""
    parameter = weight(1.0)
    wrapper = sgd(parameter, accumulative_counts=2)
    wrapper.initialize_count_status(nn.Identity(), 0, end)
    for _ in range(2 * end):
        wrapper.update_params(parameter.sum())
    assert math.isfinite(parameter.item())
    assert parameter.item() < 1


def test_accumulation_in_a_run(make_runner, make_loader, net):
    """10 iterations in groups of 4, 4 and 2, as the hand-written loop has them."""
    torch.manual_seed(5)
    model, by_hand = net(), net()
    by_hand.load_state_dict(model.state_dict())
    make_runner(
        model=model,
        train_dataloader=make_loader(),
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 4},
    ).train()

    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    batches = [*make_loader(), *make_loader()]
    for group in (batches[:4], batches[4:8], batches[8:]):
        optimizer.zero_grad()
        for inputs, labels in group:
            (by_hand(inputs, labels, mode="loss")["loss"] / len(group)).backward()
        optimizer.step()
    for name, value in by_hand.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)


def test_resuming_within_a_group_is_said(capsys):
    MMLogger.get_instance("here")
    wrapper = sgd(weight(1.0), accumulative_counts=4)
    wrapper.initialize_count_status(nn.Identity(), 8, 20)
    assert capsys.readouterr().out == ""
    wrapper.initialize_count_status(nn.Identity(), 6, 20)
    assert "inside a group of 4 accumulated iterations" in capsys.readouterr().out


class TwoLosses(nn.Module):
    """Two updates in each step, on what the forward pass returns."""

    def __init__(self):
        super().__init__()
        self.weight = weight(1.0)
        self.updates = []

    def train_step(self, data, optim_wrapper):
        for factor in (1.0, 3.0):
            before = self.weight.item()
            optim_wrapper.update_params(factor * self.weight.sum())
            self.updates.append(round(before - self.weight.item(), 6))
        return {}


@pytest.mark.parametrize(
    ("counts", "iterations", "expected"),
    [
        (1, 2, [1, 3, 1, 3]),
        (4, 6, [0, 0, 0, 2] * 3),
        (2, 5, [0, 2] * 5),
    ],
)
def test_two_losses_in_an_iteration_are_accumulated_as_losses(make_runner, make_loader, counts, iterations, expected):
    """The end of the run is not where so many losses have been counted."""
    model = TwoLosses()
    make_runner(
        model=model,
        train_dataloader=make_loader(),
        train_cfg={"by_epoch": False, "max_iters": iterations},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 1.0}, "accumulative_counts": counts},
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
    ).train()
    assert model.updates == pytest.approx(expected, abs=1e-5)


def test_gradients_of_a_run_that_was_stopped_are_dropped():
    parameter = weight(1.0)
    wrapper = sgd(parameter, accumulative_counts=2)
    wrapper.initialize_count_status(nn.Identity(), 0, 4)
    wrapper.update_params(parameter.sum())
    assert parameter.grad is not None
    wrapper.initialize_count_status(nn.Identity(), 0, 4)
    assert parameter.grad is None


# Clipping


@pytest.mark.parametrize(
    ("clip_grad", "clipped"),
    [
        ({"max_norm": 1.0}, [0.6, -0.8]),
        ({"type": "norm", "max_norm": 1.0}, [0.6, -0.8]),
        ({"max_norm": 100.0}, [3.0, -4.0]),
        ({"max_norm": 1.0, "norm_type": math.inf}, [0.75, -1.0]),
        ({"type": "value", "clip_value": 3.5}, [3.0, -3.5]),
    ],
)
def test_clipping(clip_grad, clipped):
    parameter = weight(0.0, 0.0)
    wrapper = sgd(parameter, lr=1.0, clip_grad=clip_grad)
    wrapper.update_params((parameter * torch.tensor([3.0, -4.0])).sum())
    assert [-value for value in parameter.tolist()] == pytest.approx(clipped, rel=1e-5)


def test_the_norm_before_clipping_is_logged_as_a_tensor_that_nobody_reads():
    class Watched(MessageHub):
        def update_scalar(self, key, value, count=1, resumed=True):
            seen[key] = value
            super().update_scalar(key, value, count, resumed)

    seen = {}
    parameter = weight(0.0, 0.0)
    wrapper = sgd(parameter, clip_grad={"max_norm": 1.0})
    wrapper.message_hub = Watched("watched")
    wrapper.update_params((parameter * torch.tensor([3.0, -4.0])).sum())
    assert isinstance(seen["train/grad_norm"], torch.Tensor)
    assert wrapper.message_hub.get_scalar("train/grad_norm").current() == pytest.approx(5.0)


def test_the_norm_is_that_of_the_whole_group():
    parameter = weight(0.0, 0.0)
    wrapper = sgd(parameter, accumulative_counts=2, clip_grad={"max_norm": 100.0})
    wrapper.message_hub = MessageHub("group")
    for gradient in ([6.0, 0.0], [0.0, 8.0]):
        wrapper.update_params((parameter * torch.tensor(gradient)).sum())
    norms = wrapper.message_hub.get_scalar("train/grad_norm")
    assert norms.total_updates == 1
    assert norms.current() == pytest.approx(5.0)


def test_parameters_without_gradient_are_left_out():
    used, unused = weight(0.0), weight(0.0)
    wrapper = OptimWrapper(torch.optim.SGD([used, unused], lr=1.0), clip_grad={"max_norm": 1.0})
    wrapper.update_params(used.sum() * 3)
    assert used.item() == pytest.approx(-1.0)
    assert unused.item() == 0


def test_the_norm_reaches_the_hub_of_the_run(make_runner):
    runner = make_runner(
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "clip_grad": {"max_norm": 1.0}},
    )
    runner.train()
    norms = runner.message_hub.get_scalar("train/grad_norm")
    assert norms.total_updates == 10
    assert norms.mean(10) > 0


# What it tells, and its state


def test_rates_and_momenta_of_each_group():
    first, second = weight(1.0), weight(1.0)
    groups = [{"params": [first]}, {"params": [second], "lr": 0.5, "momentum": 0.3}]
    wrapper = OptimWrapper(torch.optim.SGD(groups, lr=0.1, momentum=0.9))
    assert wrapper.get_lr() == {"lr": [0.1, 0.5]}
    assert wrapper.get_momentum() == {"momentum": [0.9, 0.3]}
    assert OptimWrapper(torch.optim.Adam([first], betas=(0.8, 0.99))).get_momentum() == {"momentum": [0.8]}
    assert OptimWrapper(torch.optim.Adagrad([first])).get_momentum() == {"momentum": [0]}
    assert wrapper.param_groups is wrapper.optimizer.param_groups
    assert wrapper.defaults is wrapper.optimizer.defaults


def test_the_state_is_that_of_the_optimizer():
    def adam(parameter):
        return OptimWrapper(torch.optim.Adam([parameter], lr=0.1))

    batches = batches_of(6)
    whole, stopped = weight(0.5, -1.0), weight(0.5, -1.0)
    wrapper = adam(whole)
    for batch in batches:
        wrapper.update_params(loss_of(whole, batch))
    wrapper = adam(stopped)
    for batch in batches[:3]:
        wrapper.update_params(loss_of(stopped, batch))
    saved = wrapper.state_dict()
    wrapper = adam(stopped)
    wrapper.load_state_dict({**saved, "entries": "of others are left alone"})
    for batch in batches[3:]:
        wrapper.update_params(loss_of(stopped, batch))
    assert torch.equal(whole, stopped)


def test_its_text_tells_the_options():
    text = repr(sgd(weight(1.0), accumulative_counts=4, clip_grad={"max_norm": 2.0}))
    assert text.startswith("OptimWrapper(accumulative_counts=4, clip_grad={'max_norm': 2.0}, optimizer=SGD (")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"optimizer": nn.Linear(1, 1)}, TypeError, "optimizer must be a torch.optim.Optimizer, but it is Linear"),
        ({"optimizer": torch.optim.SGD}, TypeError, "optimizer must be a torch.optim.Optimizer"),
        ({"accumulative_counts": 0}, ValueError, "accumulative_counts must be at least 1, but it is 0"),
        ({"accumulative_counts": 2.0}, TypeError, "accumulative_counts must be an integer"),
        ({"clip_grad": 1.0}, TypeError, r"clip_grad must be a dict such as dict\(max_norm=1.0\), or None"),
        ({"clip_grad": {}}, TypeError, "clip_grad must be a dict such as"),
        ({"clip_grad": {"type": "norms"}}, ValueError, "clip_grad.type must be 'norm' or 'value', but it is 'norms'"),
        ({"clip_grad": {"norm_type": 2}}, ValueError, "clip_grad.max_norm is missing"),
        ({"clip_grad": {"type": "value", "max_norm": 1}}, ValueError, r"clip_grad\.max_norm: there is no such option"),
        ({"clip_grad": {"max_norms": 1.0}}, ValueError, r"clip_grad\.max_norms.*Did you mean 'max_norm'\?"),
    ],
)
def test_impossible_arguments(arguments, error, message):
    arguments = {"optimizer": torch.optim.SGD([weight(1.0)], lr=0.1), **arguments}
    with pytest.raises(error, match=message):
        OptimWrapper(**arguments)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (0.5, TypeError, r"The loss must be a tensor, but it is 0\.5 \(float\)"),
        (torch.tensor(1.0), ValueError, "The loss carries no gradient"),
    ],
)
def test_impossible_losses(loss, error, message):
    with pytest.raises(error, match=message):
        sgd(weight(1.0)).update_params(loss)
