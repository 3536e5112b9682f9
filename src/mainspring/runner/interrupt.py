"""Ctrl-C: an orderly end, whenever it comes."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Interrupt"]


class Interrupt:
    """Takes over SIGINT for the length of a run.

    A ``KeyboardInterrupt`` may come anywhere and get lost or turned into another error: Python drops exceptions that
    are raised while a process forks, and a writer of files may fail in its own way when it is interrupted. So the
    press is also remembered, in :attr:`pressed`, and the run ends at its next stage, whatever became of the exception.
    While the run is being closed, further presses do nothing.

    A forked process, such as a worker of a data loader, inherits the handler and ignores the press, which a terminal
    sends to all: its parent ends it. Outside the main thread, where no handler can be set, all stays as it is.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._closing = False
        self._process = os.getpid()
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def check(self) -> None:
        """Raise a ``KeyboardInterrupt`` again that was pressed and got lost."""
        if self.pressed and not self._closing:
            raise KeyboardInterrupt

    def close(self) -> None:
        """Say that the run is being closed: from now on presses do nothing."""
        self._closing = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() == self._process and not self._closing:
            self.pressed = True
            raise KeyboardInterrupt
