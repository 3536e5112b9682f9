"""When log lines are written, and scalars handed to the visualizer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dist import is_main_process
from ..registry import HOOKS
from ..utils import display_path, require_local
from ..visualization import LocalVisBackend
from .data_wait import DataWait
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["LoggerHook"]


@HOOKS.register_module()
class LoggerHook(Hook):
    """Writes a line every so many iterations, and one for each validation and test.

    Only here does training wait for the device: the scalars of all iterations since the last line are read at once.
    Where it turns out that training mostly waits for data, a warning says so, once in a run, and what helps.

    Args:
        interval: Iterations from one line to the next.
        ignore_last: Write none for the last iterations of an epoch that are fewer than ``interval``.
        interval_exp_name: Iterations after which the name of the experiment is logged again.
        out_dir: Where the log and the scalars are copied at the end of a run: into a folder of the work directory's
            name.
        out_suffix: The names of the files to copy end with one of these.
        keep_local: Must be True where ``out_dir`` is given: the files stay in the work directory too.
        file_client_args: None, or ``dict(backend='disk')``: an older name of ``backend_args``.
        log_metric_by_epoch: Whether the results of validations are placed by epoch, or by iteration, in plots.
        backend_args: None, or ``dict(backend='local')``: files go to local directories.

    Raises:
        TypeError: An interval is no integer.
        ValueError: An interval is below 1, or files are to go elsewhere than to a local directory.
    """

    priority = "BELOW_NORMAL"

    def __init__(
        self,
        interval: int = 10,
        ignore_last: bool = True,
        interval_exp_name: int = 1000,
        out_dir: str | Path | None = None,
        out_suffix: str | Sequence[str] = (".json", ".jsonl", ".log", ".py", ".yaml"),
        keep_local: bool = True,
        file_client_args: Mapping[str, Any] | None = None,
        log_metric_by_epoch: bool = True,
        backend_args: Mapping[str, Any] | None = None,
    ) -> None:
        require_local("LoggerHook", out_dir, backend_args, file_client_args)
        if out_dir is not None and not keep_local:
            raise ValueError(
                "LoggerHook: keep_local=False is not supported: the log stays in the work directory too. Leave it out."
            )
        for name, value in (("interval", interval), ("interval_exp_name", interval_exp_name)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"LoggerHook: {name} must be an integer, but it is {value!r}.")
            if value < 1:
                raise ValueError(f"LoggerHook: {name} must be at least 1, but it is {value}.")
        self.interval = interval
        self.ignore_last = ignore_last
        self.interval_exp_name = interval_exp_name
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.out_suffix = (out_suffix,) if isinstance(out_suffix, str) else tuple(out_suffix)
        self.log_metric_by_epoch = log_metric_by_epoch
        self._evaluated = 0
        self._short_end: int | None = None
        self._data_wait = DataWait()
        self._first_iter = 0

    def before_run(self, runner: Runner) -> None:
        """Record the configuration."""
        if runner.cfg:
            runner.visualizer.add_config(runner.cfg)

    def after_run(self, runner: Runner) -> None:
        """Copy the log and the scalars, where asked to."""
        if self.out_dir is None or not is_main_process():
            return
        work_dir = Path(runner.work_dir).resolve()
        files = {file for file in Path(runner.log_dir).rglob("*") if file.is_file()}
        files |= {one.scalars_path for one in runner.visualizer.backends if isinstance(one, LocalVisBackend)}
        directory = self.out_dir / work_dir.name
        for file in sorted(files):
            if file.name.endswith(self.out_suffix) and file.is_file():
                within = file.resolve()
                target = directory / (within.relative_to(work_dir) if work_dir in within.parents else within.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
        runner.logger.info(f"The log and the scalars are copied to {display_path(directory)!r}.")

    def before_train(self, runner: Runner) -> None:
        """See where the run begins."""
        self._data_wait = DataWait()
        self._first_iter = runner.iter

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
        done, iteration = batch_idx + 1, runner.iter + 1
        if iteration % self.interval_exp_name == 0:
            runner.logger.info(f"Exp name: {runner.experiment_name}", extra={"live": True})
        if done % self.interval and done != self._short_end and iteration != runner.max_iters:
            return
        scalars, line = runner.log_processor.get_log_after_iter(runner, batch_idx, "train")
        runner.logger.info(line, extra={"live": True})
        runner.message_hub.update_info("latest_log", scalars, resumed=False)
        runner.visualizer.add_scalars({**scalars, "mode": "train"}, step=iteration)
        hint = self._data_wait.hint(runner.message_hub, runner.train_dataloader, iteration - self._first_iter)
        if hint is not None:
            runner.logger.warning(hint)

    def before_val_epoch(self, runner: Runner) -> None:
        """Begin to count the batches of all sets of data."""
        self._evaluated = 0

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Write the line, where it is time."""
        self._evaluated += 1
        if (batch_idx + 1) % self.interval == 0:
            _, line = runner.log_processor.get_log_after_iter(runner, batch_idx, "val")
            runner.logger.info(line, extra={"live": True})

    def before_test_epoch(self, runner: Runner) -> None:
        """Begin to count the batches of all sets of data."""
        self._evaluated = 0

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Write the line, where it is time."""
        self._evaluated += 1
        if (batch_idx + 1) % self.interval == 0:
            _, line = runner.log_processor.get_log_after_iter(runner, batch_idx, "test")
            runner.logger.info(line, extra={"live": True})

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the results."""
        scalars, line = runner.log_processor.get_log_after_epoch(runner, self._evaluated, "val")
        runner.logger.info(line)
        position = {"iter": runner.iter, "epoch": runner.epoch, "mode": "val"}
        step = runner.epoch if self.log_metric_by_epoch and runner.by_epoch else runner.iter
        runner.visualizer.add_scalars({**scalars, **position}, step=step)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the results."""
        scalars, line = runner.log_processor.get_log_after_epoch(runner, self._evaluated, "test", with_non_scalar=True)
        runner.logger.info(line)
        numbers = {name: value for name, value in scalars.items() if isinstance(value, (int, float))}
        position = {"iter": runner.iter, "epoch": runner.epoch, "mode": "test"}
        runner.visualizer.add_scalars({**numbers, **position}, step=runner.iter)
