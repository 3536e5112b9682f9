"""How long iterations take, and how long the run will."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..registry import HOOKS
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner
    from ..runner.base_loop import BaseLoop

__all__ = ["IterTimerHook"]


@HOOKS.register_module()
class IterTimerHook(Hook):
    """Records how long iterations take.

    ``time`` is the seconds from the end of an iteration to the end of the next, ``data_time`` those of them that were
    spent waiting for data. From these follow the seconds left, ``eta`` of the message hub.

    On an accelerator a step only queues work, so single times are times of queueing; over many iterations, with a
    log line that reads results now and then, their mean is the time of an iteration.
    """

    priority = "NORMAL"

    def __init__(self) -> None:
        self._since = 0.0
        self._seconds = 0.0
        self._loop: BaseLoop | None = None  # the one that evaluates, and what its times are called
        self._names = ("", "")
        self._batches: int | None = None  # of the pass that it makes
        self._is_first_pass = True
        self._train_seconds = 0.0
        self._first_iter = 0

    def before_train(self, runner: Runner) -> None:
        """Begin the mean from which the time left is derived."""
        self._train_seconds = 0.0
        self._first_iter = runner.iter

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Record how long the data took."""
        runner.message_hub.update_scalar("train/data_time", time.perf_counter() - self._since)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Record how long the iteration took, and what is left."""
        hub, now = runner.message_hub, time.perf_counter()
        elapsed, self._since = now - self._since, now
        hub.update_scalar("train/time", elapsed)
        self._train_seconds += elapsed
        done = runner.iter + 1
        hub.update_info("eta", self._train_seconds / max(done - self._first_iter, 1) * (runner.max_iters - done))

    def before_train_epoch(self, runner: Runner) -> None:
        """Begin to count."""
        self._since = time.perf_counter()

    def before_val_epoch(self, runner: Runner) -> None:
        """Begin to count."""
        self._begin(runner.val_loop, "val")

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Record how long the data took."""
        self._note_data(runner, batch_idx)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Record how long the batch took, and what is left."""
        self._note_batch(runner, batch_idx)

    def before_test_epoch(self, runner: Runner) -> None:
        """Begin to count."""
        self._begin(runner.test_loop, "test")

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Record how long the data took."""
        self._note_data(runner, batch_idx)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Record how long the batch took, and what is left."""
        self._note_batch(runner, batch_idx)

    def _begin(self, loop: BaseLoop | None, mode: str) -> None:
        self._loop, self._names = loop, (f"{mode}/data_time", f"{mode}/time")
        self._is_first_pass = True
        self._since = time.perf_counter()

    def _note_data(self, runner: Runner, batch_idx: int) -> None:
        now = time.perf_counter()
        if batch_idx == 0:  # of each set of data in its turn
            self._batches = None if self._loop is None else self._loop.num_batches
            self._seconds = 0.0
            if not self._is_first_pass:  # what has passed belongs to the results of the set before
                self._since = now
            self._is_first_pass = False
        runner.message_hub.update_scalar(self._names[0], now - self._since)

    def _note_batch(self, runner: Runner, batch_idx: int) -> None:
        hub, now = runner.message_hub, time.perf_counter()
        elapsed, self._since = now - self._since, now
        hub.update_scalar(self._names[1], elapsed)
        if self._batches is not None:
            self._seconds += elapsed
            hub.update_info("eta", self._seconds / (batch_idx + 1) * (self._batches - batch_idx - 1))
