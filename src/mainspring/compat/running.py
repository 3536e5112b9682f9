"""Functions around a run that stand by themselves in MMEngine."""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from ..device import get_device
from ..dist import get_rank, sync_random_seed
from ..logging import print_log
from ..model import is_model_wrapper
from ..utils import seed_generators

__all__ = ["autocast", "get_state_dict", "set_random_seed"]


def autocast(
    device_type: str | None = None,
    dtype: torch.dtype | None = None,
    enabled: bool = True,
    cache_enabled: bool | None = None,
) -> AbstractContextManager[Any]:
    """Return torch's context of mixed precision.

    Args:
        device_type: Such as ``'cuda'``; by default that of this machine's accelerator, or the CPU.
        dtype: The lower of the two precisions; by default torch's own choice.
        enabled: Whether torch chooses the precision.
        cache_enabled: Whether converted weights are kept within the context; by default torch's own choice.

    >>> with autocast("cpu"):
    ...     (torch.ones(1, 2) @ torch.ones(2, 1)).dtype
    torch.bfloat16
    """
    kind = torch.device(get_device()).type if device_type is None else device_type
    return torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)


def get_state_dict(
    module: nn.Module, destination: OrderedDict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
) -> OrderedDict[str, Any]:
    """Return the weights of a module, by names in which wrappers such as ``DataParallel`` do not appear.

    Args:
        module: The module; it and modules in it may be wrappers.
        destination: A dict that the weights are added to.
        prefix: What all names begin with.
        keep_vars: Whether parameters stay parameters, with their gradients.

    >>> list(get_state_dict(nn.Sequential(nn.DataParallel(nn.Linear(1, 1)))))
    ['0.weight', '0.bias']
    """
    wrappers = [f"{name}.module" if name else "module" for name, one in module.named_modules() if is_model_wrapper(one)]
    weights = module.state_dict(keep_vars=keep_vars)
    named: OrderedDict[str, Any] = OrderedDict() if destination is None else destination
    named.update((prefix + _without(key, wrappers), value) for key, value in weights.items())
    # Of a wrapper and what it holds, which have one name now, the facts of the latter come last, and stay.
    facts = {(prefix + _without(key, wrappers)).rstrip("."): fact for key, fact in weights._metadata.items()}  # type: ignore[attr-defined]
    named._metadata = OrderedDict({**getattr(named, "_metadata", {}), **facts})  # type: ignore[attr-defined]
    return named


def _without(key: str, wrappers: list[str]) -> str:
    """Leave ``module`` out of a name, wherever it leads through a wrapper."""
    for wrapper in sorted(wrappers, key=len, reverse=True):
        if f"{key}.".startswith(f"{wrapper}."):
            key = (wrapper.removesuffix("module") + key.removeprefix(wrapper).removeprefix(".")).rstrip(".")
    return key


def set_random_seed(seed: int | None = None, deterministic: bool = False, diff_rank_seed: bool = False) -> int:
    """Seed the generators of Python, NumPy and torch. A runner does so itself, by ``randomness=dict(seed=...)``.

    Args:
        seed: The seed; by default one that all processes draw together.
        deterministic: Let torch take only algorithms that compute the same bits each time.
        diff_rank_seed: Add the number of the process to the seed.

    Returns:
        The seed, with what was added.
    """
    if seed is None:
        seed = sync_random_seed()
    if diff_rank_seed:
        seed += get_rank()
    seed_generators(seed, torch.device(get_device()))
    if deterministic:
        if torch.backends.cudnn.benchmark:
            print_log("cuDNN's benchmark mode is switched off, since deterministic is on.", "current", logging.WARNING)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(True)
    return seed
