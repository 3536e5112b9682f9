"""What is written wrong in ``optim_wrapper`` is one clear error when it is built, which names it and the cure."""

import pytest
import torch
from torch import nn

from mainspring.optim import AmpOptimWrapper, CosineRestartLR, OneCycleLR, build_optim_wrapper

SGD = {"type": "SGD", "lr": 0.1, "weight_decay": 0.01}


def model():
    return nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2))


def custom(**options):
    return {"paramwise_cfg": {"custom_keys": {"1": options}}}


@pytest.mark.parametrize(
    ("cfg", "error", "message"),
    [
        ({"optimizer": {**SGD, "lr": "1e-4"}}, TypeError, "optimizer.lr must be a number.*write 1.0e-4"),
        ({"optimizer": {**SGD, "weight_decay": "5e-4"}}, TypeError, "optimizer.weight_decay must be.*write 5.0e-4"),
        ({"clip_grad": {"max_norm": 1.0, "norm_type": "l2"}}, TypeError, "clip_grad.norm_type must be a number"),
        ({"clip_grad": {"max_norm": 1.0, "norm_type": 0}}, ValueError, "norm_type must be above 0, or 'inf'"),
        ({"clip_grad": {"max_norm": 1.0, "foreach": 3}}, TypeError, "clip_grad.foreach must be True or False"),
        (
            {"clip_grad": {"max_norm": 1.0, "error_if_nonfinite": "no"}},
            TypeError,
            "clip_grad.error_if_nonfinite must be True or False",
        ),
        ({"paramwise_cfg": [1]}, TypeError, r"paramwise_cfg must be a dict or None, but it is \[1\]"),
        ({"paramwise_cfg": {"bias_lr_mult": -1.0}}, ValueError, "bias_lr_mult must be a factor of at least 0.*-1.0"),
        ({"paramwise_cfg": {"norm_decay_mult": float("nan")}}, ValueError, "norm_decay_mult must be a factor.*nan"),
        (custom(lr_mult=float("inf")), ValueError, r"custom_keys\['1'\].lr_mult must be a factor of at least 0.*inf"),
        (custom(lr="1e-3"), TypeError, r"custom_keys\['1'\].lr must be a number.*write 1.0e-3"),
        (
            {"optimizer": None, "first": {"type": "SGD"}, "second": {"type": "SGD"}},
            ValueError,
            r"dict\(first=dict\(optimizer=dict\(type='SGD', lr=0.1\)\), ...\) for that of first",
        ),
        (
            {"constructor": "LayerDecayOptimWrapperConstructor", "paramwise_cfg": {"decay_rate": 0.7}},
            ValueError,
            r"needs optim_wrapper.paramwise_cfg=dict\(layer_decay_rate=0.75\).*given are: decay_rate",
        ),
        (
            {
                "constructor": "LayerDecayOptimWrapperConstructor",
                "paramwise_cfg": {"layer_decay_rate": 0.7, "layers": "backbone"},
            },
            TypeError,
            "paramwise_cfg.layers must be a list, but it is 'backbone'",
        ),
    ],
)
def test_it_is_refused_when_it_is_built(cfg, error, message):
    cfg = {"optimizer": SGD, **cfg}
    with pytest.raises(error, match=message):
        build_optim_wrapper(model(), {key: value for key, value in cfg.items() if value is not None})


@pytest.mark.parametrize("norm_type", [1, 2.5, float("inf"), "inf"])
def test_norms_that_torch_knows(norm_type):
    built = build_optim_wrapper(model(), {"optimizer": SGD, "clip_grad": {"max_norm": 1.0, "norm_type": norm_type}})
    built.update_params(sum(parameter.sum() for group in built.param_groups for parameter in group["params"]))


def test_an_option_that_no_optimizer_has_is_named(capsys):
    build_optim_wrapper(model(), {"optimizer": SGD, **custom(lr_mul=0.1, momentum=0.5)})
    told = capsys.readouterr().out
    assert "custom_keys['1'].lr_mul is neither a factor (lr_mult or decay_mult) nor an option of SGD" in told
    assert "Did you mean 'lr_mult'" in told
    assert "custom_keys['1'].momentum" not in told
    cfg = custom(lr_mul=0.1)
    cfg["paramwise_cfg"]["strict"] = True
    with pytest.raises(ValueError, match=r"custom_keys\['1'\].lr_mul is neither"):
        build_optim_wrapper(model(), {"optimizer": SGD, **cfg})


@pytest.mark.parametrize(
    ("loss_scale", "error", "message"),
    [
        (0, ValueError, "loss_scale must be above 0, but it is 0"),
        (-2.0, ValueError, "loss_scale must be above 0"),
        (float("inf"), ValueError, "loss_scale must be above 0"),
        ({"init_scal": 4.0}, ValueError, "loss_scale.init_scal: there is no such option. Did you mean 'init_scale'"),
        ({"init_scale": "512"}, TypeError, "loss_scale.init_scale must be a number"),
        ({"init_scale": 0.0}, ValueError, "loss_scale.init_scale must be above 0"),
        ({"growth_factor": 1.0}, ValueError, "loss_scale.growth_factor must be above 1"),
        ({"backoff_factor": 1.5}, ValueError, "loss_scale.backoff_factor must lie between 0 and 1"),
        ({"growth_interval": 0}, ValueError, "loss_scale.growth_interval must be at least 1"),
    ],
)
def test_scales_that_cannot_be(loss_scale, error, message):
    optimizer = torch.optim.SGD(model().parameters(), lr=0.1)
    with pytest.raises(error, match=message):
        AmpOptimWrapper(loss_scale, optimizer=optimizer)


def test_schedules_that_cannot_be():
    optimizer = torch.optim.SGD(model().parameters(), lr=0.1)
    with pytest.raises(ValueError, match="eta_max is 0, so that each value would be 0"):
        OneCycleLR(optimizer, total_steps=5)
    with pytest.raises(TypeError, match=r"periods must be a list, but it is 5 \(int\). Write periods=\[10, 20\]"):
        CosineRestartLR(optimizer, periods=5, eta_min=0)


@pytest.mark.parametrize(
    ("schedule", "error", "message", "note"),
    [
        (
            {"generator": {"type": "StepLR", "step_size": 1}},
            ValueError,
            "names the optimizer wrappers generator, but this run has only one",
            "",
        ),
        (
            {"type": "StepLR", "step_size": 1, "convert_to_iter_based": "yes"},
            TypeError,
            r"param_scheduler\[0\].convert_to_iter_based must be True or False",
            "",
        ),
        (
            [{"type": "CosineAnnealingLR", "begin": 10}],
            ValueError,
            "begin is 10 and end is 2",
            "(raised for param_scheduler[0], whose end is 2, that of the run, when it was built)",
        ),
        (
            [{"type": "StepLR", "step_size": 1}, {"type": "LinearLR", "begin": 3, "end": 1}],
            ValueError,
            "begin is 3 and end is 1",
            "(raised for param_scheduler[1] when it was built)",
        ),
    ],
)
def test_schedules_of_a_run_that_cannot_be(make_runner, schedule, error, message, note):
    with pytest.raises(error, match=message) as caught:
        _ = make_runner(param_scheduler=schedule).param_schedulers
    assert note in ["", *getattr(caught.value, "__notes__", [])]
