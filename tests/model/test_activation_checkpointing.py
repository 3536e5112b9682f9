"""Activations that are computed again give the same bits, and leave the model as it is."""

import copy
import pickle

import pytest
import torch
from torch import nn

from mainspring.model import ExponentialMovingAverage, turn_on_activation_checkpointing


class Block(nn.Module):
    calls = 0

    def __init__(self, scale=1.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.3)
        self.scale = scale

    def forward(self, x, bias=0.0):
        Block.calls += 1  # no graph can hold this
        return self._forward(x, bias)

    def _forward(self, x, bias=0.0):
        return x + self.drop(self.norm(self.conv(x)).relu()) * self.scale + bias


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 1)
        self.body = nn.Module()
        self.body.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        x = self.stem(x)
        for block in self.body.blocks:
            x = block(x, bias=0.1)
        return self.head(x.mean((2, 3)))


def new():
    torch.manual_seed(0)
    return Net()


def bits(tensors):
    return [tensor.detach().numpy().tobytes() for tensor in tensors]


def trained(model, frozen=False):
    """Return losses, gradients, buffers, and the state of the generator behind two steps."""
    if frozen:
        model.body.blocks[1].norm.eval()
    losses = []
    for step in range(2):
        torch.manual_seed(step)
        loss = model(torch.randn(4, 3, 5, 5)).square().sum()
        loss.backward()
        losses.append(loss)
    gradients = [parameter.grad for parameter in model.parameters()]
    return bits([*losses, *gradients, *model.buffers(), torch.get_rng_state()])


@pytest.mark.parametrize("modules", [True, "body.blocks", ["body.blocks.0", "head"], ["body.blocks.2", "stem"]])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_bits_are_those_without_it(modules, frozen):
    model = new()
    turn_on_activation_checkpointing(model, modules)
    assert trained(model, frozen) == trained(new(), frozen)


def test_what_is_not_kept_is_computed_again():
    model = new()
    turn_on_activation_checkpointing(model, ["body.blocks.0", "body.blocks.1"])
    images = torch.randn(4, 3, 5, 5)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        new()(images)
        without = len(saved)
        loss = model(images).sum()
    assert len(saved) - without < without / 2
    Block.calls = 0
    loss.backward()
    assert Block.calls == 2
    model.eval()
    with torch.no_grad():
        model(images)
    assert Block.calls == 5


def test_names_of_weights_stay_and_copies_are_their_own():
    model = new()
    names = list(model.state_dict())
    turn_on_activation_checkpointing(model)
    turn_on_activation_checkpointing(model, "body.blocks.0")  # once is enough
    assert list(model.state_dict()) == names
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), ExponentialMovingAverage(model).module):
        twin.eval().requires_grad_(True)
        with torch.no_grad():
            twin.body.blocks[0].conv.weight.zero_()
        twin(torch.ones(1, 3, 4, 4)).sum().backward()
        assert twin.body.blocks[1].conv.weight.grad is not None
    assert model.body.blocks[0].conv.weight.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own
@pytest.mark.parametrize("breaks", [False, True])
def test_with_compile(breaks, monkeypatch):
    if not breaks:
        monkeypatch.setattr(Block, "forward", Block._forward)
    model = new()
    turn_on_activation_checkpointing(model)
    model.compile(backend="aot_eager")
    assert trained(model) == trained(new())


def test_names_that_are_none():
    with pytest.raises(
        ValueError, match=r"has no submodule 'body.block'. Did you mean 'body.blocks'\? Its own are: stem"
    ):
        turn_on_activation_checkpointing(Net(), ["body.block"])
    with pytest.raises(ValueError, match="=True finds no blocks in Linear"):
        turn_on_activation_checkpointing(nn.Linear(1, 1))
    with pytest.raises(TypeError, match="activation_checkpointing must be"):
        turn_on_activation_checkpointing(Net(), 3)
    model = Net()
    turn_on_activation_checkpointing(model, False)
    assert "forward" not in vars(model.body.blocks[0])
