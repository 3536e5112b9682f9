import pytest
import torch
from torch import nn

from mainspring import AmpOptimWrapper, OptimWrapper
from mainspring.optim import DefaultOptimWrapperConstructor, build_optim_wrapper
from mainspring.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS

SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9}


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def test_a_wrapper_is_returned_as_it_is(model):
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    assert build_optim_wrapper(model, wrapper) is wrapper


def test_an_optimizer_is_wrapped(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = build_optim_wrapper(model, optimizer)
    assert type(wrapper) is OptimWrapper
    assert wrapper.optimizer is optimizer


def test_a_dict_with_a_dict(model):
    wrapper = build_optim_wrapper(model, {"optimizer": SGD})
    assert type(wrapper) is OptimWrapper
    assert type(wrapper.optimizer) is torch.optim.SGD
    (group,) = wrapper.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
    assert (group["lr"], group["momentum"]) == (0.1, 0.9)


def test_a_dict_with_an_object(model):
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.1)
    wrapper = build_optim_wrapper(model, {"optimizer": optimizer, "accumulative_counts": 4})
    assert wrapper.optimizer is optimizer
    assert "accumulative_counts=4" in repr(wrapper)


def test_the_wrapper_has_a_type_and_options(model):
    wrapper = build_optim_wrapper(
        model,
        {"type": "AmpOptimWrapper", "optimizer": SGD, "dtype": "bfloat16", "clip_grad": {"max_norm": 3}},
    )
    assert type(wrapper) is AmpOptimWrapper
    assert wrapper.clip_grad_kwargs == {"max_norm": 3}
    assert type(build_optim_wrapper(model, {"type": AmpOptimWrapper, "optimizer": SGD})) is AmpOptimWrapper


def test_the_config_is_left_as_it_was(model):
    config = {"type": "OptimWrapper", "optimizer": dict(SGD), "constructor": "DefaultOptimWrapperConstructor"}
    for _ in range(2):
        build_optim_wrapper(model, config)
    assert config == {"type": "OptimWrapper", "optimizer": SGD, "constructor": "DefaultOptimWrapperConstructor"}


def test_torchs_optimizers_are_there_by_name(model):
    names = {name for name in OPTIMIZERS.module_dict if hasattr(torch.optim, name)}
    assert {"SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "LBFGS", "NAdam", "RAdam", "Rprop", "ASGD"} <= names
    assert "Optimizer" not in names
    for name in names:
        assert OPTIMIZERS.get(name) is getattr(torch.optim, name)
    for name in ("AdamW", "RMSprop", "Adafactor"):
        optimizer = build_optim_wrapper(model, {"optimizer": {"type": name, "lr": 1e-3}}).optimizer
        assert type(optimizer) is getattr(torch.optim, name)
        assert optimizer.param_groups[0]["lr"] == 1e-3


@pytest.fixture
def registered():
    """Return a function that registers for this test only."""
    added = []

    def register(registry, target):
        registry.register_module(module=target)
        added.append((registry, target.__name__))
        return target

    yield register
    for registry, name in added:
        del registry._module_dict[name]


def test_an_optimizer_of_the_users_own(model, registered):
    class Halving(torch.optim.Optimizer):
        def __init__(self, params, factor):
            super().__init__(params, {"factor": factor, "lr": 0.0})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(group["factor"])

    registered(OPTIMIZERS, Halving)
    nn.init.ones_(model[0].weight)
    wrapper = build_optim_wrapper(model, {"optimizer": {"type": "Halving", "factor": 0.5}})
    wrapper.update_params(model(torch.ones(1, 2)).sum())
    assert model[0].weight.tolist() == [[0.5, 0.5]] * 3


def test_a_wrapper_of_the_users_own(model, registered):
    class Doubling(OptimWrapper):
        def __init__(self, factor=2, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def scale_loss(self, loss):
            return self.factor * loss

    registered(OPTIM_WRAPPERS, Doubling)
    wrapper = build_optim_wrapper(model, {"type": "Doubling", "optimizer": SGD, "factor": 3})
    assert wrapper.scale_loss(torch.tensor(1.0)).item() == 3


def test_a_constructor_of_the_users_own(model, registered):
    class LayerWise:
        """Gives each layer a group of its own, as a project with its own recipe would."""

        def __init__(self, optim_wrapper_cfg, paramwise_cfg=None, prefix=""):
            self.cfg = dict(optim_wrapper_cfg)
            self.decay = paramwise_cfg["decay"]
            self.prefix = prefix

        def __call__(self, model):
            options = dict(self.cfg["optimizer"])
            lr = options.pop("lr")
            options.pop("type")
            groups = [
                {"params": list(layer.parameters()), "lr": lr * self.decay**depth, "name": f"{self.prefix}{depth}"}
                for depth, layer in enumerate(model)
            ]
            return OptimWrapper(torch.optim.SGD(groups, lr=lr, **options))

    registered(OPTIM_WRAPPER_CONSTRUCTORS, LayerWise)
    config = {"optimizer": SGD, "paramwise_cfg": {"decay": 0.5}}
    for constructor in ("LayerWise", {"type": "LayerWise"}, LayerWise):
        wrapper = build_optim_wrapper(model, {**config, "constructor": constructor})
        assert wrapper.get_lr() == {"lr": [0.1, 0.05]}
    wrapper = build_optim_wrapper(model, {**config, "constructor": {"type": "LayerWise", "prefix": "layer"}})
    assert [group["name"] for group in wrapper.param_groups] == ["layer0", "layer1"]


def test_what_has_the_method_of_a_wrapper_is_one(model):
    class Own:
        def update_params(self, loss):
            pass

    own = Own()
    assert build_optim_wrapper(model, own) is own


def test_frozen_parameters_stay_beside_trainable_ones(model):
    model[0].requires_grad_(False)
    before = [p.clone() for p in model[0].parameters()]
    wrapper = build_optim_wrapper(model, {"optimizer": SGD})
    wrapper.update_params(model(torch.ones(1, 2)).sum())
    assert all(torch.equal(a, b) for a, b in zip(before, model[0].parameters(), strict=True))
    assert model[1].bias.grad is None


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (5, TypeError, r"optim_wrapper must be an OptimWrapper, an optimizer, or a dict such as.*it is 5 \(int\)"),
        ({}, ValueError, r"optim_wrapper.optimizer is missing: name one, such as"),
        ({"optimiser": SGD}, ValueError, r"optim_wrapper.optimizer is missing.*The keys given are: optimiser"),
        ({"optimizer": {"type": "SGDD", "lr": 0.1}}, KeyError, r"SGDD.*Did you mean 'SGD'"),
        ({"optimizer": {"type": "SGD", "lrr": 0.1}}, TypeError, r"SGD has no argument 'lrr'\. Did you mean 'lr'"),
        ({"optimizer": SGD, "accumulate": 4}, TypeError, r"OptimWrapper has no argument 'accumulate'"),
        ({"optimizer": SGD, "constructor": "Mine"}, KeyError, "Mine"),
        (
            {"optimizer": SGD, "paramwise_cfg": {"bias_lr": 2}},
            ValueError,
            "paramwise_cfg.bias_lr: there is no such option",
        ),
        ({"optimizer": SGD, "paramwise_cfg": {"bias_decay_mult": 2}}, ValueError, "is a factor of weight_decay, which"),
        ({"optimizer": {**SGD, "params": []}}, ValueError, "optim_wrapper.optimizer.params"),
    ],
)
def test_impossible_configs(model, config, error, message):
    with pytest.raises(error, match=message):
        build_optim_wrapper(model, config)


def test_the_constructor_takes_a_dict():
    with pytest.raises(TypeError, match=r"optim_wrapper must be a dict, but it is 'SGD' \(str\)"):
        DefaultOptimWrapperConstructor("SGD")


def test_nothing_to_train(model):
    with pytest.raises(ValueError, match="ReLU has no parameter at all, so there is nothing to train"):
        build_optim_wrapper(nn.ReLU(), {"optimizer": SGD})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.requires_grad_(False)
    for config in ({"optimizer": SGD}, optimizer, {"optimizer": optimizer}):
        with pytest.raises(ValueError, match="None of the 4 parameters of Sequential is trainable"):
            build_optim_wrapper(model, config)


def test_an_optimizer_of_another_model_is_refused(model):
    other = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    for config in (other, OptimWrapper(other), {"optimizer": other}):
        with pytest.raises(ValueError, match="holds none of the parameters of Sequential"):
            build_optim_wrapper(model, config)
