"""One convolution for a convolution and the batch normalisation behind it, where that uses its statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from .activation_checkpointing import parts_named

__all__ = ["turn_on_efficient_conv_bn_eval"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def turn_on_efficient_conv_bn_eval(model: nn.Module, modules: bool | str | Sequence[str] = True) -> int:
    """Let batch normalisation in eval mode be computed within the convolution before it.

    With fixed statistics, both are one convolution with scaled weights, ``w * gamma / sqrt(var + eps)`` (You et al.,
    "Efficient ConvBN blocks for transfer learning and beyond", ICLR 2024). The output between them is neither computed
    nor kept: this saves time and memory in validation, and in training with frozen normalisation. Results and gradients
    are the same but for rounding. Normalisation in training mode is computed as always.

    Pairs are found by tracing (:mod:`torch.fx`) the forward passes of the modules, and of their parts where one cannot
    be traced. In a pair, the normalisation alone gets the convolution's output. Who calls a convolution of a pair by
    itself, or hooks on to its output, gets that of the normalisation.

    Args:
        model: The model.
        modules: Names of submodules in which pairs are looked for, such as ``'backbone'``; True for the whole model.

    Returns:
        How many pairs.

    Raises:
        TypeError: ``modules`` is neither a bool, nor a name, nor a list of names.
        ValueError: There is no submodule of that name, or there is no pair.

    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)).eval()
    >>> images = torch.ones(1, 3, 4, 4)
    >>> expected = model(images)
    >>> turn_on_efficient_conv_bn_eval(model)
    1
    >>> torch.allclose(model(images), expected, atol=1e-6)
    True
    """
    if modules is False:
        return 0
    roots = [model] if modules is True else parts_named(model, modules, "efficient_conv_bn_eval")
    pairs = {id(conv): (conv, norm) for root in roots for conv, norm in _pairs(root)}
    if not pairs:
        raise ValueError(
            f"efficient_conv_bn_eval finds no convolution with a batch normalisation behind it in"
            f" {type(model).__name__}, or cannot follow its forward pass. Leave it out, or name other parts."
        )
    for conv, norm in pairs.values():
        if {"forward"} & {*vars(conv), *vars(norm)}:  # somebody has set another
            continue
        conv.forward = _Folded(conv, norm)
        norm.forward = _PassedOver(norm)
    return len(pairs)


def _pairs(root: nn.Module) -> Iterator[tuple[Any, Any]]:
    """Yield convolutions with the normalisations that alone get their outputs."""
    if not any(type(module) in _NORMS for module in root.modules()):
        return
    try:
        graph = fx.Tracer().trace(root)
    except Exception:  # whatever a user's forward does with the stand-ins for tensors
        for child in root.children():
            yield from _pairs(child)
        return
    calls = [node for node in graph.nodes if node.op == "call_module"]
    of_node = {node: root.get_submodule(str(node.target)) for node in calls}
    times = Counter(id(module) for module in of_node.values())
    for node, norm in of_node.items():
        before = node.args[0] if node.args else None
        if type(norm) not in _NORMS or not isinstance(before, fx.Node) or len(before.users) > 1:
            continue
        conv = of_node.get(before)
        if type(conv) in _CONVOLUTIONS and times[id(norm)] == times[id(conv)] == 1:
            yield conv, norm


def _is_fixed(norm: Any) -> bool:
    return not norm.training and norm.running_mean is not None


class _Folded:
    """The forward pass of a convolution, with the normalisation behind it where that is fixed.

    It is an object and no function, so that a copy of the model gets one that belongs to the copy.
    """

    def __init__(self, conv: Any, norm: Any) -> None:
        self.conv, self.norm = conv, norm

    def __call__(self, input: Tensor) -> Tensor:  # noqa: A002  as the convolution has it
        conv, norm = self.conv, self.norm
        weight, bias = conv.weight, conv.bias
        if _is_fixed(norm):
            scale = torch.rsqrt(norm.running_var + norm.eps)
            if norm.weight is not None:
                scale = scale * norm.weight
            shift = -norm.running_mean if bias is None else bias - norm.running_mean
            weight = weight * scale.to(weight.dtype).view(-1, *[1] * (weight.dim() - 1))
            bias = shift * scale if norm.bias is None else norm.bias + shift * scale
            bias = bias.to(weight.dtype)
        output: Tensor = conv._conv_forward(input, weight, bias)
        return output


class _PassedOver:
    """The forward pass of a normalisation, which has nothing left to do where it is fixed."""

    def __init__(self, norm: Any) -> None:
        self.norm = norm

    def __call__(self, input: Tensor) -> Tensor:  # noqa: A002  as the normalisation has it
        if _is_fixed(self.norm):
            return input
        output: Tensor = type(self.norm).forward(self.norm, input)
        return output
