"""Names around optimizers that have others here."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from ..optim import OptimWrapper
from ..utils import did_you_mean

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, about others of its optimizers
    from torch.distributed.optim import ZeroRedundancyOptimizer as _ZeroRedundancyOptimizer

__all__ = ["BaseOptimWrapper", "ZeroRedundancyOptimizer"]

BaseOptimWrapper = OptimWrapper
"""What a wrapper derives from that does its own steps."""


class ZeroRedundancyOptimizer(_ZeroRedundancyOptimizer):
    """torch's :class:`~torch.distributed.optim.ZeroRedundancyOptimizer`, with the optimizer by its name.

    Args:
        params: The parameters; of one group.
        optimizer_type: The name of an optimizer of torch, such as ``'AdamW'``.
        **kwargs: As for torch's, and for the optimizer.

    Raises:
        ValueError: torch has no such optimizer.
    """

    def __init__(self, params: Any, optimizer_type: str, **kwargs: Any) -> None:
        found = getattr(torch.optim, optimizer_type, None)
        if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
            names = [name for name, one in vars(torch.optim).items() if isinstance(one, type) and name != "Optimizer"]
            raise ValueError(
                f"optimizer_type must be the name of an optimizer of torch, but it is {optimizer_type!r}."
                f"{did_you_mean(optimizer_type, names)}"
            )
        super().__init__(params, found, **kwargs)
