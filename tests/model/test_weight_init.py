import math
from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mainspring.checkpoint import CheckpointError
from mainspring.logging import MMLogger
from mainspring.model.weight_init import (
    ConstantInit,
    KaimingInit,
    XavierInit,
    bias_init_with_prob,
    caffe2_xavier_init,
    constant_init,
    initialize,
    kaiming_init,
    normal_init,
    trunc_normal_,
    trunc_normal_init,
    uniform_init,
    update_init_info,
    xavier_init,
)
from mainspring.registry import WEIGHT_INITIALIZERS


@pytest.fixture
def log(tmp_path):
    """The log file of the current logger."""
    path = tmp_path / "init.log"
    MMLogger.get_instance("weight-init-test", log_file=path)
    return path


@pytest.fixture
def net():
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 8, 3),
            norm=nn.BatchNorm2d(8),
            head=nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2, bias=False)),
        )
    )


def values(tensor):
    """The set of values in a tensor."""
    return set(tensor.flatten().tolist())


class TestFunctions:
    def test_constant(self):
        linear = nn.Linear(3, 2)
        constant_init(linear, 3, bias=-1)
        assert values(linear.weight) == {3.0}
        assert values(linear.bias) == {-1.0}

    def test_what_is_missing_is_left_alone(self):
        without_bias = nn.Linear(3, 2, bias=False)
        normal_init(without_bias, mean=5, std=0, bias=9)
        assert values(without_bias.weight) == {5.0}
        assert without_bias.bias is None
        relu = nn.ReLU()
        xavier_init(relu)
        plain_norm = nn.BatchNorm2d(2, affine=False)
        uniform_init(plain_norm)
        assert not list(plain_norm.parameters())

    def test_a_buffer_called_weight_is_no_parameter(self):
        loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))
        constant_init(loss, 0)
        assert loss.weight.tolist() == [1.0, 2.0]

    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            (lambda m: xavier_init(m, gain=2), lambda w: nn.init.xavier_normal_(w, 2)),
            (lambda m: xavier_init(m, distribution="uniform"), nn.init.xavier_uniform_),
            (lambda m: normal_init(m, 1, 0.1), lambda w: nn.init.normal_(w, 1, 0.1)),
            (lambda m: uniform_init(m, -2, 3), lambda w: nn.init.uniform_(w, -2, 3)),
            (kaiming_init, lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu")),
            (
                lambda m: kaiming_init(m, 0.2, "fan_in", "leaky_relu", distribution="uniform"),
                lambda w: nn.init.kaiming_uniform_(w, 0.2, "fan_in", "leaky_relu"),
            ),
            (trunc_normal_init, nn.init.trunc_normal_),
        ],
    )
    def test_the_weight_is_what_torch_draws_from_the_same_seed(self, ours, theirs):
        conv = nn.Conv2d(4, 6, 3)
        torch.manual_seed(7)
        ours(conv)
        torch.manual_seed(7)
        assert torch.equal(conv.weight, theirs(torch.empty_like(conv.weight)))
        assert values(conv.bias) == {0.0}

    def test_caffe2_xavier_is_even_within_its_bound(self):
        conv = nn.Conv2d(16, 64, 3)
        caffe2_xavier_init(conv, bias=1)
        bound = math.sqrt(3 / (16 * 9))
        assert conv.weight.abs().max() <= bound
        assert conv.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert values(conv.bias) == {1.0}

    def test_trunc_normal_cuts_at_values_not_at_deviations(self):
        tensor = trunc_normal_(torch.empty(5000), mean=1, std=2, a=0, b=1.5)
        assert tensor.min() >= 0
        assert tensor.max() <= 1.5
        # The density rises towards 1 and is almost flat between the cuts.
        assert tensor.mean().item() == pytest.approx(0.77, abs=0.03)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [({"std": 0}, "std must be positive"), ({"a": 1, "b": 1}, "a must lie below b")],
    )
    def test_trunc_normal_refuses_what_has_no_values(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            trunc_normal_(torch.empty(3), **arguments)

    @given(st.floats(1e-6, 1 - 1e-6))
    def test_bias_with_prob_is_the_inverse_of_the_sigmoid(self, probability):
        bias = torch.tensor(bias_init_with_prob(probability), dtype=torch.float64)
        assert torch.sigmoid(bias).item() == pytest.approx(probability)

    @pytest.mark.parametrize("probability", [0, 1, -0.1, float("nan")])
    def test_bias_with_prob_refuses_what_is_no_probability(self, probability):
        with pytest.raises(ValueError, match="between 0 and 1"):
            bias_init_with_prob(probability)

    def test_misspelt_choices_are_named(self):
        with pytest.raises(ValueError, match=r"distribution must be 'normal' or 'uniform'.*'unifrom'.*Did you"):
            xavier_init(nn.Linear(1, 1), distribution="unifrom")
        with pytest.raises(ValueError, match="mode must be 'fan_in' or 'fan_out'"):
            kaiming_init(nn.Linear(1, 1), mode="fan")


class TestInitializers:
    @pytest.mark.parametrize(
        ("config", "function"),
        [
            ({"type": "Constant", "val": 2, "bias": 1}, lambda m: constant_init(m, 2, 1)),
            (
                {"type": "Xavier", "gain": 2, "distribution": "uniform"},
                lambda m: xavier_init(m, 2, 0, "uniform"),
            ),
            ({"type": "Normal", "mean": 1, "std": 0.1, "bias": 2}, lambda m: normal_init(m, 1, 0.1, 2)),
            (
                {"type": "TruncNormal", "std": 0.5, "a": -1, "b": 1},
                lambda m: trunc_normal_init(m, 0, 0.5, -1, 1),
            ),
            ({"type": "Uniform", "a": 2, "b": 3}, lambda m: uniform_init(m, 2, 3)),
            (
                {"type": "Kaiming", "a": 0.1, "mode": "fan_in", "nonlinearity": "leaky_relu", "bias": 3},
                lambda m: kaiming_init(m, 0.1, "fan_in", "leaky_relu", 3),
            ),
            ({"type": "Caffe2Xavier", "bias": 4}, lambda m: caffe2_xavier_init(m, 4)),
        ],
        ids=lambda value: value["type"] if isinstance(value, dict) else "",
    )
    def test_a_config_does_what_the_function_does(self, config, function):
        by_config, by_function = nn.Linear(20, 30), nn.Linear(20, 30)
        torch.manual_seed(3)
        initialize(by_config, {**config, "layer": "Linear"})
        torch.manual_seed(3)
        function(by_function)
        assert torch.equal(by_config.weight, by_function.weight)
        assert torch.equal(by_config.bias, by_function.bias)

    def test_a_layer_is_named_by_its_class_or_a_direct_base_class(self, net):
        before = net.conv.weight.clone()
        initialize(net, {"type": "Constant", "val": 7, "layer": ["_BatchNorm", "Linear"]})
        assert values(net.norm.weight) == values(net.head[0].weight) == values(net.head[1].weight) == {7.0}
        assert torch.equal(net.conv.weight, before)

    def test_bias_prob_comes_before_bias(self):
        linear = nn.Linear(1, 1)
        ConstantInit(0, bias=5, bias_prob=0.01, layer="Linear")(linear)
        assert torch.sigmoid(linear.bias).item() == pytest.approx(0.01)

    def test_ready_initialisers_run_in_their_order(self, net):
        initialize(net, [ConstantInit(1, layer="Linear"), {"type": ConstantInit, "val": 2, "layer": "Conv2d"}])
        assert values(net.head[0].weight) == {1.0}
        assert values(net.conv.weight) == {2.0}

    def test_a_seed_fixes_all_weights(self, net):
        config = [{"type": "Kaiming", "layer": "Conv2d"}, {"type": "TruncNormal", "layer": "Linear"}]
        drawn = []
        for _ in range(2):
            torch.manual_seed(11)
            initialize(net, config)
            drawn.append([p.clone() for p in net.parameters()])
        assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))

    @pytest.mark.parametrize(
        ("config", "error", "message"),
        [
            ({"bias": "1e-3"}, TypeError, "ConstantInit: bias must be a number, but it is '1e-3'"),
            ({"val": "1"}, TypeError, "ConstantInit: val must be a number"),
            ({"bias_prob": 1}, TypeError, "bias_prob must be a float between 0 and 1"),
            ({"bias_prob": 1.5}, ValueError, "between 0 and 1"),
            ({"layer": nn.Linear}, TypeError, "layer must be the name of a class, such as 'Conv2d'"),
            ({"layer": ["Linear", 3]}, TypeError, "layer must be"),
            ({"layers": "Linear"}, TypeError, "no argument 'layers'. Did you mean 'layer'"),
            ({"type": "Konstant"}, KeyError, "Constant"),
        ],
    )
    def test_wrong_arguments_are_named(self, config, error, message):
        with pytest.raises(error, match=message):
            initialize(nn.Linear(1, 1), {"type": "Constant", "val": 1, **config})

    def test_wrong_choices_are_refused_when_it_is_built(self):
        with pytest.raises(ValueError, match="KaimingInit: mode must be"):
            KaimingInit(mode="fan")
        with pytest.raises(ValueError, match="XavierInit: distribution must be"):
            XavierInit(distribution="gauss")

    @pytest.mark.parametrize("config", ["Kaiming", 3, ConstantInit, [None]])
    def test_what_is_no_config_is_refused(self, config):
        with pytest.raises(TypeError, match="init_cfg must be a dict such as"):
            initialize(nn.Linear(1, 1), config)

    def test_a_failure_names_the_module(self, net):
        with pytest.raises(ValueError, match="fewer than 2 dimensions") as caught:
            initialize(net, {"type": "Xavier", "layer": "BatchNorm2d"})
        assert "initialised norm (BatchNorm2d) in Sequential" in caught.value.__notes__[0]


class TestWarnings:
    def test_a_misspelt_layer_is_named_with_the_nearest(self, net, log):
        initialize(net, {"type": "Constant", "val": 1, "layer": ["Conv2d", "BachNorm2d"]})
        text = log.read_text()
        assert "names 'BachNorm2d', but Sequential holds no such module. Did you mean 'BatchNorm2d'?" in text
        assert values(net.conv.weight) == {1.0}

    def test_a_list_for_several_kinds_of_models_is_no_mistake(self, net, log):
        initialize(net, {"type": "Constant", "val": 1, "layer": ["_BatchNorm", "GroupNorm"]})
        assert log.read_text() == ""

    def test_layers_of_which_none_is_there_are_named(self, net, log):
        initialize(net, {"type": "Constant", "val": 1, "layer": ["GroupNorm", "LayerNorm"]})
        assert "'GroupNorm', 'LayerNorm', but Sequential holds no such module" in log.read_text()

    def test_a_config_that_reaches_nothing_says_so(self, net, log):
        initialize(net, {"type": "Constant", "val": 1})
        assert "initialises nothing. Say which modules are meant, with layer=" in log.read_text()
        assert 1.0 not in values(net.conv.weight)


class TestOverride:
    def test_a_part_has_its_own_initialiser(self, net):
        override = {"type": "Normal", "name": "head", "mean": 5, "std": 0, "bias": 6}
        initialize(net, {"type": "Constant", "val": 1, "layer": ["Linear", "Conv2d"], "override": override})
        assert values(net.conv.weight) == {1.0}
        assert values(net.head[0].weight) == values(net.head[1].weight) == {5.0}
        assert values(net.head[0].bias) == {6.0}

    def test_nothing_but_a_name_means_the_outer_initialiser_for_every_layer(self, net):
        before = net.head[0].weight.clone()
        initialize(net, {"type": "Constant", "val": 3, "layer": "Conv2d", "override": {"name": "norm"}})
        assert values(net.norm.weight) == {3.0}
        assert torch.equal(net.head[0].weight, before)

    def test_without_layer_only_the_parts_are_initialised(self, net, log):
        before = net.conv.weight.clone()
        parts = [{"name": "head.0"}, {"name": "norm", "type": "Constant", "val": 8}]
        initialize(net, {"type": "Constant", "val": 4, "override": parts})
        assert values(net.head[0].weight) == {4.0}
        assert values(net.norm.weight) == {8.0}
        assert 4.0 not in values(net.head[1].weight)
        assert torch.equal(net.conv.weight, before)
        assert log.read_text() == ""

    def test_the_config_is_left_as_it_was(self, net):
        config = {"type": "Constant", "val": 1, "layer": "Linear", "override": [{"name": "conv"}]}
        initialize(net, config)
        initialize(net, config)
        assert config == {"type": "Constant", "val": 1, "layer": "Linear", "override": [{"name": "conv"}]}

    @pytest.mark.parametrize(
        ("override", "error", "message"),
        [
            ({"type": "Constant", "val": 1}, ValueError, "needs the key 'name'"),
            ({"name": 3}, ValueError, "needs the key 'name'"),
            ({"name": "norm", "val": 1}, ValueError, "not the key 'type'"),
            (
                {"name": "hed"},
                ValueError,
                "names 'hed'.* Did you mean 'head'.* Its parts are: conv, norm, head",
            ),
            ({"name": "conv.weight"}, ValueError, "names 'conv.weight', but Sequential has no module"),
            ("head", TypeError, "override must be a dict such as .*'head'"),
            ([{"name": "head"}, "conv"], TypeError, "override must be a dict"),
        ],
    )
    def test_mistakes_are_named(self, net, override, error, message):
        with pytest.raises(error, match=message):
            initialize(net, {"type": "Constant", "val": 1, "layer": "Linear", "override": override})


class TestPretrained:
    @pytest.fixture
    def checkpoint(self, net, tmp_path):
        initialize(net, {"type": "Normal", "layer": ["Linear", "Conv2d"]})
        path = tmp_path / "net.pth"
        torch.save({"state_dict": net.state_dict(), "meta": {}}, path)
        return str(path)

    def test_the_whole_model(self, net, checkpoint, log):
        weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        initialize(net, {"type": "Constant", "val": 0, "layer": ["Linear", "Conv2d"]})
        initialize(net, {"type": "Pretrained", "checkpoint": checkpoint})
        assert all(torch.equal(tensor, weights[name]) for name, tensor in net.state_dict().items())
        assert "Sequential loads" in log.read_text()

    @pytest.mark.parametrize("prefix", ["head", "head."])
    def test_a_part_by_its_prefix(self, net, checkpoint, prefix):
        head = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2, bias=False))
        initialize(head, {"type": "Pretrained", "checkpoint": checkpoint, "prefix": prefix})
        assert torch.equal(head[0].weight, net.head[0].weight)
        assert torch.equal(head[1].weight, net.head[1].weight)

    def test_a_prefix_is_a_whole_name(self, checkpoint):
        with pytest.raises(ValueError, match=r"starts with 'hea\.'.* Did you mean 'head'.*'conv', 'head', 'norm'"):
            initialize(nn.Linear(1, 1), {"type": "Pretrained", "checkpoint": checkpoint, "prefix": "hea"})

    def test_weights_of_another_model_are_refused(self, checkpoint):
        with pytest.raises(CheckpointError, match="Not one name fits"):
            initialize(nn.Linear(1, 1), {"type": "Pretrained", "checkpoint": checkpoint})

    def test_a_missing_file_and_wrong_arguments_are_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
            initialize(nn.Linear(1, 1), {"type": "Pretrained", "checkpoint": str(tmp_path / "nowhere.pth")})
        with pytest.raises(TypeError, match="checkpoint must be the path of a file, but it is 3"):
            initialize(nn.Linear(1, 1), {"type": "Pretrained", "checkpoint": 3})
        with pytest.raises(TypeError, match="prefix must be a string"):
            initialize(nn.Linear(1, 1), {"type": "Pretrained", "checkpoint": "x.pth", "prefix": 3})


def test_an_initialiser_of_the_user_without_our_base_class(net):
    class Ramp:
        wholemodule = False

        def __init__(self, step):
            self.step = step
            self.asked = []

        def __call__(self, module):
            self.asked.append(self.wholemodule)
            for parameter in module.parameters():
                parameter.data.copy_(torch.arange(parameter.numel()).view_as(parameter) * self.step)
            update_init_info(module, "a ramp")

    WEIGHT_INITIALIZERS.register_module(name="TestRamp", module=Ramp, force=True)
    initialize(net, {"type": "TestRamp", "step": 2, "override": {"name": "norm", "type": "TestRamp", "step": 3}})
    assert net.conv.bias.tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert net.norm.bias.tolist() == [0, 3, 6, 9, 12, 15, 18, 21]
    ramp = Ramp(1)
    initialize(net.norm, ramp)
    assert ramp.asked == [False]
