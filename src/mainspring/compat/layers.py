"""Questions about layers."""

from __future__ import annotations

import importlib.util

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

__all__ = ["has_batch_norm", "is_norm", "mmcv_full_available"]


def is_norm(layer: nn.Module, exclude: type | tuple[type, ...] | None = None) -> bool:
    """Whether a layer is a batch, group, instance or layer normalisation.

    Args:
        layer: The layer.
        exclude: Classes of layers for which the answer is no.

    Raises:
        TypeError: ``exclude`` is something else.

    >>> is_norm(nn.GroupNorm(1, 4)), is_norm(nn.GroupNorm(1, 4), exclude=nn.GroupNorm), is_norm(nn.Linear(1, 1))
    (True, False, False)
    """
    excluded = () if exclude is None else exclude if isinstance(exclude, tuple) else (exclude,)
    if not all(isinstance(one, type) for one in excluded):
        raise TypeError(f"exclude must be a class, a tuple of classes, or None, but it is {exclude!r}.")
    return isinstance(layer, (_NormBase, nn.GroupNorm, nn.LayerNorm)) and not isinstance(layer, excluded)


def has_batch_norm(model: nn.Module) -> bool:
    """Whether a model has a batch normalisation, or is one."""
    return any(isinstance(module, _BatchNorm) and not isinstance(module, _InstanceNorm) for module in model.modules())


def mmcv_full_available() -> bool:
    """Whether mmcv with its compiled operators is installed."""
    return importlib.util.find_spec("mmcv") is not None and importlib.util.find_spec("mmcv._ext") is not None
