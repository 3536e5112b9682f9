"""Parameters, multiply-adds and activations, against numbers worked out by hand."""

import itertools
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mainspring.analysis import (
    ActivationAnalyzer,
    FlopAnalyzer,
    activation_count,
    flop_count,
    get_model_complexity_info,
    parameter_count,
    parameter_count_table,
)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(x)).relu()


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
        self.head = nn.Linear(4, 2)
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        return self.head(self.block(x).mean((2, 3)))


CONV = 4 * 3 * 3 * 3 * 6 * 6  # output channels, input channels, kernel, output pixels


def test_a_small_network_module_by_module():
    flops = FlopAnalyzer(Small(), torch.zeros(2, 3, 8, 8))
    activations = ActivationAnalyzer(Small(), (torch.zeros(2, 3, 8, 8),))

    assert flops.by_module() == {
        "": 2 * (CONV + 8),
        "block": 2 * CONV,
        "block.conv": 2 * CONV,
        "block.norm": 0,
        "head": 16,
        "unused": 0,
    }
    assert flops.by_operator("block") == {"convolution": 2 * CONV}
    assert (activations.total(), activations.total("block"), activations.total("head")) == (2 * 146, 2 * 144, 4)
    assert flops.uncalled_modules() == {"unused"}
    assert flops.unsupported_ops("block")["relu"] == 1
    assert "mean" in flops.unsupported_ops()
    with pytest.raises(KeyError, match=r"Small has no module 'blok'\. Did you mean 'block'\?"):
        flops.total("blok")


@given(sizes=st.lists(st.integers(1, 7), min_size=2, max_size=5), batch=st.integers(1, 4))
def test_of_layers_one_after_the_other_the_counts_add_up(sizes, batch):
    pairs = list(itertools.pairwise(sizes))
    model = nn.Sequential(*(nn.Linear(a, b) for a, b in pairs))
    info = get_model_complexity_info(model, inputs=torch.zeros(batch, sizes[0]), show_table=False, show_arch=False)

    assert info["flops"] == batch * sum(a * b for a, b in pairs)
    assert info["torch_flops"] == 2 * info["flops"]
    assert info["activations"] == batch * sum(sizes[1:])
    assert info["params"] == sum(a * b + b for a, b in pairs)
    assert info["out_table"] == info["out_arch"] == ""


def test_what_kernels_do_in_one_piece_is_counted():
    length, batch, width, hidden = 3, 2, 8, 16
    attention = nn.MultiheadAttention(width, 2, batch_first=True)
    x = torch.zeros(batch, length, width)
    products = 2 * batch * length * length * width  # queries with keys, weights with values
    assert FlopAnalyzer(attention, (x, x, x)).total() == 4 * batch * length * width * width + products

    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(width, 2, hidden, batch_first=True), 2)
    in_layer = 4 * batch * length * width * width + products + 2 * batch * length * width * hidden
    assert FlopAnalyzer(encoder, x).by_module()["layers.1"] == in_layer

    query = torch.zeros(1, 2, 5, 4)
    scaled = nn.Module()
    scaled.forward = lambda q: nn.functional.scaled_dot_product_attention(q, q, q)
    assert FlopAnalyzer(scaled, query).total() == 2 * 2 * 5 * 5 * 4

    assert FlopAnalyzer(nn.LSTM(4, 5), torch.zeros(3, 2, 4)).total() == 3 * 2 * 4 * 5 * (4 + 5)


def test_a_module_with_several_names_and_one_called_twice():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 3)
            self.other = nn.Sequential(nn.Linear(3, 4), self.first)

        def forward(self, x):
            return self.other[0](self.first(self.first(x)))

    flops = FlopAnalyzer(Tied(), torch.zeros(1, 3))
    assert flops.by_module() == {"": 30, "first": 18, "other": 0, "other.0": 12}
    assert parameter_count(Tied())[""] == 12 + 16
    assert parameter_count(Tied())["other"] == 12 + 16

    embedding = nn.Embedding(5, 3)
    language = nn.ModuleDict({"embed": embedding, "head": nn.Linear(3, 5, bias=False)})
    language["head"].weight = embedding.weight
    counts = parameter_count(language)
    assert (counts[""], counts["embed"], counts["head"]) == (15, 15, 15)
    assert parameter_count_table(language).count("(5, 3)") == 2


def test_the_model_is_left_as_it_was():
    model = Small().train()
    model.block.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(1)
    drawn = torch.rand(3)
    torch.manual_seed(1)

    info = get_model_complexity_info(model, (3, 8, 8))

    assert torch.equal(torch.rand(3), drawn)
    assert [module.training for module in model.modules()] == [True, True, True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mkldnn.enabled
    assert info["flops"] == CONV + 8


def test_the_settings_of_torch_come_back_after_an_error():
    model = Small()
    with pytest.raises(RuntimeError, match="expected input") as caught:
        FlopAnalyzer(model, torch.zeros(1, 5, 8, 8)).total()
    assert "while FlopAnalyzer called Small to count" in "".join(caught.value.__notes__)
    assert torch.backends.mkldnn.enabled
    assert model.training


def test_several_inputs_and_inputs_by_name():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 2).half(), nn.Linear(5, 2).half()

        def forward(self, x, y):
            return self.a(x) + self.b(y)

    assert get_model_complexity_info(Sum(), ((3,), (5,)))["flops"] == 16
    inputs = {"y": torch.zeros(2, 5).half(), "x": torch.zeros(2, 3).half()}
    assert get_model_complexity_info(Sum(), inputs=inputs)["flops"] == 32


@pytest.mark.parametrize(
    ("given", "words"), [({}, "neither"), ({"input_shape": (3,), "inputs": torch.zeros(1)}, "both")]
)
def test_one_of_shape_and_inputs_is_given(given, words):
    with pytest.raises(ValueError, match=f"needs either input_shape.*{words} of them is given"):
        get_model_complexity_info(nn.Linear(3, 3), **given)


@pytest.mark.parametrize("shape", [(), (3.0, 8), "3", ((3, 8), 4), (-1, 2)])
def test_a_shape_that_is_none(shape):
    with pytest.raises(ValueError, match="input_shape must be the shape of one input without the batch"):
        get_model_complexity_info(nn.Linear(3, 3), shape)


def test_the_table_and_the_structure():
    info = get_model_complexity_info(Small(), (3, 8, 8))
    rows = {line.split()[0]: line.split()[1:] for line in info["out_table"].splitlines()[2:]}
    assert rows["(model)"] == ["Small", "142", "3.896K", "7.792K", "146"]
    assert rows["conv"] == ["Conv2d", "112", "3.888K", "7.776K", "144"]
    assert rows["unused"] == ["Linear", "12"]
    assert info["out_arch"].startswith("Small(  # 142 parameters, 3.896K multiply-adds")
    assert re.search(r"\(unused\): Linear\(.*\)  # 12 parameters, not called", info["out_arch"])

    assert "weight" not in parameter_count_table(Small(), max_depth=1)
    assert parameter_count_table(Small(), max_depth=0).splitlines()[-1].split() == ["(model)", "142"]


def test_counts_by_operator_and_formulas_of_ones_own():
    model, inputs = nn.Bilinear(3, 4, 5), (torch.zeros(2, 3), torch.zeros(2, 4))
    flops, others = flop_count(model, inputs)
    assert not flops
    assert others["_trilinear"] == 1

    def trilinear(first, weight, second, *rest, out_shape):
        return first[0] * weight[-3] * weight[-2] * weight[-1]

    flops, others = flop_count(model, inputs, {torch.ops.aten._trilinear: trilinear})
    assert flops["_trilinear"] == 2 * 3 * 4 * 5 / 1e9
    assert "_trilinear" not in others

    activations, _ = activation_count(nn.Linear(3, 4), torch.zeros(2, 3))
    assert activations == {"addmm": 8 / 1e6}
