"""Learning rates that fall from the last layer to the first, and how the layers are found."""

import pytest
import torch
from torch import nn

from mainspring.optim import DefaultOptimWrapperConstructor, OptimWrapper, build_optim_wrapper
from mainspring.optim.layers import depths_of
from mainspring.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS

CONSTRUCTOR = "LayerDecayOptimWrapperConstructor"
ADAMW = {"type": "AdamW", "lr": 0.8, "weight_decay": 0.1}


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(2)
        self.mlp = nn.Sequential(nn.Linear(2, 2), nn.GELU(), nn.Linear(2, 2), nn.GELU(), nn.Linear(2, 2))


class Transformer(nn.Module):
    """With fewer blocks than each has layers."""

    def __init__(self, blocks=2):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 2))
        self.embedding = nn.Conv2d(3, 2, 1)
        self.blocks = nn.ModuleList(Block() for _ in range(blocks))
        self.norm = nn.LayerNorm(2)
        self.head = nn.Linear(2, 2)


class Residual(nn.Module):
    def __init__(self, change=False):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.shortcut = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)) if change else None


class Pyramid(nn.Module):
    """Stages of blocks, with a layer between them."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 1)
        self.layer1 = nn.Sequential(Residual(True), Residual())
        self.between = nn.Conv2d(2, 2, 1)
        self.layer2 = nn.Sequential(Residual(True), Residual(), Residual())
        self.fc = nn.Linear(2, 2)


class Detector(nn.Module):
    """Has a backbone that tells its layers as those of OpenMMLab do."""

    class Backbone(Pyramid):
        def get_layer_depth(self, param_name, prefix=""):
            if not param_name.startswith(prefix):
                return 2, 3
            return (0 if param_name[len(prefix) :].startswith("stem") else 1), 3

    def __init__(self):
        super().__init__()
        self.neck = nn.Linear(2, 2)
        self.backbone = self.Backbone()


def depths(model, layers=()):
    """Return the depths by the first part of the names."""
    found = {}
    for name, (depth, _) in depths_of(model, layers).items():
        found.setdefault(name.rsplit(".", 1)[0], depth)
    return found


def rates(wrapper, model):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group["lr"] for group in wrapper.param_groups for p in group["params"]}


def built(model, optimizer=ADAMW, **paramwise):
    return build_optim_wrapper(
        model,
        {"optimizer": optimizer, "constructor": CONSTRUCTOR, "paramwise_cfg": {"layer_decay_rate": 0.5, **paramwise}},
    )


def test_embedding_blocks_head():
    found = depths(Transformer(3))
    assert found["cls_token"] == found["embedding"] == 0
    assert [found[f"blocks.{i}.norm"] for i in range(3)] == [1, 2, 3]
    assert found["blocks.1.mlp.4"] == 2
    assert found["norm"] == found["head"] == 4
    assert {count for _, count in depths_of(Transformer(3)).values()} == {5}


def test_blocks_in_several_stacks_are_counted_on():
    found = depths(Pyramid())
    assert found["stem"] == 0
    assert [found[f"layer1.{i}.conv"] for i in range(2)] == [1, 2]
    assert found["between"] == 2
    assert [found[f"layer2.{i}.conv"] for i in range(3)] == [3, 4, 5]
    assert found["layer2.0.shortcut.0"] == 3
    assert found["fc"] == 6


def test_single_layers_and_stacks_of_stacks():
    def convolution():
        return nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU())

    assert depths(nn.Sequential(convolution(), convolution(), nn.Linear(2, 2))) == {
        "0.0": 1, "0.1": 1, "1.0": 2, "1.1": 2, "2": 3,
    }  # fmt: skip
    flat = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.ReLU(), nn.Linear(2, 2))
    assert depths(flat) == {"0": 1, "1": 1, "3": 2}


def test_what_a_model_tells_goes_before_what_is_found():
    found = depths(Detector())
    assert found["neck"] == 2
    assert found["backbone.stem"] == 0
    assert found["backbone.layer2.1.conv"] == 1

    class Whole(Transformer):
        def get_layer_depth(self, param_name):
            return int(param_name.startswith("head")), 2

    assert depths(Whole())["head"] == 1
    Whole.get_layer_depth = lambda self, param_name: (2, 2)
    with pytest.raises(ValueError, match=r"for 'cls_token' it returned \(2, 2\)"):
        depths(Whole())


def test_what_the_user_names_goes_before_all_else():
    found = depths(Detector(), ["backbone.stem", "backbone.layer1.0", "backbone", "neck"])
    assert found["backbone.stem"] == 0
    assert found["backbone.layer1.0.conv"] == 1
    assert found["backbone.layer1.1.conv"] == 2
    assert found["neck"] == 3
    assert depths(Transformer(), ["blocks.0", "blocks.1"])["head"] == 1
    with pytest.raises(ValueError, match=r"begins with 'block.0'. Did you mean 'blocks.0' or"):
        depths(Transformer(), ["block.0"])


def test_without_layers_it_says_what_to_do():
    with pytest.raises(ValueError, match=r"No layers are found in Residual: .*layers=\['stem'"):
        depths_of(Residual())


def test_rates_fall_from_the_head(capsys):
    model = Transformer()
    found = rates(built(model), model)
    assert found["head.weight"] == found["norm.bias"] == 0.8
    assert found["blocks.1.mlp.0.weight"] == 0.4
    assert found["blocks.0.norm.weight"] == 0.2
    assert found["cls_token"] == 0.1
    text = capsys.readouterr().out
    assert "0: lr * 0.125: cls_token, embedding.weight, embedding.bias" in text
    assert "1: lr * 0.25: blocks.0.norm.weight, blocks.0.norm.bias, blocks.0.mlp.0.weight and 5 more" in text
    assert "Parameter groups of AdamW" in text


def test_other_factors_come_on_top():
    model = Transformer()
    keys = {"cls_token": {"lr_mult": 2.0, "decay_mult": 0.0}, "head": {"lr": 0.7}}
    wrapper = built(model, custom_keys=keys, norm_decay_mult=0.0, bias_lr_mult=3.0)
    found = rates(wrapper, model)
    assert found["cls_token"] == 0.2
    assert found["head.weight"] == 0.7
    assert found["blocks.0.mlp.0.bias"] == pytest.approx(0.6)
    assert {group["weight_decay"] for group in wrapper.param_groups} == {0.0, 0.1}


def test_each_part_of_muon_with_adamw_decays_from_its_own_rate():
    model = Transformer()
    found = rates(built(model, {"type": "MuonWithAdamW", "lr": 0.8, "adamw_lr": 0.08}), model)
    assert found["blocks.1.mlp.0.weight"] == 0.4
    assert found["blocks.1.mlp.0.bias"] == 0.04
    assert found["head.weight"] == 0.08


def test_options_that_cannot_be():
    with pytest.raises(ValueError, match=r"layer_decay_rate must lie between 0 and 1, but it is 2"):
        built(Transformer(), layer_decay_rate=2.0)
    with pytest.raises(ValueError, match=r"layer_decay_rat: there is no such option. Did you mean 'layer_decay_rate'"):
        built(Transformer(), layer_decay_rat=0.5)
    with pytest.raises(ValueError, match=r"layer_decay_rate is a factor of lr, which optim_wrapper.optimizer does not"):
        built(Transformer(), {"type": "AdamW"})


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OneOfTheUser:
    """Has MMEngine's signature, and nothing of ours."""

    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        self.cfg, self.paramwise_cfg = optim_wrapper_cfg, paramwise_cfg

    def __call__(self, model):
        groups = [{"params": [p], "lr": self.paramwise_cfg["rate"]} for p in model.parameters()]
        return OptimWrapper(OPTIMIZERS.build({**self.cfg["optimizer"], "params": groups}), accumulative_counts=3)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OneWithOwnGroups(DefaultOptimWrapperConstructor):
    """As detectors have one: keys of its own, and groups with entries of their own."""

    def add_params(self, params, module, **kwargs):
        for number, (name, parameter) in enumerate(module.named_parameters()):
            params.append(
                {
                    "params": [parameter],
                    "param_names": [name],
                    "lr": self.base_lr * self.paramwise_cfg["decay_rate"] ** number,
                    "weight_decay": self.base_wd,
                    "group_name": f"layer_{number}",
                    "lr_scale": 1.0,
                }
            )


def test_constructors_of_users():
    model = nn.Linear(2, 2)
    wrapper = build_optim_wrapper(
        model, {"optimizer": ADAMW, "constructor": "OneOfTheUser", "paramwise_cfg": {"rate": 0.3}, "clip_grad": None}
    )
    assert wrapper.get_lr() == {"lr": [0.3, 0.3]}
    assert wrapper.accumulative_counts == 3
    for constructor in ("OneWithOwnGroups", {"type": OneWithOwnGroups}):
        wrapper = build_optim_wrapper(
            model, {"optimizer": ADAMW, "constructor": constructor, "paramwise_cfg": {"decay_rate": 0.5}}
        )
        assert wrapper.get_lr() == {"lr": [0.8, 0.4]}
        assert [group["group_name"] for group in wrapper.param_groups] == ["layer_0", "layer_1"]
        wrapper.update_params(model(torch.ones(1, 2)).sum())
        again = build_optim_wrapper(
            model, {"optimizer": ADAMW, "constructor": constructor, "paramwise_cfg": {"decay_rate": 0.5}}
        )
        again.load_state_dict(wrapper.state_dict())
