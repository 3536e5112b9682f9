"""When the schedules advance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..optim import OptimWrapper
from ..registry import HOOKS
from .hook import Hook
from .results import is_left_out

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["ParamSchedulerHook"]


@HOOKS.register_module()
class ParamSchedulerHook(Hook):
    """Advances each schedule by one at the end of the iterations, or of the epochs, that it counts.

    Those that count updates are advanced at the end of an iteration by as many as their optimizer has made in it.
    Those that go by the results of validations get these after each validation of the training.
    """

    priority = "LOW"

    def __init__(self) -> None:
        # By the id of each schedule that counts updates, what its wrapper had counted before the iteration.
        self._counted: dict[int, int] = {}

    def before_train(self, runner: Runner) -> None:
        """Check that there will be validations, where a schedule goes by their results."""
        self._counted = {
            id(scheduler): _wrapper_of(scheduler, runner).inner_count
            for scheduler in runner.schedules
            if _counts_updates(scheduler)
        }
        if runner.val_loop is None:
            for index, scheduler in enumerate(runner.schedules):
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
        """Advance the schedules that count iterations, and those that count updates."""
        for scheduler in runner.schedules:
            if scheduler.by_epoch:
                continue
            for _ in range(self._new_updates(scheduler, runner) if _counts_updates(scheduler) else 1):
                scheduler.step()

    def after_train_epoch(self, runner: Runner) -> None:
        """Advance the schedules that count epochs."""
        for scheduler in runner.schedules:
            if scheduler.by_epoch:
                scheduler.step()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Give the results of a validation within training to the schedules that go by them."""
        if runner.is_training and metrics is not None:
            for scheduler in runner.schedules:
                if _goes_by_results(scheduler) and not _waits(scheduler, metrics, runner):
                    scheduler.step(metrics)

    def _new_updates(self, scheduler: Any, runner: Runner) -> int:
        """Return how many updates the optimizer of a schedule has made in this iteration."""
        wrapper = _wrapper_of(scheduler, runner)
        before, now, group = self._counted.get(id(scheduler)), wrapper.inner_count, wrapper.accumulative_counts
        if before is None:  # the hook or the schedule came after before_train
            before = wrapper.counted_before(runner.iter)
        self._counted[id(scheduler)] = now
        cut_short = now > before and now % group != 0 and wrapper.should_update()  # the last group of the run
        return now // group - before // group + cut_short


def _counts_updates(scheduler: Any) -> bool:
    return getattr(scheduler, "unit", "") == "update"  # a schedule may be anybody's, and not say


def _wrapper_of(scheduler: Any, runner: Runner) -> OptimWrapper:
    """Return the wrapper whose updates a schedule counts."""
    if isinstance(scheduler.optimizer, OptimWrapper):
        return scheduler.optimizer
    if isinstance(runner.optim_wrapper, OptimWrapper):
        for wrapper in runner.optim_wrapper.parts.values():
            if wrapper.optimizer is scheduler.optimizer:
                return wrapper
    raise TypeError(
        f"{type(scheduler).__name__} has unit='update', but {type(runner.optim_wrapper).__name__} does not say when it"
        " updates. Derive it from OptimWrapper, or let the schedule count iterations: by_epoch=False."
    )


def _waits(scheduler: Any, metrics: dict[str, float], runner: Runner) -> bool:
    """Whether what a schedule goes by is a result of data which this validation leaves out."""
    monitor = getattr(scheduler, "monitor", None)  # a schedule may be anybody's, and not say
    return monitor is not None and monitor not in metrics and is_left_out(monitor, runner)


def _goes_by_results(scheduler: Any) -> bool:
    """Whether a schedule's ``step`` takes the results of a validation; it may be anybody's, and not say."""
    return bool(getattr(scheduler, "need_val_args", False))
