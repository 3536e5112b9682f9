"""What a check measures: batches, steps, memory, and how long a run will take."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from statistics import median
from typing import Any

import torch

from ..structures import BaseDataElement
from ..utils import describe
from .base_loop import BaseTrainLoop
from .check_report import PassFigures

__all__ = ["Stopwatch", "expected_duration", "length_of", "peak_of_device", "peak_of_process", "reset_peak"]

_ROWS = 12
"""How many parts of a batch are shown."""
_ITEMS = 8
"""Of a longer list or tuple, only the first item is."""


class Stopwatch:
    """Times the batches and the steps of one loader.

    Args:
        device: Where the steps run; they are waited for.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._waits: list[float] = []
        self._steps: list[float] = []
        self._begin = 0.0
        self._batch: list[tuple[str, str]] = []

    @property
    def tried(self) -> int:
        """How many steps were run."""
        return len(self._steps)

    def timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield the batches."""
        while True:
            begin = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self._waits.append(time.perf_counter() - begin)
            yield batch

    def step_begins(self, batch: Any) -> None:
        """Begin a step, and look at the first batch: a step may change it."""
        if not self._batch:
            self._batch = list(islice(_parts("", batch), _ROWS))
        self._begin = time.perf_counter()

    def step_ends(self) -> None:
        """End a step, when the device has done it."""
        if self._device.type not in ("cpu", "meta"):
            torch.accelerator.synchronize(self._device)
        self._steps.append(time.perf_counter() - self._begin)

    def figures(self, batches: int | None, path: str) -> PassFigures:
        """Return what was measured.

        Raises:
            ValueError: There was no batch.
        """
        if not self._steps:
            raise ValueError(f"{path} gives no batch. Check the path of its files and what its filters leave over.")
        waits, steps = self._waits[: len(self._steps)], self._steps
        return PassFigures(
            batch=self._batch,
            batches=batches,
            tried=len(steps),
            first_batch=waits[0],
            data_time=median(waits[1:] or waits),
            first_step=steps[0],
            step_time=median(steps[1:] or steps),
        )


def _parts(where: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the parts of a batch; of a long list, the first item."""
    if isinstance(value, BaseDataElement):
        value = {**{f"{name} (meta)": item for name, item in value.metainfo_items()}, **dict(value.items())}
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _parts(f"{where}.{name}" if where else str(name), item)
    elif isinstance(value, (list, tuple)) and value:
        is_long = len(value) > _ITEMS
        for index, item in enumerate(value[:1] if is_long else value):
            yield from _parts(f"{where}[{index}]" + is_long * f" of {len(value)}", item)
    else:
        yield where or "the batch", describe(value).removeprefix("an ").removeprefix("a ")


def expected_duration(loop: BaseTrainLoop, passes: Mapping[str, PassFigures]) -> tuple[int, float]:
    """Return the iterations that are left, and the seconds that these take with the validations between them.

    Args:
        loop: The training loop.
        passes: What was measured: ``train``, and each that begins with ``val``.
    """
    figures = passes["train"]
    left = max(0, loop.max_iters - loop.iter)
    a_pass = min(figures.batches or left, left) or 1
    training = left / a_pass * figures.duration(a_pass)
    of_validation = sum(
        one.duration(one.batches or one.tried) for name, one in passes.items() if name.partition(".")[0] == "val"
    )
    return left, training + _validations(loop) * of_validation


def _validations(loop: BaseTrainLoop) -> int:
    """Return how many validations are left."""
    done, last = (loop.epoch, loop.max_epochs) if loop.by_epoch else (loop.iter, loop.max_iters)
    interval, begin = loop.val_interval, max(loop.val_begin, done + 1)
    if last < begin:
        return 0
    return last // interval - (begin - 1) // interval + (last % interval != 0)


def length_of(loader: Any) -> int | None:
    """Return the number of batches in a pass, or None where the loader does not know."""
    try:
        return len(loader)
    except TypeError:
        return None


def reset_peak(device: torch.device) -> None:
    """Forget the most memory that was allocated on a device so far."""
    if device.type not in ("cpu", "meta", "mps"):
        torch.get_device_module(device).reset_peak_memory_stats(device)


def peak_of_device(device: torch.device) -> int | None:
    """Return the most memory that was allocated on a device since, in bytes; None where torch does not count it."""
    if device.type in ("cpu", "meta", "mps"):
        return None
    peak: int = torch.get_device_module(device).max_memory_allocated(device)
    return peak


def peak_of_process() -> int | None:
    """Return the most memory that this process had, in bytes."""
    with suppress(ImportError):  # not on Windows
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return None
