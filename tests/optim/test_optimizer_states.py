"""Every optimizer of torch takes back its own state, through the wrapper."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import Any

import numpy as np
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


@pytest.mark.parametrize(
    "value",
    [
        "a text",
        b"bytes",
        np.arange(3, dtype=np.uint8),
        np.array(1.5, np.float32),
        deque([1, 2], maxlen=2),
        Counter("aab"),
        OrderedDict(b=1, a=2),
        ["x", {"y": (np.ones(2), "z")}],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_tensor_comes_back_in_its_type(value: Any) -> None:
    """The optimizers of torch make another value of each of these when they load it, or an error."""
    weight, wrapper = wrapper_of("SGD")
    wrapper.optimizer.state[weight] = {"value": value, "tensors": [torch.ones(2)], "step": 3}
    state = wrapper.state_dict()
    other, fresh = wrapper_of("SGD")
    fresh.load_state_dict(state)

    loaded = fresh.optimizer.state[other]
    assert repr(loaded["value"]) == repr(value)
    assert loaded["value"] is not value or isinstance(value, (str, bytes))
    assert loaded["step"] == 3
    assert torch.equal(loaded["tensors"][0], torch.ones(2))


def test_tensors_in_containers_are_cast_as_torch_does() -> None:
    weight, wrapper = wrapper_of("SGD")
    wrapper.optimizer.state[weight] = {"tensors": [torch.ones(2, dtype=torch.float64)], "text": "a"}
    other, fresh = wrapper_of("SGD")
    fresh.load_state_dict(wrapper.state_dict())
    assert fresh.optimizer.state[other]["tensors"][0].dtype is torch.float32


def test_an_optimizer_with_a_way_of_its_own_gets_the_whole_state() -> None:
    class Own(torch.optim.SGD):
        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.told = state_dict["state"]

    weight = torch.nn.Parameter(torch.ones(1))
    wrapper = OptimWrapper(Own([weight], lr=0.1))
    wrapper.load_state_dict({**wrapper.state_dict(), "state": {0: {"name": "x"}}})
    assert wrapper.optimizer.told == {0: {"name": "x"}}


def two_groups(**options: Any) -> OptimWrapper:
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))]} for _ in range(2)]
    groups[1]["weight_decay"] = options.pop("second_decay", 0.0)
    return OptimWrapper(torch.optim.Adam(groups, **{"lr": 0.1, **options}))


def test_a_setting_that_is_configured_otherwise_stays_in_its_group() -> None:
    saved = two_groups()
    fresh = two_groups(second_decay=0.5, betas=(0.8, 0.99), foreach=False)
    fresh.load_state_dict(saved.state_dict())
    assert [group["weight_decay"] for group in fresh.param_groups] == [0.0, 0.5]
    assert [group["betas"] for group in fresh.param_groups] == [(0.8, 0.99)] * 2
    assert [group["foreach"] for group in fresh.param_groups] == [False] * 2
    assert [group["weight_decay"] for group in saved.param_groups] == [0.0, 0.0], "the state is left as it was"


def test_a_state_that_says_nothing_of_the_settings_is_compared_itself() -> None:
    plain = two_groups(lr=0.3).optimizer.state_dict()
    plain["param_groups"][0]["initial_lr"] = 0.1  # by a schedule, which began where it is configured to begin
    fresh = two_groups()
    fresh.load_state_dict(plain)
    assert fresh.get_lr() == {"lr": [0.3, 0.1]}


def test_a_rate_that_is_a_tensor_is_compared_by_its_value() -> None:
    saved, same, other = (two_groups(lr=torch.tensor(lr), foreach=False) for lr in (0.1, 0.1, 0.2))
    saved.param_groups[0]["lr"].fill_(0.05)
    state = saved.state_dict()
    for wrapper, expected in ((same, [0.05, 0.05]), (other, [0.2, 0.2])):
        wrapper.load_state_dict(state)
        assert [lr.item() for lr in wrapper.get_lr()["lr"]] == pytest.approx(expected)


def test_the_state_of_another_optimizer_is_refused_by_name() -> None:
    sgd, adam = wrapper_of("SGD")[1], wrapper_of("Adam")[1]

    with pytest.raises(ValueError, match="another optimizer than Adam: it has no betas"):
        adam.load_state_dict(sgd.state_dict())
