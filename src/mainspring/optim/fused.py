"""The fused step of torch's optimizers: one kernel for all parameters."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ..registry import OPTIMIZERS

__all__ = ["make_momentum_buffers", "with_fused_step"]

_DEVICES = {"cpu", "cuda", "mps", "xpu"}
_DTYPES = {torch.float32, torch.float64}


def with_fused_step(cfg: Mapping[str, Any], model: nn.Module) -> Mapping[str, Any]:
    """Return an optimizer's config with ``fused=True``, where torch has it and nothing speaks against it.

    A fused step reads and writes each parameter once, in a few kernels. Its arithmetic is that of the plain step in
    another order of operations: results differ from it by rounding, by about 1e-7 in float32 after tens of steps.

    It is left out where the config says how the step is made (``fused=False`` is torch's default, ``foreach``,
    ``capturable``, ``differentiable``) or damps the momentum of SGD, where the class is not torch's own, and where a
    parameter is not float32 or float64, lies on a device without such kernels, or gets sparse gradients.

    Args:
        cfg: The config, with ``type``.
        model: Whose parameters are optimised.
    """
    kind = cfg.get("type")
    kind = OPTIMIZERS.get(kind) if isinstance(kind, str) else kind
    if not isinstance(kind, type) or not kind.__module__.startswith("torch.optim"):
        return cfg
    chosen = cfg.get("fused") is not None or cfg.get("foreach") is not None
    if chosen or cfg.get("capturable") or cfg.get("differentiable") or cfg.get("dampening"):
        return cfg
    if "fused" not in inspect.signature(kind).parameters:
        return cfg
    if any(p.device.type not in _DEVICES or p.dtype not in _DTYPES for p in model.parameters()):
        return cfg
    if any(getattr(module, "sparse", False) is True for module in model.modules()):  # nn.Embedding and its kin
        return cfg
    return {**cfg, "fused": True}


def make_momentum_buffers(optimizer: Optimizer) -> None:
    """Make the momentum of a fused SGD where there is none yet, as zeros: the first step makes the gradient of it.

    torch makes it in a parameter's first step, but its fused step fails where only some parameters have theirs, as when
    a layer gets its first gradient later than the others.
    """
    if type(optimizer) is not torch.optim.SGD:
        return
    for group in optimizer.param_groups:
        if group["fused"] and group["momentum"] != 0 and group["dampening"] == 0:
            for parameter in group["params"]:
                state = optimizer.state[parameter]
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
