"""Every optimizer of torch takes back its own state, through the wrapper."""

from __future__ import annotations

import pytest
import torch

from mainspring.optim import OptimWrapper
from mainspring.registry import OPTIMIZERS

NAMES = [
    name
    for name, member in vars(torch.optim).items()
    if isinstance(member, type) and issubclass(member, torch.optim.Optimizer) and name != "Optimizer"
]


def wrapper_of(name: str) -> tuple[torch.nn.Parameter, OptimWrapper]:
    weight = torch.nn.Parameter(torch.ones(2, 2))
    return weight, OptimWrapper(OPTIMIZERS.build({"type": name, "params": [weight], "lr": 0.1}))


def test_each_is_registered() -> None:
    assert [name for name in NAMES if name not in OPTIMIZERS] == []


@pytest.mark.parametrize("name", NAMES)
def test_its_state_comes_back(name: str) -> None:
    weight, wrapper = wrapper_of(name)

    def closure() -> torch.Tensor:
        wrapper.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    if name != "SparseAdam":  # which needs sparse gradients
        wrapper.optimizer.step(closure)
    fresh = wrapper_of(name)[1]
    fresh.load_state_dict(wrapper.state_dict())

    assert str(fresh.state_dict()["state"]) == str(wrapper.state_dict()["state"])


def test_the_state_of_another_optimizer_is_refused_by_name() -> None:
    sgd, adam = wrapper_of("SGD")[1], wrapper_of("Adam")[1]

    with pytest.raises(ValueError, match="another optimizer than Adam: it has no betas"):
        adam.load_state_dict(sgd.state_dict())
