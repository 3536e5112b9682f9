"""What a step calls of an optimizer, without the marks for profilers while nobody profiles.

torch puts ``record_function`` around ``Optimizer.step`` and ``zero_grad``. For a small model that takes longer than the
step itself: about 15 of 30 microseconds.
"""

from __future__ import annotations

from typing import Any

from torch._C._autograd import _profiler_enabled
from torch.optim import Optimizer
from torch.optim import optimizer as hooks_of_all

from .fused import prepare_fused_step

__all__ = ["step", "zero_grad"]

# What torch puts around the step of every class: recognised by its code, whatever it is put around.
_MARKED = Optimizer.profile_hook_step(lambda optimizer: None).__code__


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
