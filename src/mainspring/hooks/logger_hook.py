"""When log lines are written, and scalars handed to the visualizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..registry import HOOKS
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["LoggerHook"]


@HOOKS.register_module()
class LoggerHook(Hook):
    """Writes a line every so many iterations, and one for each validation and test.

    Only here does training wait for the device: the scalars of all iterations since the last line are read at once.

    Args:
        interval: Iterations from one line to the next.
        ignore_last: Write none for the last iterations of an epoch that are fewer than ``interval``.
        interval_exp_name: Iterations after which the name of the experiment is logged again.
        log_metric_by_epoch: Whether the results of validations are placed by epoch, or by iteration, in plots.

    Raises:
        ValueError: An interval is below 1.
    """

    priority = "BELOW_NORMAL"

    def __init__(
        self,
        interval: int = 10,
        ignore_last: bool = True,
        interval_exp_name: int = 1000,
        log_metric_by_epoch: bool = True,
    ) -> None:
        for name, value in (("interval", interval), ("interval_exp_name", interval_exp_name)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"LoggerHook: {name} must be an integer, but it is {value!r}.")
            if value < 1:
                raise ValueError(f"LoggerHook: {name} must be at least 1, but it is {value}.")
        self.interval = interval
        self.ignore_last = ignore_last
        self.interval_exp_name = interval_exp_name
        self.log_metric_by_epoch = log_metric_by_epoch
        self._evaluated = 0
        self._short_end: int | None = None

    def before_run(self, runner: Runner) -> None:
        """Record the configuration."""
        if runner.cfg:
            runner.visualizer.add_config(runner.cfg)

    def before_train_epoch(self, runner: Runner) -> None:
        """See where the epoch ends, if a line is due there that the interval does not give."""
        length = runner.train_loop.num_batches if runner.train_loop is not None else None
        due = length is not None and (not self.ignore_last or length <= self.interval)
        self._short_end = length if due else None

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Write the line, where it is time."""
        done = batch_idx + 1
        if (runner.iter + 1) % self.interval_exp_name == 0:
            runner.logger.info(f"Exp name: {runner.experiment_name}", extra={"live": True})
        if done % self.interval and done != self._short_end and not self.is_last_train_iter(runner):
            return
        scalars, line = runner.log_processor.get_log_after_iter(runner, batch_idx, "train")
        runner.logger.info(line, extra={"live": True})
        runner.message_hub.update_info("latest_log", scalars, resumed=False)
        runner.visualizer.add_scalars({**scalars, "mode": "train"}, step=runner.iter + 1)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Write the line, where it is time."""
        self._evaluated = batch_idx + 1
        if self.every_n_inner_iters(batch_idx, self.interval):
            _, line = runner.log_processor.get_log_after_iter(runner, batch_idx, "val")
            runner.logger.info(line, extra={"live": True})

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Write the line, where it is time."""
        self._evaluated = batch_idx + 1
        if self.every_n_inner_iters(batch_idx, self.interval):
            _, line = runner.log_processor.get_log_after_iter(runner, batch_idx, "test")
            runner.logger.info(line, extra={"live": True})

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the results."""
        scalars, line = runner.log_processor.get_log_after_epoch(runner, self._evaluated, "val")
        runner.logger.info(line)
        position = {"iter": runner.iter, "epoch": runner.epoch, "mode": "val"}
        step = runner.epoch if self.log_metric_by_epoch and runner.max_epochs > 1 else runner.iter
        runner.visualizer.add_scalars({**scalars, **position}, step=step)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the results."""
        scalars, line = runner.log_processor.get_log_after_epoch(runner, self._evaluated, "test", with_non_scalar=True)
        runner.logger.info(line)
        numbers = {name: value for name, value in scalars.items() if isinstance(value, (int, float))}
        position = {"iter": runner.iter, "epoch": runner.epoch, "mode": "test"}
        runner.visualizer.add_scalars({**numbers, **position}, step=runner.iter)
