"""Notices when training mostly waits for data."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..logging import MessageHub

__all__ = ["DataWait"]

_FIRST = 10
"""Iterations that are left out at the beginning: workers start, and caches are cold."""

_LEAST = 50
"""Iterations that are looked at."""

_SHORT = 1e-3
"""Seconds an iteration below which nothing can be gained: a worker's batch takes about as long to hand over."""


class DataWait:
    """Compares, log line by log line, the time that training takes with that which it waits for data.

    Both are known by then, as ``train/time`` and ``train/data_time`` of the message hub; a step costs nothing more.
    """

    def __init__(self) -> None:
        self._begun: tuple[int, float, float] | None = None
        self._is_said = False

    def hint(self, hub: MessageHub, loader: Any, iterations: int) -> str | None:
        """Return what to do about it, once, if the data take more than half of the time.

        Args:
            hub: With the scalars of the run.
            loader: The loader of training.
            iterations: How many iterations this process has trained.
        """
        scalars = hub.log_scalars
        if self._is_said or iterations < _FIRST or not {"train/time", "train/data_time"} <= scalars.keys():
            return None
        time, waited = scalars["train/time"], scalars["train/data_time"]
        now = (time.total_updates, time.total_sum, waited.total_sum)
        if self._begun is None:
            self._begun = now
        count, seconds, waiting = (new - old for new, old in zip(now, self._begun, strict=True))
        if count < _LEAST or waiting <= seconds / 2 or waiting < _SHORT * count:
            return None
        self._is_said = True
        return (
            f"Training waits for data {waiting / seconds:.0%} of the time: {1000 * waiting / count:.1f} of"
            f" {1000 * seconds / count:.1f} ms an iteration, over {count:.0f} iterations. {_cure(loader)}"
        )


def _cure(loader: Any) -> str:
    workers = getattr(loader, "num_workers", 0)  # the loader may be anybody's
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    steps = []
    if not workers and cores > 1:
        steps.append(
            f"let other processes read them, with num_workers={min(cores, 4)} and persistent_workers=True in"
            " train_dataloader"
        )
    elif workers < cores:
        steps.append(f"let more processes read them (num_workers is {workers}, and there are {cores} cores)")
    if workers and not getattr(loader, "persistent_workers", False):
        steps.append("spare their start in each epoch with persistent_workers=True")
    steps.append(
        "make a sample cheaper: files that are decoded faster, less to transform, images of one size that stay uint8"
        " until ImgDataPreprocessor normalises them"
    )
    return f"To make it faster, {'; '.join(steps)}."
