"""The life of a run: what is around its loops, from the first stage to an end of whatever kind."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

from ..dist import Ballot, Board
from ..hooks import HookList
from ..hooks.bad_numbers_hook import RollBack
from ..optim import OptimWrapper
from ..registry import DefaultScope
from ..utils import DirectoryLock
from . import state
from .roll_call import RollCall
from .signals import BETWEEN, Signals, Stopped

if TYPE_CHECKING:
    from .runner import Runner

__all__ = ["Life"]

T = TypeVar("T")
_IN_TRAINING = (BETWEEN, "before_train_iter")
_LOOK = 0.5
"""Seconds from one look at the board to the next, within a validation."""
_PATIENCE = 5.0
"""Seconds that a stop may wait for the end of an accumulation group, within which processes differ."""


class Life:
    """Holds the directories and takes the signals while a run is on, and brings it to an orderly end.

    Args:
        runner: Whose runs they are, one after the other.
        hooks: Its hooks.
    """

    def __init__(self, runner: Runner, hooks: HookList) -> None:
        self.signals = Signals()
        """Those of the run that is on, or was last."""
        self._runner = runner
        self._hooks = hooks
        self._is_on = False
        self._runs = 0
        self._ballot: Ballot | None = None  # with several processes, for the length of a training
        self._board: Board | None = None
        self._passes = 0  # over data of validations
        self._in_pass = False
        self._looked_at = 0.0

    def run(self, work: Callable[[], T], training: bool = False) -> T:
        """Return ``work()``, with all that belongs around it.

        Raises:
            SystemExit: A signal has ended the run, or the failure of another process, which the log tells of.
            DirectoryInUse: Another run trains in one of the directories.
        """
        if self._is_on:  # a hook validates, say: that belongs to the run that is on
            return work()
        runner = self._runner
        for shared in (runner.logger, runner.message_hub, runner.visualizer):
            shared.make_current()  # another runner may have been made since
        several = runner.world_size > 1
        self._runs += 1
        roll_call = RollCall(runner, self._runs) if several else None
        if several and training:
            self._ballot, self._board = Ballot(2), Board(f"mainspring/stop/{self._runs}")
        signals = Signals(training, runner.env.saves_on_usr1, votes=self._ballot is not None)
        with signals as self.signals, ExitStack() as stack:
            stack.enter_context(DefaultScope.overwrite_default_scope(runner.default_scope))
            if training and runner.rank == 0:
                for folder in runner.checkpoint_folders:
                    if folder.is_local:
                        stack.enter_context(DirectoryLock(folder))
            self._is_on = True
            try:
                result = self._stages(work, training)
                if signals.number is None:
                    return result
                raise SystemExit(signals.exit_code)  # it came when all was done
            except BaseException as error:
                if roll_call is not None and signals.number is None and roll_call.report(error):
                    raise SystemExit(1) from error
                # What is raised after a first signal is an error like any other; after a second one it may be anything.
                if signals.number is None or (isinstance(error, Exception) and not signals.at_once):
                    raise
                level = logging.WARNING if runner.rank == 0 else logging.INFO  # all stop at the same place
                runner.logger.log(level, state.where_it_stopped(runner, signals.name, training))
                raise SystemExit(signals.exit_code) from error
            finally:
                self._is_on = False
                self._ballot = self._board = None
                runner.visualizer.close()
                runner.logger.close_file()

    def _stages(self, work: Callable[[], T], training: bool) -> T:
        runner = self._runner
        try:
            runner.call_hook("before_run")
            runner.load_or_resume(training)
            result = work()
            runner.call_hook("after_run")
            runner.checkpoint_writer.wait()
            self._wait_for_all()
            return result
        except Stopped:
            try:
                self._hooks.stop(runner)
            except RollBack as found:  # the run that goes on from the last checkpoint will find it again
                runner.logger.warning(f"{found} No checkpoint is saved after it.")
            runner.checkpoint_writer.wait()
            self._wait_for_all()  # where one ends, launchers end the others, of which one may still write
            raise
        finally:
            self.signals.close()
            self._hooks.close()
            try:
                runner.checkpoint_writer.close()
            except Exception as error:  # it must not hide what ends the run
                runner.logger.error(f"{type(error).__name__}: {error}")

    def heed_signals(self, stage: str) -> None:
        """Stop the run, or save, if a signal has asked for it and the stage is one at which that can be done."""
        if not self.signals.noted:
            return
        if stage == "before_train_iter" and getattr(self._runner.train_loop, "draws_batches", False):
            stage = ""  # this loop heeds signals between its batches, and has drawn one here that a stop would lose
        if self._ballot is not None and self.signals.number is None:
            self._vote(self._ballot, stage)
        if self._ballot is not None and stage in _IN_TRAINING and self._awaits_update(self._ballot):
            return
        self.signals.check(stage)
        if self.signals.takes_save(stage):
            self._hooks.stop(self._runner)

    @contextmanager
    def pass_of_validation(self) -> Iterator[None]:
        """Let a signal to any process stop all of them within the block, in which they make a pass over some data.

        They may stop at different batches, as nothing is exchanged; but none of them leaves the block as usual then.
        """
        if self._ballot is None or not self._runner.is_training:
            yield
            return
        self._passes += 1
        self._in_pass = True
        try:
            yield
        finally:
            self._in_pass = False
        self._settle(self._ballot)
        self.signals.check("before_val_iter")

    def _vote(self, ballot: Ballot, stage: str) -> None:
        """Agree with the other processes on what signals ask for, at stages that all of them come to together."""
        if stage in _IN_TRAINING:
            agreed = ballot.cast(*self.signals.vote)
            if agreed is not None:
                self.signals.agree(*agreed)
            return
        within = stage == "before_val_iter" and self._in_pass
        if (stage == "before_val" and self._runner.is_training) or (within and self._is_called()):
            self._settle(ballot)

    def _awaits_update(self, ballot: Ballot) -> bool:
        """Whether the gradients that gather in each process will soon be used up, and need not be saved then."""
        wrapper = self._runner.optim_wrapper
        parts = wrapper.parts.values() if isinstance(wrapper, OptimWrapper) else ()
        return any(part.gathers and part.accumulative_counts * ballot.slowest < _PATIENCE for part in parts)

    def _settle(self, ballot: Ballot) -> None:
        self.signals.agree(*ballot.settle(*self.signals.vote))

    def _is_called(self) -> bool:
        """Whether a process has asked all to leave the pass over data that is running."""
        if self._board is None:
            return False
        note = f"leave/{self._passes}"
        if self.signals.vote[0]:
            self._board.leave(note)
            return True
        now = time.monotonic()
        if now - self._looked_at < _LOOK:
            return False
        self._looked_at = now
        return self._board.find(note) is not None

    def _wait_for_all(self) -> None:
        if self._ballot is not None:
            self._ballot.settle(0, 0)
