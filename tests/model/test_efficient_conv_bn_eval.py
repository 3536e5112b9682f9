"""A convolution that computes the fixed normalisation behind it gives what both give."""

import copy

import pytest
import torch
from torch import nn

from mainspring.model import turn_on_efficient_conv_bn_eval


class Block(nn.Module):
    def __init__(self, conv=nn.Conv2d, norm=nn.BatchNorm2d, **options):
        super().__init__()
        self.norm1 = norm(4)  # in another order than that of the calls
        self.conv1 = conv(4, 4, 3, padding=1, groups=2, bias=False, **options)
        self.conv2 = conv(4, 4, 3, padding=1, **options)
        self.norm2 = norm(4, affine=False)

    def forward(self, x):
        return x + self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))


class Net(nn.Module):
    """Cannot be traced as a whole."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.block = Block(padding_mode="circular")
        self.shared_conv = nn.Conv2d(4, 4, 1)
        self.shared_norm = nn.BatchNorm2d(4)

    def forward(self, x, mode="tensor"):
        x = self.block(self.stem(x))
        if x.sum() > 1e9:
            raise ValueError("too large")
        x = self.shared_conv(x)
        return x + self.shared_norm(x)


def new(kind=Net, **options):
    torch.manual_seed(0)
    model = kind(**options).double()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def gradients(model, inputs):
    loss = model(inputs).square().sum()
    return [loss, *torch.autograd.grad(loss, list(model.parameters()))]


@pytest.mark.parametrize("modules", [True, "stem", ["block", "stem"]])
@pytest.mark.parametrize("mode", ["eval", "frozen norms", "train"])
def test_results_and_gradients_are_the_same(modules, mode):
    inputs = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    found = []
    for modules_of_this in (False, modules):
        model = new()
        turn_on_efficient_conv_bn_eval(model, modules_of_this)
        model.train(mode != "eval")
        if mode == "frozen norms":
            for norm in norms(model):
                norm.eval()
        found.append([*gradients(model, inputs), *model.buffers()])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    ("conv", "norm", "shape"),
    [(nn.Conv1d, nn.BatchNorm1d, (2, 4, 6)), (nn.Conv3d, nn.BatchNorm3d, (2, 4, 3, 3, 3))],
)
def test_other_dimensions(conv, norm, shape):
    model = new(Block, conv=conv, norm=norm).eval()
    twin = copy.deepcopy(model)
    turn_on_efficient_conv_bn_eval(model)
    inputs = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(gradients(model, inputs), gradients(twin, inputs))


def test_the_normalisation_is_not_computed_by_itself():
    model = new().eval()
    turn_on_efficient_conv_bn_eval(model)

    def saved_by(model):
        count = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: count.append(x.numel()) or x, lambda x: x):
            model(torch.ones(2, 3, 9, 9, dtype=torch.float64))
        return sum(count)

    assert saved_by(model) < saved_by(new().eval())
    assert list(model.state_dict()) == list(new().state_dict())


def test_only_what_the_normalisation_alone_gets_is_paired():
    model = new()
    turn_on_efficient_conv_bn_eval(model)
    paired = [name for name, module in model.named_modules() if "forward" in vars(module)]
    assert paired == ["stem.0", "stem.1", "block.norm1", "block.conv1", "block.conv2", "block.norm2"]


def test_copies_are_their_own():
    model = new().eval()
    turn_on_efficient_conv_bn_eval(model)
    turn_on_efficient_conv_bn_eval(model.stem, False)
    twin = copy.deepcopy(model)
    inputs = torch.ones(1, 3, 5, 5, dtype=torch.float64)
    before = model(inputs)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(model(inputs), before)
    assert twin(inputs).abs().sum() == 0


def test_without_a_pair():
    with pytest.raises(ValueError, match="finds no convolution with a batch normalisation behind it in Linear"):
        turn_on_efficient_conv_bn_eval(nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"efficient_conv_bn_eval: Net has no submodule 'stm'. Did you mean 'stem'"):
        turn_on_efficient_conv_bn_eval(Net(), "stm")
