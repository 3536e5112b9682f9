"""Every optimizer of torch, by name."""

from __future__ import annotations

import torch

from ..registry import OPTIMIZERS


def _register() -> None:
    """Register all classes of ``torch.optim`` under their own names."""
    for name, member in vars(torch.optim).items():
        if isinstance(member, type) and issubclass(member, torch.optim.Optimizer) and name != "Optimizer":
            OPTIMIZERS.register_module(name=name, module=member)


_register()
