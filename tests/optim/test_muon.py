"""Muon for hidden matrices with AdamW for the rest, as one optimizer."""

import copy
import pickle

import pytest
import torch
from torch import nn

from mainspring.optim import ConstantLR, ConstantMomentum, MuonWithAdamW, build_optim_wrapper
from mainspring.optim.muon import hidden_matrices

CFG = {"type": "MuonWithAdamW", "lr": 0.05, "adamw_lr": 0.003}


class Words(nn.Module):
    """A small language model."""

    def __init__(self, tied=False):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.positions = nn.Parameter(torch.zeros(5, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mix = nn.Conv1d(5, 5, 1)
        self.norm = nn.LayerNorm(8)
        self.hidden = nn.Linear(8, 8)
        self.output = nn.Linear(8, 11)
        if tied:
            self.output.weight = self.embedding.weight

    def forward(self, words):
        x = self.embedding(words) + self.positions
        x = x + self.attention(x, x, x)[0]
        return self.output(self.hidden(self.norm(self.mix(x))).tanh())


def loss_of(model, step):
    words = torch.arange(20).view(4, 5).add(step).remainder(11)
    return nn.functional.cross_entropy(model(words).flatten(0, 1), words.roll(1, 1).flatten())


def trained(model, update, begin=0, end=8):
    for step in range(begin, end):
        update(loss_of(model, step))


def weights(model):
    return [parameter.detach().numpy().tobytes() for parameter in model.parameters()]


def names_of(model, parameters):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for parameter in parameters]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_which_parameters_are_hidden_matrices():
    model = Words()
    expected = ["attention.in_proj_weight", "attention.out_proj.weight", "hidden.weight"]
    assert names_of(model, hidden_matrices(model)) == expected
    model = Words(tied=True)
    assert names_of(model, hidden_matrices(model)) == expected


def test_keys_choose_others():
    model = Words()
    assert names_of(model, hidden_matrices(model, adamw_keys=["attention"])) == ["hidden.weight"]
    chosen = names_of(model, hidden_matrices(model, adamw_keys=["attention"], muon_keys=["positions", "output.weight"]))
    assert chosen == ["positions", "hidden.weight", "output.weight"]
    with pytest.raises(ValueError, match=r"adamw_keys: 'atention' is in the name of no parameter. Did you mean 'atten"):
        hidden_matrices(model, adamw_keys=["atention"])
    with pytest.raises(
        ValueError, match=r"name 'mix.weight', but Muon is for matrices, and it has the shape \(5, 5, 1"
    ):
        hidden_matrices(model, muon_keys=["mix.weight"])
    with pytest.raises(TypeError, match="adamw_keys must be a list of parts of names, but it is 'hidden'"):
        hidden_matrices(model, adamw_keys="hidden")


def test_a_model_without_hidden_matrices_is_told_of(capsys):
    wrapper = build_optim_wrapper(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2)), {"optimizer": CFG})
    assert "finds no weight matrix of a hidden layer in Sequential" in capsys.readouterr().out
    wrapper.update_params(sum(p.sum() for group in wrapper.param_groups for p in group["params"]))
    assert [group["use_muon"] for group in wrapper.param_groups] == [False]


@pytest.mark.parametrize("choice", [{}, {"fused": False}, {"foreach": True}])
def test_the_bits_are_those_of_two_optimizers_of_torch(choice):
    model = Words()
    twin = copy.deepcopy(model)
    wrapper = build_optim_wrapper(model, {"optimizer": {**CFG, "momentum": 0.9, "adamw_betas": (0.8, 0.9), **choice}})
    trained(model, wrapper.update_params)

    matrices = hidden_matrices(twin)
    others = [p for p in twin.parameters() if not any(p is matrix for matrix in matrices)]
    by_hand = [
        torch.optim.Muon(matrices, lr=0.05, momentum=0.9),
        torch.optim.AdamW(others, lr=0.003, betas=(0.8, 0.9), **(choice or {"fused": True})),
    ]

    def update(loss):
        loss.backward()
        for optimizer in by_hand:
            optimizer.step()
            optimizer.zero_grad()

    trained(twin, update)
    assert weights(model) == weights(twin)
    assert wrapper.param_groups[1]["fused"] is (True if not choice else choice.get("fused"))


def test_one_list_of_groups_with_muon_first(capsys):
    wrapper = build_optim_wrapper(Words(), {"optimizer": CFG})
    assert wrapper.get_lr() == {"lr": [0.05, 0.003]}
    assert wrapper.get_momentum() == {"momentum": [0.95, 0.9]}
    assert [len(group["params"]) for group in wrapper.param_groups] == [3, 11]
    text = capsys.readouterr().out
    assert "0: 320 numbers, use_muon=True: attention.in_proj_weight, attention.out_proj.weight, hidden.weight" in text
    assert "lr=0.003" in text


def test_factors_multiply_what_a_parameter_would_have_anyway():
    model = Words()
    paramwise = {"custom_keys": {"attention": {"lr_mult": 0.5, "decay_mult": 0.0}}, "norm_decay_mult": 0.5}
    cfg = {"optimizer": {**CFG, "weight_decay": 0.1, "adamw_weight_decay": 0.2}, "paramwise_cfg": paramwise}
    groups = build_optim_wrapper(model, cfg).param_groups
    found = {
        name: (group["use_muon"], group["lr"], group["weight_decay"])
        for group in groups
        for name in names_of(model, group["params"])
    }
    assert found["attention.in_proj_weight"] == (True, 0.025, 0.0)
    assert found["attention.in_proj_bias"] == (False, 0.0015, 0.0)
    assert found["norm.weight"] == (False, 0.003, 0.1)
    assert found["hidden.weight"] == (True, 0.05, 0.1)
    assert found["output.weight"] == (False, 0.003, 0.2)


def test_a_schedule_scales_each_group_from_its_own_base():
    wrapper = build_optim_wrapper(Words(), {"optimizer": CFG})
    ConstantLR(wrapper, factor=0.5, end=3)
    assert wrapper.get_lr() == {"lr": [0.025, 0.0015]}


@pytest.mark.parametrize("through", ["state", "copy", "pickle"])
def test_a_state_goes_on_with_the_same_bits(through):
    model = Words()
    wrapper = build_optim_wrapper(model, {"optimizer": CFG})
    trained(model, wrapper.update_params, end=4)
    if through == "state":
        twin = copy.deepcopy(model)
        other = build_optim_wrapper(twin, {"optimizer": CFG})
        other.load_state_dict(copy.deepcopy(wrapper.state_dict()))
        update = other.update_params
    else:
        both = (model, wrapper.optimizer)
        twin, optimizer = copy.deepcopy(both) if through == "copy" else pickle.loads(pickle.dumps(both))
        update = build_optim_wrapper(twin, optimizer).update_params
    trained(model, wrapper.update_params, begin=4)
    trained(twin, update, begin=4)
    assert weights(model) == weights(twin)


def test_settings_changed_on_purpose_hold_after_a_resume(capsys):
    model = Words()
    wrapper = build_optim_wrapper(model, {"optimizer": CFG})
    trained(model, wrapper.update_params, end=2)
    changed = build_optim_wrapper(model, {"optimizer": {**CFG, "momentum": 0.8, "adamw_betas": (0.7, 0.9)}})
    changed.load_state_dict(wrapper.state_dict())
    assert changed.param_groups[0]["momentum"] == 0.8
    assert changed.param_groups[1]["betas"] == (0.7, 0.9)
    assert "momentum from 0.95 to 0.8, betas from (0.9, 0.999) to (0.7, 0.9)" in capsys.readouterr().out


def test_the_state_of_another_optimizer_is_refused():
    model = Words()
    wrapper = build_optim_wrapper(model, {"optimizer": CFG})
    state = wrapper.state_dict()
    for group in state["param_groups"]:
        group.pop("eps")
    with pytest.raises(ValueError, match="state of another optimizer than MuonWithAdamW: it has no eps"):
        wrapper.load_state_dict(state)


def test_it_is_an_optimizer_like_others():
    model = Words()
    optimizer = MuonWithAdamW(model, lr=0.05)
    heard = []
    optimizer.register_step_post_hook(lambda *args: heard.append("after"))
    before = weights(model)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        return loss

    assert optimizer.step(closure).requires_grad
    assert heard == ["after"]
    assert all(old != new for old, new in zip(before, weights(model), strict=True))
    extra = nn.Parameter(torch.ones(2, 2))
    optimizer.add_param_group({"params": [extra], "use_muon": True, "lr": 0.5})
    extra.grad = torch.eye(2)
    optimizer.step()
    assert not torch.equal(extra, torch.ones(2, 2))


def test_what_it_cannot_know_it_refuses():
    model = Words()
    with pytest.raises(ValueError, match="Pass the model as params"):
        MuonWithAdamW(model.parameters())
    with pytest.raises(ValueError, match=r"use_muon=True is for matrices, but a parameter has the shape \(8,\)"):
        MuonWithAdamW([{"params": model.norm.parameters(), "use_muon": True}])
    with pytest.raises(ValueError, match="a group gives 'momentum', which is no option of AdamW"):
        MuonWithAdamW([{"params": model.norm.parameters(), "use_muon": False, "momentum": 0.9}])
    with pytest.raises(ValueError, match="choose by names, which groups do not have"):
        MuonWithAdamW([{"params": model.norm.parameters(), "use_muon": False}], adamw_keys=["norm"])


def test_a_schedule_of_the_momentum_is_that_of_both():
    """Groups of Muon have a momentum, those of AdamW the first of their betas; a second schedule finds them so."""
    wrapper = build_optim_wrapper(Words(), {"optimizer": {**CFG, "momentum": 0.9, "adamw_betas": (0.8, 0.99)}})
    schedule = ConstantMomentum(wrapper, factor=0.5, end=2)
    muon, adamw = wrapper.param_groups
    assert (muon["momentum"], adamw["betas"]) == (0.45, (0.4, 0.99))
    state, progress = wrapper.state_dict(), schedule.state_dict()
    fresh = build_optim_wrapper(Words(), {"optimizer": {**CFG, "momentum": 0.9, "adamw_betas": (0.8, 0.99)}})
    fresh.load_state_dict(state)
    again = ConstantMomentum(fresh, factor=0.5, end=2)
    again.load_state_dict(progress)
    for _ in range(2):
        again.step()
    muon, adamw = fresh.param_groups
    assert (muon["momentum"], adamw["betas"]) == (0.9, (0.8, 0.99))


def test_a_momentum_schedule_where_adamw_has_all():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    optimizer = MuonWithAdamW(model, adamw_betas=(0.8, 0.99))
    ConstantMomentum(optimizer, factor=0.5, end=2)
    assert [group["betas"] for group in optimizer.param_groups] == [(0.4, 0.99)]


def test_factors_multiply_what_is_given_by_default_too():
    cfg = {"optimizer": {"type": "MuonWithAdamW"}, "paramwise_cfg": {"norm_decay_mult": 0.0, "bias_lr_mult": 2.0}}
    built = build_optim_wrapper(Words(), cfg)
    settings = {(group["use_muon"], group["lr"], group["weight_decay"]) for group in built.param_groups}
    assert settings == {(True, 0.02, 0.1), (False, 3e-4, 0.01), (False, 6e-4, 0.01), (False, 3e-4, 0.0)}
