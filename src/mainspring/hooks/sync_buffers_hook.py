"""One mean for the buffers of all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..dist import all_reduce_params, get_world_size
from ..registry import HOOKS
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["SyncBuffersHook"]


@HOOKS.register_module()
class SyncBuffersHook(Hook):
    """Brings the buffers of the model, such as the statistics of batch normalisation, to their mean over all processes.

    Each process gathers statistics of its own batches. They become one at the end of each epoch; and where training
    counts iterations, before each validation within it. With one process there is nothing to do.
    """

    # Earlier than EMAHook, which exchanges the model's weights and buffers for a validation.
    priority = "ABOVE_NORMAL"

    def before_run(self, runner: Runner) -> None:
        """Find out whether there is anything to do."""
        self.idle_at = () if get_world_size() > 1 else ("after_train_epoch", "before_val_epoch")

    def after_train_epoch(self, runner: Runner) -> None:
        """Bring them to their mean."""
        all_reduce_params(runner.model.buffers(), op="mean")

    def before_val_epoch(self, runner: Runner) -> None:
        """Bring them to their mean, unless that was done when the epoch ended."""
        if runner.is_training and not runner.by_epoch:
            all_reduce_params(runner.model.buffers(), op="mean")
