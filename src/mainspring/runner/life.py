"""The life of a run: what is around its loops, from the first stage to an end of whatever kind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

from ..hooks import HookList
from ..hooks.bad_numbers_hook import RollBack
from ..registry import DefaultScope
from ..utils import DirectoryLock
from . import state
from .signals import Signals, Stopped

if TYPE_CHECKING:
    from .runner import Runner

__all__ = ["Life"]

T = TypeVar("T")


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

    def run(self, work: Callable[[], T], training: bool = False) -> T:
        """Return ``work()``, with all that belongs around it.

        Raises:
            SystemExit: A signal has ended the run.
            DirectoryInUse: Another run trains in one of the directories.
        """
        if self._is_on:  # a hook validates, say: that belongs to the run that is on
            return work()
        runner = self._runner
        for shared in (runner.logger, runner.message_hub, runner.visualizer):
            shared.make_current()  # another runner may have been made since
        signals = Signals(training, runner.env.saves_on_usr1)
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
                # What is raised after a first signal is an error like any other; after a second one it may be anything.
                if signals.number is None or (isinstance(error, Exception) and not signals.at_once):
                    raise
                runner.logger.warning(state.where_it_stopped(runner, signals.name, training))
                raise SystemExit(signals.exit_code) from error
            finally:
                self._is_on = False
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
            return result
        except Stopped:
            try:
                self._hooks.stop(runner)
            except RollBack as found:  # the run that goes on from the last checkpoint will find it again
                runner.logger.warning(f"{found} No checkpoint is saved after it.")
            runner.checkpoint_writer.wait()
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
        self.signals.check(stage)
        if self.signals.takes_save(stage):
            self._hooks.stop(self._runner)
