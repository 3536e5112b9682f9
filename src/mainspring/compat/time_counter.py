"""How long a function or a block takes, on average."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from logging import Logger
from types import TracebackType
from typing import Any, ClassVar, ParamSpec, TypeVar

import torch

from ..logging import print_log

__all__ = ["TimeCounter"]

P = ParamSpec("P")
T = TypeVar("T")


class TimeCounter:
    """Times a function, as a decorator, or a ``with`` block, and prints the average from time to time.

    Args:
        log_interval: After how many runs the average is printed.
        warmup_interval: Which run is the first that counts.
        with_sync: Whether a device finishes its work before and behind each run; otherwise the time is that in which
            the work was given to it.
        tag: The name in what is printed; by default that of the function. A block needs one, by which it is known
            again.
        logger: Where it is logged, as for ``print_log``; by default it is printed.

    Raises:
        ValueError: ``warmup_interval`` is less than 1, or a block has no tag.

    >>> @TimeCounter(log_interval=2)
    ... def work():
    ...     return 42
    >>> work(), work(), work()  # doctest: +ELLIPSIS
    [work]-time per run averaged in the past 2 runs: ... ms
    (42, 42, 42)
    """

    _counters: ClassVar[dict[str, TimeCounter]] = {}

    def __new__(
        cls,
        log_interval: int = 1,
        warmup_interval: int = 1,
        with_sync: bool = True,
        tag: str | None = None,
        logger: Logger | str | None = None,
    ) -> TimeCounter:
        """Return the counter of that tag, if there is one: a ``with`` statement in a loop makes it anew each time."""
        if tag is not None and tag in cls._counters:
            return cls._counters[tag]
        counter = super().__new__(cls)
        counter._count = 0
        counter._total = 0.0
        if tag is not None:
            cls._counters[tag] = counter
        return counter

    _count: int
    _total: float

    def __init__(
        self,
        log_interval: int = 1,
        warmup_interval: int = 1,
        with_sync: bool = True,
        tag: str | None = None,
        logger: Logger | str | None = None,
    ) -> None:
        if warmup_interval < 1:
            raise ValueError(f"warmup_interval must be at least 1, but it is {warmup_interval}.")
        self.log_interval = log_interval
        self.warmup_interval = warmup_interval
        self.with_sync = with_sync
        self.tag = tag
        self.logger = logger

    def __call__(self, fn: Callable[P, T]) -> Callable[P, T]:
        """Return the function, timed."""
        if self.tag is None:
            self.tag = fn.__name__

        @functools.wraps(fn)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            with self:
                return fn(*args, **kwargs)

        return wrapper

    def __enter__(self) -> None:
        if self.tag is None:
            raise ValueError("A timed block needs a tag, by which it is known again: TimeCounter(tag='loading').")
        self._started = self._now()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._add(self._now() - self._started)

    def _add(self, seconds: float) -> None:
        self._count += 1
        counted = self._count - self.warmup_interval + 1
        if counted < 1:
            return
        self._total += seconds
        if counted % self.log_interval == 0:
            average = 1000 * self._total / counted
            self.print_time(f"[{self.tag}]-time per run averaged in the past {counted} runs: {average:.1f} ms")

    def print_time(self, message: Any) -> None:
        """Print or log a line."""
        print_log(str(message), self.logger)

    def _now(self) -> float:
        if self.with_sync and torch.accelerator.is_available():
            torch.accelerator.synchronize()
        return time.perf_counter()
