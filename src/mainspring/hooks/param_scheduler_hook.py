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
    """Advances each schedule by one at the end of the iterations, or of the epochs, that it counts.

    Those that go by the results of validations get these after each validation of the training.
    """

    priority = "LOW"

    def before_train(self, runner: Runner) -> None:
        """Check that there will be validations, where a schedule goes by their results."""
        if runner.val_loop is None:
            for index, scheduler in enumerate(runner.param_schedulers):
                if _goes_by_results(scheduler):
                    raise ValueError(
                        f"param_scheduler[{index}] ({type(scheduler).__name__}) goes by the results of validations, but"
                        " there are none. Pass val_dataloader, val_cfg and val_evaluator to the Runner, or leave it"
                        " out."
                    )

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

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Give the results of a validation within training to the schedules that go by them."""
        if runner.is_training and metrics is not None:
            for scheduler in runner.param_schedulers:
                if _goes_by_results(scheduler):
                    scheduler.step(metrics)


def _goes_by_results(scheduler: Any) -> bool:
    """Whether a schedule's ``step`` takes the results of a validation; it may be anybody's, and not say."""
    return bool(getattr(scheduler, "need_val_args", False))
