"""Signals: an orderly end, whenever one comes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

__all__ = ["BETWEEN", "Signals", "Stopped"]

BETWEEN = "between iterations"
"""Where a training loop is about to draw a batch; no stage of hooks."""
_ONE_SIGNAL = 5.0
"""Seconds in which several processes take what comes for one signal: a launcher passes on what a terminal has sent to
all of them, too."""
_BOUNDARIES = frozenset(
    {BETWEEN, "before_train_epoch", "before_train_iter", "before_val", "before_val_epoch", "before_val_iter"}
)
"""Where a run stands between two iterations, with nothing half done but a validation."""


class Stopped(BaseException):
    """Leaves the training loop between two iterations, since a signal asked for it; users' code does not catch it."""


class Signals:
    """Takes over SIGINT, SIGTERM and SIGUSR1 for the length of a run.

    In training the first of them only leaves a note, and the run is left at its next stage between two iterations,
    where everything can be saved; a second one ends it at once. Outside training there is nothing to save, and the
    first one ends it. SIGUSR1 may instead ask for a checkpoint and let the run go on.

    Where an exception is raised in a handler, as a ``KeyboardInterrupt``, it may come anywhere and get lost or turned
    into another error: Python drops those that are raised while a process forks. So they are also remembered, and the
    run ends at its next stage, whatever became of the exception. While the run is being closed, Ctrl-C does nothing.

    Of several processes that train together, each votes for what its signals ask for, and all do it when they have
    agreed, at the same iteration; see :class:`~mainspring.dist.Ballot`. What comes within a few seconds is then one
    signal: a launcher passes on what a terminal has sent to all processes, too.

    A forked process inherits the handlers. It ignores Ctrl-C, which a terminal sends to all processes: its parent ends
    it. Of the other signals it dies as ever, since that is how its parent ends it. Outside the main thread, where no
    handler can be set, all stays as it is.

    Args:
        training: Whether the run trains.
        saves_on_usr1: Whether SIGUSR1 asks for a checkpoint instead of the end.
        votes: Whether other processes have to agree.
    """

    def __init__(self, training: bool = False, saves_on_usr1: bool = False, votes: bool = False) -> None:
        self.number: int | None = None
        """The signal that ends the run, if one has come."""
        self.save_asked = False
        """Whether a checkpoint was asked for, and is not saved yet."""
        self.noted = votes
        """Whether there is anything that the run has to look at."""
        self.vote = (0, 0)
        """The signal that asks for the end here, and the number of the newest checkpoint that one has asked for."""
        self._saves = 0  # that all have agreed on
        self._votes = votes
        self._first_at: float | None = None
        self._training = training
        self._saves_on_usr1 = saves_on_usr1
        self.at_once = False
        """Whether the run ends wherever it is."""
        self._closing = False
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGUSR1"):  # Windows has no SIGUSR1
                if hasattr(signal, name):
                    number = getattr(signal, name)
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._before:
            number, handler = self._before.popitem()
            # None stands for a handler that was not set from Python, and cannot be set from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @property
    def exit_code(self) -> int:
        """What a shell reports for a process that the signal has ended: 130, 143, or 138 for SIGUSR1 on Linux."""
        return 128 + (self.number or 0)

    @property
    def name(self) -> str:
        """What a person calls the signal that ends the run."""
        return "Ctrl-C" if self.number == signal.SIGINT else signal.Signals(self.number or 0).name

    def check(self, stage: str) -> None:
        """Raise what a note asks for, if the stage is one at which a run can be left.

        Raises:
            Stopped: It is.
            KeyboardInterrupt: A second Ctrl-C has come, and its exception got lost.
        """
        if self._closing or self.number is None:
            return
        if self.at_once:
            raise KeyboardInterrupt
        if stage in _BOUNDARIES:
            raise Stopped

    def takes_save(self, stage: str) -> bool:
        """Whether a checkpoint was asked for and can be saved at this stage; it is then taken as done."""
        if not self.save_asked or stage not in (BETWEEN, "before_train_iter"):
            return False
        self.save_asked = False
        self.noted = self._votes or self.number is not None
        return True

    def agree(self, number: int, saves: int) -> None:
        """Do what all processes have agreed on.

        Args:
            number: The signal that ends the run, or 0.
            saves: The number of the newest checkpoint that was asked for.
        """
        if number:
            self.number = number
        if saves > self._saves:
            self._saves = saves
            self.save_asked = True

    def close(self) -> None:
        """Say that the run is being closed."""
        self._closing = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            return
        if self._saves_on_usr1 and signal.Signals(number).name == "SIGUSR1":
            if self._votes:
                self.vote = (self.vote[0], self._saves + 1)
            else:
                self.save_asked = self.noted = True
            return
        first = self._first_at is None
        if self._first_at is None:
            self._first_at = time.monotonic()
            if self._votes and not self._closing:
                self.vote = (number, self.vote[1])
            else:
                self.number = number
                self.noted = True
        elif self._votes and time.monotonic() - self._first_at < _ONE_SIGNAL:
            return
        self.number = self.number if first else self.number or number
        if first and self._training and not self._closing:
            if sys.stderr.isatty():  # logging is not safe here
                os.write(2, b"\nStopping after this iteration. A second signal stops at once.\n")
            return
        self._end_at_once(number, first)

    def _end_at_once(self, number: int, first: bool) -> None:
        if number == signal.SIGINT:  # in a notebook the process is not ours to end
            if not self._closing:
                self.at_once = True
                raise KeyboardInterrupt
        elif first:
            self.at_once = True
            raise SystemExit(self.exit_code)
        else:
            _leave(self.exit_code)


def _leave(code: int) -> NoReturn:
    """End the process without waiting for anything: workers notice, and a file that is being written never appears."""
    os._exit(code)
