"""Small functions around models."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..logging import print_log
from .stack import stack_batch
from .sync_batchnorm import convert_sync_batchnorm, revert_sync_batchnorm

__all__ = [
    "convert_sync_batchnorm",
    "detect_anomalous_params",
    "merge_dict",
    "revert_sync_batchnorm",
    "stack_batch",
]


def merge_dict(*args: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dict of all the items of several; of a key that is in two, the value of the later one.

    Raises:
        TypeError: An argument is no dict.

    >>> merge_dict({"loss_cls": 1.0}, {"loss_box": 2.0})
    {'loss_cls': 1.0, 'loss_box': 2.0}
    """
    merged: dict[str, Any] = {}
    for position, given in enumerate(args):
        if not isinstance(given, Mapping):
            raise TypeError(f"merge_dict takes dicts, but argument {position} is {given!r} ({type(given).__name__}).")
        merged.update(given)
    return merged


def detect_anomalous_params(loss: torch.Tensor, model: nn.Module) -> list[str]:
    """Log an error for each parameter of a model that a loss does not depend on, and that thus gets no gradient.

    Args:
        loss: The loss, with its graph.
        model: The model.

    Returns:
        The names of these parameters.
    """
    reached = set()
    waiting = [loss.grad_fn]
    seen = {loss.grad_fn}
    while waiting:
        node = waiting.pop()
        if node is None:
            continue
        parameter = getattr(node, "variable", None)  # which only the node of a leaf has
        if parameter is not None:
            reached.add(parameter)
        for before, _ in node.next_functions:
            if before not in seen:
                seen.add(before)
                waiting.append(before)
    reached.add(loss)  # a parameter may be the loss itself
    anomalous = [name for name, parameter in model.named_parameters() if parameter not in reached]
    for name in anomalous:
        shape = tuple(model.get_parameter(name).shape)
        print_log(f"{name} with shape {shape} is not in the computational graph", "current", logging.ERROR)
    return anomalous
