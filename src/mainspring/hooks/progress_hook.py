"""The live display of a run on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..dist import is_main_process
from ..logging import get_console
from ..registry import HOOKS
from .hook import Hook
from .results import numbers_in

if TYPE_CHECKING:
    from ..runner import Runner
    from .progress_display import ProgressDisplay

__all__ = ["ProgressHook"]


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows epoch, progress, speed, time left, losses and results, where the output is a terminal.

    Losses are those of the last log line, so that the display never waits for the device. It is drawn from the
    training thread, a few times a second: no other thread, hence no lock that a data loading process could inherit.
    Elsewhere (a file, a pipe) nothing is shown, and the log lines speak.

    Args:
        seconds: The least time from one drawing to the next.
    """

    priority = "VERY_LOW"

    def __init__(self, seconds: float = 0.1) -> None:
        self.seconds = seconds
        self._display: ProgressDisplay | None = None
        self._drawn = 0.0
        self._mode = ""
        self._began = 0.0
        self._done = 0
        self._results: dict[str, float] = {}

    def before_run(self, runner: Runner) -> None:
        """See whether there is a terminal."""
        self.idle_at = () if _can_show() else ("after_train_iter", "after_val_iter", "after_test_iter")

    def before_train(self, runner: Runner) -> None:
        """Begin the display."""
        self._open()

    def before_val(self, runner: Runner) -> None:
        """Begin the display, unless it is there."""
        self._open()

    def before_test(self, runner: Runner) -> None:
        """Begin the display, unless it is there."""
        self._open()

    def _open(self) -> None:
        if self._display is None and _can_show():
            from .progress_display import ProgressDisplay

            self._display = ProgressDisplay(get_console())

    def close(self) -> None:
        """Take the display away, and leave the terminal as it was."""
        if self._display is not None:
            self._display.close()
            self._display = None

    def after_train(self, runner: Runner) -> None:
        """End the display."""
        self.close()

    def after_test(self, runner: Runner) -> None:
        """End the display."""
        self.close()

    def after_val(self, runner: Runner) -> None:
        """End the display, unless training goes on."""
        if not runner.is_training:
            self.close()

    def _before_epoch(self, runner: Runner, mode: str = "train") -> None:
        self._mode, self._began, self._done = mode, time.perf_counter(), 0

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the results for the display."""
        self._results = numbers_in(metrics)

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Mapping[str, Any] | Sequence[Any] | None = None,
        mode: str = "train",
    ) -> None:
        if self._display is None:
            return
        now = time.perf_counter()
        if mode != self._mode:  # back from a validation in the midst of training
            self._mode, self._began, self._done = mode, now, 0
        else:
            self._done += 1
        if now - self._drawn >= self.seconds:
            self._drawn = now
            self._draw(self._display, runner, batch_idx, mode, self._done / max(now - self._began, 1e-9))

    def _draw(self, display: ProgressDisplay, runner: Runner, batch_idx: int, mode: str, speed: float) -> None:
        loop = {"train": runner.train_loop, "val": runner.val_loop, "test": runner.test_loop}[mode]
        title, done, total = mode, batch_idx + 1, loop.num_batches if loop is not None else None
        if mode == "train" and runner.by_epoch:
            title = f"epoch {runner.epoch + 1}/{runner.max_epochs}"
        elif mode == "train":
            done, total = runner.iter + 1, runner.max_iters
        eta = runner.message_hub.get_info("eta")
        rest = f"{speed:.1f} it/s" + (f"  {_clock(eta)} left" if eta is not None else "")
        latest = numbers_in(runner.message_hub.get_info("latest_log") or {})
        shown = {k: v for k, v in latest.items() if "loss" in k or k.rpartition(".")[2] in ("lr", "grad_norm")}
        display.draw(title, done, total, rest, shown, self._results)


def _can_show() -> bool:
    if not (is_main_process() and sys.stdout.isatty()):
        return False
    console = get_console()
    # On a dumb terminal rich draws nothing, and the log lines must speak.
    return console.is_terminal and not console.is_dumb_terminal


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
