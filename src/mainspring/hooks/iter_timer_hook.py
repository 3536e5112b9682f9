"""How long iterations take, and how long the run will."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..registry import HOOKS
from .hook import Hook

if TYPE_CHECKING:
    from ..runner import Runner

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
        self._batches: int | None = None  # of the evaluation that is running
        self._train_seconds = 0.0
        self._first_iter = 0

    def before_train(self, runner: Runner) -> None:
        """Begin the mean from which the time left is derived."""
        self._train_seconds = 0.0
        self._first_iter = runner.iter

    # Those of training are called in every step: directly, and without a detour by names.

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

    def _before_epoch(self, runner: Runner, mode: str = "train") -> None:
        if mode != "train":
            loop = runner.val_loop if mode == "val" else runner.test_loop
            self._batches = None if loop is None else loop.num_batches
        self._seconds = 0.0
        self._since = time.perf_counter()

    def _before_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, mode: str = "train") -> None:
        waited = time.perf_counter() - self._since
        runner.message_hub.update_scalar(f"{mode}/data_time", waited)

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | Sequence[Any] | None = None,
        mode: str = "train",
    ) -> None:
        now = time.perf_counter()
        elapsed = now - self._since
        self._since = now
        hub = runner.message_hub
        hub.update_scalar(f"{mode}/time", elapsed)
        if self._batches is not None:
            self._seconds += elapsed
            mean = self._seconds / (batch_idx + 1)
            hub.update_info("eta", mean * (self._batches - batch_idx - 1))
