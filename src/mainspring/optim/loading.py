"""Loading the state of an optimizer without changing the types in it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer

__all__ = ["load_optimizer"]


def load_optimizer(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> None:
    """Load the state of an optimizer, as its ``load_state_dict`` does.

    The one of :class:`torch.optim.Optimizer` makes everything in a parameter's state anew that can be iterated over, so
    that a text becomes another, a ``deque`` loses its length, and an array of NumPy is an error. Here such values are
    put in afterwards, as they are. An optimizer with a ``load_state_dict`` of its own gets the whole state.

    Args:
        optimizer: Its state is replaced.
        state_dict: What its ``state_dict`` has returned: ``state`` and ``param_groups``.

    Raises:
        ValueError: It is the state of another optimizer.

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = torch.optim.SGD([weight], lr=0.1)
    >>> optimizer.state[weight]["phase"] = "warm-up"
    >>> load_optimizer(optimizer, optimizer.state_dict())
    >>> optimizer.state[weight]["phase"]
    'warm-up'
    """
    if type(optimizer).load_state_dict is not Optimizer.load_state_dict:
        optimizer.load_state_dict(dict(state_dict))
        return
    state = dict(state_dict["state"])
    aside: dict[Any, dict[str, Any]] = {}
    for place, entries in state.items():
        if isinstance(entries, dict):
            aside[place] = {key: value for key, value in entries.items() if _is_made_anew(value)}
            state[place] = {key: value for key, value in entries.items() if key not in aside[place]}
    optimizer.load_state_dict({**state_dict, "state": state})
    places = [place for group in state_dict["param_groups"] for place in group["params"]]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for place, parameter in zip(places, parameters, strict=True):
        if aside.get(place):
            optimizer.state[parameter].update(copy.deepcopy(aside[place]))


def _is_made_anew(value: Any) -> bool:
    """Whether torch would make another value of it; tensors in containers of Python it moves, as it should."""
    if isinstance(value, torch.Tensor) or not isinstance(value, Iterable):
        return False
    if type(value) is dict:
        return any(map(_is_made_anew, value.values()))
    return type(value) not in (list, tuple, set) or any(map(_is_made_anew, value))
