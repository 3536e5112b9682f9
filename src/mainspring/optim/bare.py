"""What a step calls of torch, without what torch does around it for cases that are not at hand.

torch puts ``record_function``, a mark for profilers, around ``Optimizer.step`` and ``zero_grad``. For a small model
that takes longer than the step itself: about 15 of 30 microseconds. ``Tensor.backward`` looks at what it was given for
half as long as a small graph takes: 4 of 11 microseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._C import _are_functorch_transforms_active
from torch._C._autograd import _profiler_enabled
from torch.autograd.graph import _engine_run_backward
from torch.optim import Optimizer
from torch.optim import optimizer as hooks_of_all
from torch.overrides import has_torch_function_unary

from .fused import prepare_fused_step

__all__ = ["backward", "step", "unmarked", "zero_grad"]

# What torch puts around the step of every class: recognised by its code, whatever it is put around.
_MARKED = Optimizer.profile_hook_step(lambda optimizer: None).__code__


_OF_TORCH = (torch.Tensor.backward, torch.autograd.backward)  # some tools put others in their place


def backward(loss: torch.Tensor, **kwargs: Any) -> None:
    """Call ``loss.backward(**kwargs)``, or do the same, where the loss is a number of a plain tensor."""
    if (
        kwargs
        or type(loss) is not torch.Tensor
        or loss.dim() != 0
        or not loss.is_floating_point()
        or has_torch_function_unary(loss)  # a mode wants to see each call
        or _are_functorch_transforms_active()
        or (torch.Tensor.backward, torch.autograd.backward) != _OF_TORCH
    ):
        loss.backward(**kwargs)  # type: ignore[no-untyped-call]
    else:
        gradient = torch.ones_like(loss, memory_format=torch.preserve_format)
        _engine_run_backward((loss,), (gradient,), False, False, (), allow_unreachable=True, accumulate_grad=True)


def step(optimizer: Optimizer, **kwargs: Any) -> None:
    """Call ``optimizer.step(**kwargs)``: directly, where nobody profiles, hooks on, or has put another in place."""
    prepare_fused_step(optimizer)
    method = type(optimizer).step
    if (
        getattr(method, "__code__", None) is not _MARKED
        or "step" in vars(optimizer)
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or hooks_of_all._global_optimizer_pre_hooks
        or hooks_of_all._global_optimizer_post_hooks
        or _profiler_enabled()
    ):
        optimizer.step(**kwargs)
    else:
        method.__wrapped__(optimizer, **kwargs)  # type: ignore[attr-defined]


def unmarked(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return the ``step`` of a class of optimizers without torch's marks; what others have put around it stays."""
    if getattr(method, "__code__", None) is _MARKED:
        inner: Callable[..., Any] = method.__wrapped__  # type: ignore[attr-defined]
        return inner
    return method


def zero_grad(optimizer: Optimizer, **kwargs: Any) -> None:
    """Call ``optimizer.zero_grad(**kwargs)``, or do the same where that is torch's own and nobody profiles."""
    if (
        kwargs
        or type(optimizer).zero_grad is not Optimizer.zero_grad
        or "zero_grad" in vars(optimizer)
        or _profiler_enabled()
    ):
        optimizer.zero_grad(**kwargs)
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
