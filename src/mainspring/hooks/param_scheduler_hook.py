"""When the schedules advance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..registry import HOOKS
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["ParamSchedulerHook"]


@HOOKS.register_module()
class ParamSchedulerHook(Hook):
    """Advances each schedule by one at the end of the iterations, or of the epochs, that it counts."""

    priority = "LOW"

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Advance the schedules that count iterations."""
        for scheduler in runner.param_schedulers:
            if not scheduler.by_epoch:
                scheduler.step()

    def after_train_epoch(self, runner: Runner) -> None:
        """Advance the schedules that count epochs."""
        for scheduler in runner.param_schedulers:
            if scheduler.by_epoch:
                scheduler.step()
