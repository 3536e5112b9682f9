"""Every optimizer of torch, by name."""

from __future__ import annotations

import torch

from ..registry import OPTIMIZERS

__all__ = ["register_torch_optimizers"]


def register_torch_optimizers() -> list[str]:
    """Register all classes of ``torch.optim`` under their own names, and return these."""
    names = []
    for name, member in vars(torch.optim).items():
        if isinstance(member, type) and issubclass(member, torch.optim.Optimizer) and name != "Optimizer":
            OPTIMIZERS.register_module(name=name, module=member)
            names.append(name)
    return names


register_torch_optimizers()
