"""Which optimizers get torch's fused step unasked."""

import pytest
import torch
from torch import nn

from mainspring.optim import build_optim_wrapper
from mainspring.optim import fused as fused_module

ADAM = {"type": "Adam", "lr": 0.01}


class Own(torch.optim.SGD):
    pass


def fused(cfg, model=None):
    return build_optim_wrapper(model or nn.Linear(2, 2), {"optimizer": cfg}).defaults.get("fused")


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adagrad"])
def test_those_of_torch_that_have_one(name):
    assert fused({"type": name, "lr": 0.01, "maximize": True}) is True
    assert fused({"type": getattr(torch.optim, name), "lr": 0.01}) is True


@pytest.mark.parametrize("choice", [{"fused": False}, {"foreach": True}, {"foreach": False}, {"capturable": True}])
def test_not_against_what_the_config_says(choice):
    assert not fused({**ADAM, **choice})


@pytest.mark.parametrize("kind", ["RMSprop", "LBFGS", Own])
def test_not_what_has_none_or_is_the_users_own(kind):
    assert not fused({"type": kind, "lr": 0.01})


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear(2, 2, dtype=torch.bfloat16),
        nn.Linear(2, 2, dtype=torch.complex64),
        nn.Linear(2, 2, device="meta"),
        nn.Sequential(nn.Linear(2, 2), nn.Embedding(3, 2, sparse=True)),
        nn.EmbeddingBag(3, 2, sparse=True),
    ],
    ids=["half", "complex", "meta", "sparse", "bag"],
)
def test_not_where_a_parameter_speaks_against_it(model):
    assert not fused({"type": "SGD", "lr": 0.1}, model)


def test_not_an_optimizer_that_is_given():
    model = nn.Linear(2, 2)
    assert not build_optim_wrapper(model, torch.optim.SGD(model.parameters(), lr=0.1)).defaults["fused"]


def test_results_differ_by_rounding_alone():
    def trained(**choice):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
        wrapper = build_optim_wrapper(model, {"optimizer": {**ADAM, "weight_decay": 0.1, **choice}})
        for _ in range(30):
            wrapper.update_params(model(torch.randn(4, 8)).square().mean())
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    torch.testing.assert_close(trained(), trained(fused=False), rtol=0, atol=1e-5)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, step):
        x = torch.arange(6.0).view(2, 3) / (step + 1)
        return (self.first(x) + (self.second(x) if step > 2 else 0)).square().mean()


@pytest.mark.parametrize("resume_at", [None, 2, 5])
def test_a_layer_may_get_its_first_gradient_later(resume_at):
    def trained(**choice):
        torch.manual_seed(0)
        model = Branches()
        cfg = {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": True, **choice}}
        wrapper = build_optim_wrapper(model, cfg)
        for step in range(8):
            if step == resume_at:
                state = wrapper.state_dict()
                wrapper = build_optim_wrapper(model, cfg)
                wrapper.load_state_dict(state)
            wrapper.update_params(model(step))
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    torch.testing.assert_close(trained(), trained(fused=False), rtol=0, atol=1e-5)


def test_damped_momentum_is_left_as_it_is():
    assert not fused({"type": "SGD", "lr": 0.1, "momentum": 0.9, "dampening": 0.1})


def test_a_state_of_before_the_fused_step_is_completed():
    model = Branches()
    plain = build_optim_wrapper(model, {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "fused": False}})
    plain.update_params(model(0))  # the second layer has no momentum yet
    wrapper = build_optim_wrapper(model, {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}})
    wrapper.load_state_dict(plain.state_dict())
    wrapper.update_params(model(3))
    assert all("momentum_buffer" in wrapper.optimizer.state[parameter] for parameter in model.parameters())


OPTIMIZERS = {
    "SGD": {"type": "SGD", "lr": 0.1, "momentum": 0.9},
    "Adam": {"type": "Adam", "lr": 0.05},
    "Adagrad": {"type": "Adagrad", "lr": 0.05},
}


class Weight(nn.Module):
    def __init__(self, values):
        super().__init__()
        self.weight = nn.Parameter(values)

    def forward(self, step):
        return ((self.weight * (step + 1)).sin() + self.weight.square()).sum()


def both(cfg, make, change=None, resumed=None):
    """Train with the fused step and the plain one."""
    ends = []
    for choice in ({}, {"fused": False}):
        torch.manual_seed(0)
        model = make()
        wrapper = build_optim_wrapper(model, {"optimizer": {**cfg, **choice}})
        for step in range(6):
            if step == 3 and change is not None:
                change(model, wrapper)
            if step == 3 and resumed is not None:
                state = wrapper.state_dict()
                model = resumed(model)
                wrapper = build_optim_wrapper(model, {"optimizer": {**cfg, **choice}})
                wrapper.load_state_dict(state)
            wrapper.update_params(model(step))
        ends.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(*ends, rtol=0, atol=1e-5)
    return wrapper


@pytest.mark.parametrize("cfg", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize(
    "cut", [lambda w: w[:, :1], lambda w: w[::2], lambda w: w.t()[:2], lambda w: w.chunk(2, 1)[1], lambda w: w.t()]
)
def test_weights_that_are_cut_out_of_others(cfg, cut):
    both(cfg, lambda: Weight(cut(torch.randn(4, 6))))


@pytest.mark.parametrize("cfg", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_layout_that_changes_while_that_of_gradients_stays(cfg):
    """Which only the strides of the weights tell."""

    def trained(**choice):
        torch.manual_seed(0)
        model = Weight(torch.randn(4, 6))
        wrapper = build_optim_wrapper(model, {"optimizer": {**cfg, **choice}})
        for step in range(6):
            if step == 3:
                model.weight.data = model.weight.data.t().contiguous().t()
            model.weight.grad = torch.arange(24.0).add(step).view(4, 6).sin()
            wrapper.step()
        return model.weight.detach()

    torch.testing.assert_close(trained(), trained(fused=False))


@pytest.mark.parametrize("cfg", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_model_that_is_cast_within_the_training(cfg):
    model = Weight(torch.ones(4, 6))
    wrapper = build_optim_wrapper(model, {"optimizer": cfg})
    for step in range(4):
        if step == 2:
            model.double()
        wrapper.update_params(model(step))
    state = wrapper.optimizer.state[model.weight]
    assert {value.dtype for value in state.values() if value.shape == (4, 6)} == {torch.float64}


def test_momentum_that_a_schedule_begins():
    def begin(model, wrapper):
        wrapper.param_groups[0]["momentum"] = 0.9

    both({**OPTIMIZERS["SGD"], "momentum": 0.0}, lambda: Weight(torch.randn(4, 6)), change=begin)


def test_what_has_not_changed_is_not_looked_at_again(monkeypatch):
    looked = []
    look = fused_module._look_at_all
    monkeypatch.setattr(fused_module, "_look_at_all", lambda *args: looked.append(1) or look(*args))
    model = Branches()
    wrapper = build_optim_wrapper(model, {"optimizer": OPTIMIZERS["Adam"]})
    counts = []
    for step in range(8):
        wrapper.update_params(model(step))  # from the fourth step on, the second layer has gradients
        counts.append(len(looked))
    assert counts == [1, 2, 2, 3, 4, 4, 4, 4]
    wrapper.load_state_dict(wrapper.state_dict())
    wrapper.update_params(model(8))
    assert len(looked) == 5


@pytest.mark.parametrize("cfg", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_layout_that_changes_within_the_training(cfg):
    def turn(model, wrapper):
        model.weight.data = model.weight.data.t().contiguous().t()

    both(cfg, lambda: Weight(torch.randn(4, 6)), change=turn)


@pytest.mark.parametrize("cfg", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_layout_that_changes_with_a_resume(cfg):
    both(
        cfg, lambda: Weight(torch.randn(4, 6)), resumed=lambda m: Weight(m.weight.detach().t().contiguous().t().clone())
    )


@pytest.mark.parametrize("cfg", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_gradients_that_somebody_has_set(cfg):
    def run(**choice):
        model = Weight(torch.ones(4, 6))
        wrapper = build_optim_wrapper(model, {"optimizer": {**cfg, **choice}})
        model.weight.grad = torch.arange(24.0).view(6, 4).t()
        wrapper.step()
        return model.weight.detach()

    torch.testing.assert_close(run(), run(fused=False))


def test_groups_that_are_added_later():
    class Grows(Branches):
        def forward(self, step):
            return super().forward(max(step - 2, 0)) + (self.third(torch.ones(1, 3)).sum() if step > 4 else 0)

    def grow(model, wrapper):
        model.third = nn.Linear(3, 2)
        wrapper.optimizer.add_param_group({"params": model.third.parameters()})

    both(OPTIMIZERS["SGD"], Grows, change=grow)


def test_sparse_gradients_that_no_module_tells_of(capsys):
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 3))

        def forward(self, step):
            return nn.functional.embedding(torch.tensor([step % 5]), self.weight, sparse=True).square().sum()

    wrapper = both(OPTIMIZERS["SGD"] | {"momentum": 0.0}, Words)
    assert "gets sparse gradients, so that SGD takes torch's plain step from now on" in capsys.readouterr().out
    assert not wrapper.optimizer.param_groups[0]["fused"]


def test_frozen_parameters_take_no_memory():
    model = Branches()
    model.second.requires_grad_(False)
    wrapper = build_optim_wrapper(model, {"optimizer": OPTIMIZERS["SGD"]})
    wrapper.update_params(model(0))
    assert list(wrapper.optimizer.state) == list(model.first.parameters())


def test_a_model_that_is_cast_before_its_first_step():
    model = Weight(torch.ones(3))
    wrapper = build_optim_wrapper(model, {"optimizer": OPTIMIZERS["SGD"]})
    model.double()
    wrapper.update_params(model(0))
    assert model.weight.dtype == torch.float64
