"""A new order of the data for each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..dataset import ResumableLoader, set_epoch
from ..registry import HOOKS
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["DistSamplerSeedHook"]


@HOOKS.register_module()
class DistSamplerSeedHook(Hook):
    """Tells the sampler of the training data which epoch begins, where it wants to know (``set_epoch``)."""

    priority = "NORMAL"

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell it."""
        if not isinstance(runner.train_dataloader, ResumableLoader):  # that tells its sampler itself
            set_epoch(runner.train_dataloader, runner.epoch)
