"""The fused step of torch's optimizers: one kernel for all parameters."""

from __future__ import annotations

import inspect
import logging
import operator
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.optim import Optimizer

from ..logging import print_log
from ..registry import OPTIMIZERS

__all__ = ["prepare_fused_step", "with_fused_step"]

_DEVICES = {"cpu", "cuda", "mps", "xpu"}
_DTYPES = {torch.float32, torch.float64}
_KNOWN = ("torch.optim", "mainspring.optim")  # whose classes take ``fused`` for what torch means by it
_is_contiguous = torch.Tensor.is_contiguous
_dtype_of, _grad_of = operator.attrgetter("dtype"), operator.attrgetter("grad")
_SEEN: WeakKeyDictionary[Optimizer, _Seen] = WeakKeyDictionary()


def with_fused_step(cfg: Mapping[str, Any], model: nn.Module) -> Mapping[str, Any]:
    """Return an optimizer's config with ``fused=True``, where torch has it and nothing speaks against it.

    A fused step reads and writes each parameter once, in a few kernels. Its arithmetic is that of the plain step in
    another order of operations: results differ from it by rounding, by about 1e-7 in float32 after tens of steps.

    It is left out where the config says how the step is made (``fused=False`` is torch's default, ``foreach``,
    ``capturable``, ``differentiable``) or damps the momentum of SGD, where the class is neither torch's nor ours, and
    where a parameter is not float32 or float64, lies on a device without such kernels, or gets sparse gradients.

    Args:
        cfg: The config, with ``type``.
        model: Whose parameters are optimised.
    """
    kind = cfg.get("type")
    kind = OPTIMIZERS.get(kind) if isinstance(kind, str) else kind
    if not isinstance(kind, type) or not kind.__module__.startswith(_KNOWN):
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


def prepare_fused_step(optimizer: Optimizer) -> None:
    """Bring what a fused step works on into the form that its kernels take for granted; they do not look.

    They run through the memory of a parameter, its gradient and its state side by side, whatever their strides, and the
    one of SGD wants all momentum to be there or none. So a gradient or state that lies otherwise than its parameter, as
    after a change of the memory format, is copied into the parameter's layout, and missing momentum is made, as zeros:
    the step makes the gradient of it. Where that does not help, with sparse gradients and with parameters that leave
    gaps in their memory, the plain step is taken from then on, with a warning.

    All of it is looked at when something may have changed: in the first two steps, of which one makes the state; after
    a state was loaded or a group was added; and when a parameter has another dtype, or it or its gradient has other
    strides than before, or has come or gone. Only this last is compared in each step.
    """
    groups = [group for group in optimizer.param_groups if group.get("fused")]
    if not groups:
        return
    seen = _SEEN.get(optimizer)
    unchanged = seen is not None and seen.holds(optimizer, groups)
    if not unchanged and _look_at_all(optimizer, groups):
        _SEEN[optimizer] = _Seen(optimizer, groups)


class _Seen:
    """What all that was looked at depends on, as it was then."""

    def __init__(self, optimizer: Optimizer, groups: list[dict[str, Any]]) -> None:
        self.state = optimizer.state
        self.states = len(optimizer.state)
        self.needs_momentum = [_needs_momentum(optimizer, group) for group in groups]
        self.members: list[list[torch.Tensor]] = [list(group["params"]) for group in groups]
        self.parameters = [parameter for members in self.members for parameter in members]
        self.dtypes = list(map(_dtype_of, self.parameters))
        self.updated = [parameter for parameter in self.parameters if parameter.grad is not None]
        self.left = [parameter for parameter in self.parameters if parameter.grad is None]
        self.contiguous = all(map(_is_contiguous, self.updated))
        self.strides = [parameter.stride() for parameter in self.updated]

    def holds(self, optimizer: Optimizer, groups: list[dict[str, Any]]) -> bool:
        """Whether all is as it was."""
        if (
            self.state is not optimizer.state
            or self.states != len(self.state)
            or len(groups) != len(self.members)
            or list(map(_dtype_of, self.parameters)) != self.dtypes
        ):
            return False
        for group, members, needs_momentum in zip(groups, self.members, self.needs_momentum, strict=True):
            present = group["params"]
            if len(present) != len(members) or not all(map(operator.is_, present, members)):
                return False
            if _needs_momentum(optimizer, group) != needs_momentum:
                return False
        if self.left and any(parameter.grad is not None for parameter in self.left):
            return False
        try:
            return self._lie_alike(list(map(_grad_of, self.updated)))
        except (AttributeError, RuntimeError, TypeError):  # None, or a sparse one, has no strides
            return False

    def _lie_alike(self, gradients: list[Any]) -> bool:
        """Whether parameters and gradients lie as the parameters did."""
        if self.contiguous:  # all that was looked at is: no need to compare strides, which takes twice as long
            return all(map(_is_contiguous, gradients)) and all(map(_is_contiguous, self.updated))
        return self.strides == [parameter.stride() for parameter in self.updated] and self.strides == [
            gradient.stride() for gradient in gradients
        ]


def _needs_momentum(optimizer: Optimizer, group: dict[str, Any]) -> bool:
    return type(optimizer) is torch.optim.SGD and group["momentum"] != 0 and group["dampening"] == 0


def _look_at_all(optimizer: Optimizer, groups: list[dict[str, Any]]) -> bool:
    """Bring all into the form that fused kernels need, and return whether that was possible."""
    for group in groups:
        needs_momentum = _needs_momentum(optimizer, group)
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None:
                continue
            if gradient.layout is not torch.strided:
                _leave_fused_step(optimizer, "gets sparse gradients", parameter)
                return False
            strides = parameter.stride()
            if gradient.stride() != strides:
                if not _is_dense(parameter):
                    _leave_fused_step(optimizer, f"has gaps in its memory (strides {tuple(strides)})", parameter)
                    return False
                parameter.grad = _laid_out_like(parameter, gradient)
            state = optimizer.state.get(parameter)
            if needs_momentum and (state is None or state.get("momentum_buffer") is None):
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            elif state:
                for key, value in state.items():
                    if _lies_otherwise(value, parameter):
                        state[key] = _laid_out_like(parameter, value)
    return True


def _lies_otherwise(value: Any, parameter: torch.Tensor) -> bool:
    """Whether it is a value for each element of a parameter, with another layout or dtype."""
    if not isinstance(value, torch.Tensor) or (value.stride(), value.dtype) == (parameter.stride(), parameter.dtype):
        return False
    return value.shape == parameter.shape and value.dim() > 0


def _laid_out_like(parameter: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return a copy of values of a parameter's shape with the parameter's dtype and strides."""
    return torch.empty_like(parameter).copy_(values)


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements of a tensor follow each other in memory without gaps, in whatever order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def _leave_fused_step(optimizer: Optimizer, reason: str, parameter: torch.Tensor) -> None:
    for group in optimizer.param_groups:
        if group.get("fused"):
            group["fused"] = False
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]  # by which GradScaler knows a fused step
    print_log(
        f"A parameter of shape {tuple(parameter.shape)} {reason}, so that {type(optimizer).__name__} takes torch's"
        " plain step from now on. fused=False in optim_wrapper.optimizer says so from the beginning.",
        "current",
        logging.WARNING,
    )
