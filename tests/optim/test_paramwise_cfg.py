"""Learning rates and weight decays of single parameters."""

import pytest
from torch import nn

from mainspring.optim import DefaultOptimWrapperConstructor, build_optim_wrapper

LR, DECAY = 0.1, 0.01


class DeformConv2d(nn.Module):
    """Stands for those of mmcv and torchvision, which are known by this name."""

    def __init__(self):
        super().__init__()
        self.conv_offset = nn.Conv2d(2, 18, 3)
        self.bias = nn.Parameter(nn.init.zeros_(nn.Conv2d(1, 2, 1).bias))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4))
        self.deform = DeformConv2d()
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)
        self.scale = nn.Parameter(nn.init.ones_(nn.Linear(1, 1).bias))


def settings(model=None, optimizer=None, **cfg):
    """Return the factors of learning rate and weight decay by the names of parameters."""
    model = model or Net()
    wrapper = build_optim_wrapper(
        model,
        {"optimizer": optimizer or {"type": "SGD", "lr": LR, "weight_decay": DECAY}, "paramwise_cfg": cfg},
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (round(group["lr"] / LR, 6), round(group["weight_decay"] / DECAY, 6))
        for group in wrapper.param_groups
        for parameter in group["params"]
    }


def changed(**cfg):
    return {name: factors for name, factors in settings(**cfg).items() if factors != (1, 1)}


def test_factors_by_what_a_parameter_belongs_to():
    assert changed(norm_decay_mult=0.0) == dict.fromkeys(
        ["stem.1.weight", "stem.1.bias", "norm.weight", "norm.bias"], (1, 0)
    )
    assert changed(bias_lr_mult=2.0, bias_decay_mult=0.5) == {
        "stem.0.bias": (2, 0.5),
        "stem.1.bias": (1, 0.5),
        "stem.2.bias": (2, 0.5),
        "norm.bias": (1, 0.5),
        "head.bias": (2, 0.5),
    }
    assert changed(dwconv_decay_mult=0.3) == {"stem.2.weight": (1, 0.3), "stem.2.bias": (1, 0.3)}
    assert changed(dcn_offset_lr_mult=0.1) == {
        "deform.conv_offset.weight": (0.1, 1),
        "deform.conv_offset.bias": (0.1, 1),
    }
    flat = changed(flat_decay_mult=0.0)
    assert flat["scale"] == flat["head.bias"] == flat["norm.weight"] == (1, 0)
    assert not any(name.startswith("deform") or name == "head.weight" for name in flat)


def test_the_first_factor_of_weight_decay_that_is_meant_counts():
    found = changed(norm_decay_mult=0.2, bias_decay_mult=0.3, dwconv_decay_mult=0.4, flat_decay_mult=0.5)
    assert found["norm.bias"] == (1, 0.2)
    assert found["stem.2.bias"] == (1, 0.3)
    assert found["stem.2.weight"] == (1, 0.4)
    assert found["scale"] == (1, 0.5)


def test_custom_keys_go_before_all_else_and_the_longest_first():
    found = settings(
        custom_keys={"stem": {"lr_mult": 0.1}, "stem.1": {"decay_mult": 0.0}, "head": {"lr_mult": 10, "decay_mult": 2}},
        norm_decay_mult=0.5,
        bias_lr_mult=3,
    )
    assert found["stem.0.bias"] == (0.1, 1), "not that of biases"
    assert found["stem.1.weight"] == (1, 0)
    assert found["head.bias"] == (10, 2)
    assert found["norm.weight"] == (1, 0.5)


def test_options_of_the_optimizer_in_custom_keys():
    model = Net()
    cfg = {
        "optimizer": {"type": "SGD", "lr": LR, "momentum": 0.9},
        "paramwise_cfg": {"custom_keys": {"head": {"momentum": 0.5}}},
    }
    groups = build_optim_wrapper(model, cfg).param_groups
    assert [(len(group["params"]), group["momentum"]) for group in groups] == [(12, 0.9), (2, 0.5)]


def test_groups_of_the_same_settings_are_one_and_all_parameters_are_there(capsys):
    model = Net()
    wrapper = build_optim_wrapper(
        model,
        {
            "optimizer": {"type": "AdamW", "lr": LR, "weight_decay": DECAY},
            "paramwise_cfg": {"norm_decay_mult": 0.0, "custom_keys": {"head": {"lr_mult": 0.5}}},
        },
    )
    assert [len(group["params"]) for group in wrapper.param_groups] == [8, 4, 2]
    assert sum(len(group["params"]) for group in wrapper.param_groups) == len(list(model.parameters()))
    text = capsys.readouterr().out
    assert "Parameter groups of AdamW:" in text
    assert "1: 16 numbers, weight_decay=0: stem.1.weight, stem.1.bias, norm.weight and 1 more" in text
    assert "2: 10 numbers, lr=0.05: head.weight, head.bias" in text


def test_a_key_that_matches_nothing_is_told_with_the_nearest(capsys):
    settings(custom_keys={"haed": {"lr_mult": 0.1}})
    assert "'haed' is in the name of no parameter. Did you mean 'head'" in capsys.readouterr().out
    with pytest.raises(ValueError, match="'haed' is in the name of no parameter"):
        settings(custom_keys={"haed": {"lr_mult": 0.1}}, strict=True)


def test_parameters_that_stand_at_two_places(capsys):
    def tied():
        model = nn.ModuleDict({"first": nn.Linear(2, 2), "second": nn.Linear(2, 2)})
        model["second"].weight = model["first"].weight
        return model

    found = settings(tied(), custom_keys={"first": {"lr_mult": 0.1}})
    assert found["first.weight"] == (0.1, 1)
    assert "The parameters second.weight stand at other places" in capsys.readouterr().out
    settings(tied(), custom_keys={"first": {"lr_mult": 0.1}}, bypass_duplicate=True)
    assert "stand at other places" not in capsys.readouterr().out


def test_frozen_parameters_have_the_optimizer_s_settings():
    model = Net()
    model.norm.requires_grad_(False)
    assert settings(model, norm_decay_mult=0.0)["norm.weight"] == (1, 1)


@pytest.mark.parametrize(
    ("cfg", "error", "message"),
    [
        ({"norm_decay": 0.0}, ValueError, "paramwise_cfg.norm_decay: there is no such option. Did you mean"),
        ({"norm_decay_mult": "0"}, TypeError, "paramwise_cfg.norm_decay_mult must be"),
        ({"custom_keys": {"head": 0.1}}, TypeError, r"custom_keys\['head'\] must be"),
        ({"custom_keys": {"head": {"lr_mult": "0.1"}}}, TypeError, r"custom_keys\['head'\].lr_mult must be a number"),
    ],
)
def test_impossible_options(cfg, error, message):
    with pytest.raises(error, match=message):
        settings(**cfg)


def test_an_optimizer_that_is_made_already_has_its_groups():
    import torch

    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="whose groups are made already"):
        build_optim_wrapper(model, {"optimizer": optimizer, "paramwise_cfg": {"bias_lr_mult": 2}})


def test_a_constructor_of_ones_own_may_add_the_groups():
    class Decaying(DefaultOptimWrapperConstructor):
        def add_params(self, params, module, prefix="", is_dcn_module=None):
            for depth, child in enumerate(module.children()):
                lr = self.base_lr * self.paramwise_cfg["rate"] ** depth
                params += [{"params": [parameter], "lr": lr, "depth": depth} for parameter in child.parameters()]

    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    cfg = {"constructor": Decaying, "optimizer": {"type": "SGD", "lr": 0.4}, "paramwise_cfg": {"rate": 0.5}}
    groups = build_optim_wrapper(model, cfg).param_groups
    assert [(len(group["params"]), group["lr"], group["depth"]) for group in groups] == [
        (2, 0.4, 0), (2, 0.2, 1), (2, 0.1, 2)
    ]  # fmt: skip
