"""A watch for code that is to be timed by hand."""

from __future__ import annotations

import time
from types import TracebackType

__all__ = ["Timer", "TimerError", "check_time"]

_timers: dict[str, Timer] = {}


class TimerError(Exception):
    """A timer that does not run was asked for a time."""


class Timer:
    """A watch, which also times a ``with`` block and prints how long that took.

    Args:
        start: Whether it runs at once.
        print_tmpl: What to print behind a ``with`` block, with ``{}`` for the seconds; ``'{:.3f}'`` by default.

    >>> import time
    >>> with Timer(print_tmpl="it takes {:.1f} seconds"):
    ...     time.sleep(0.1)
    it takes 0.1 seconds
    """

    def __init__(self, start: bool = True, print_tmpl: str | None = None) -> None:
        self.print_tmpl = "{:.3f}" if print_tmpl is None else print_tmpl
        self._running = False
        self._started = self._checked = 0.0
        if start:
            self.start()

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self._running

    def __enter__(self) -> Timer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        print(self.print_tmpl.format(self.since_last_check()))
        self._running = False

    def start(self) -> None:
        """Let it run; if it runs already, that counts from now on as the last time it was asked."""
        now = time.perf_counter()
        if not self._running:
            self._running = True
            self._started = now
        self._checked = now

    def since_start(self) -> float:
        """Return the seconds since it was started.

        Raises:
            TimerError: It does not run.
        """
        self._checked = self._now()
        return self._checked - self._started

    def since_last_check(self) -> float:
        """Return the seconds since it was last asked for a time, or started.

        Raises:
            TimerError: It does not run.
        """
        before, self._checked = self._checked, self._now()
        return self._checked - before

    def _now(self) -> float:
        if not self._running:
            raise TimerError("timer is not running: call its start() first")
        return time.perf_counter()


def check_time(timer_id: str) -> float:
    """Return the seconds since this was last called with the same name, and 0 for the first time.

    >>> check_time("epoch of the example")
    0
    """
    if timer_id not in _timers:
        _timers[timer_id] = Timer()
        return 0
    return _timers[timer_id].since_last_check()
