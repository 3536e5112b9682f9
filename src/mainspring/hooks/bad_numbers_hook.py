"""What a run does about bad numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from ..checkpoint import CheckpointFile, newest_whole
from ..dist import all_gather_object, broadcast_object_list, is_main_process
from ..optim import OptimWrapper
from ..optim.bad_numbers import BadNumber, GradientWatch, NumberWatch, SkipWatch, takes_flag
from ..registry import HOOKS
from ..utils import check_count, check_type, did_you_mean
from .bad_number_error import BadNumberError, losses_at, update_counts
from .hook import Hook
from .logger_hook import LoggerHook

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["BadNumbersHook", "RollBack"]

_POLICIES = ("raise", "skip", "rollback")
_NAMED = 10
"""How many iterations a warning names."""
_WITHOUT_LOG = 10
"""Iterations from one reading to the next where no log lines are written."""
_MOST = 1000
"""Iterations after which what is noted is read in any case, so that it takes no memory to speak of."""


class RollBack(Exception):  # noqa: N818  no error, unless the runner finds nothing to go back to
    """Leaves the training loop, for the runner to go back to a checkpoint and to leave out a batch from there on.

    Args:
        error: What to raise where there is no checkpoint.
        place: The batch: the pass over the data, and the number in it, both from 0.
        checkpoint: The newest whole one that the run has written in this process, or None.
        limit: How many times the run may go back.
    """

    def __init__(
        self, error: BadNumberError, place: tuple[int, int], checkpoint: CheckpointFile | None, limit: int
    ) -> None:
        super().__init__(str(error).partition("\n")[0])
        self.error = error
        self.place = place
        self.checkpoint = checkpoint
        self.limit = limit


@HOOKS.register_module()
class BadNumbersHook(Hook):
    """Looks after losses and gradients that are NaN or infinite.

    Each loss that the optimizer wrapper gets, and each norm of gradients that clipping computes, is noted on the
    device. They are read at log lines, at the end of an epoch, before a validation, and before a checkpoint is saved.
    So no checkpoint follows a bad number, and none is saved while the weights are not finite. Gradients that overflow
    under the scaler of float16 are no bad numbers.

    ``'raise'``
        A :class:`BadNumberError` names the first bad iteration, its losses, its batch, and the last good checkpoint.
        The step costs nothing but the noting.
    ``'skip'``
        A step with bad numbers does not happen: weights, optimizer state and the buffers of the model's modules, such
        as those of batch norm, are bit for bit as they were. With accumulated gradients that is so of the whole group:
        they are as they were before its first iteration. All processes leave out the same steps. Iterations are counted
        as ever, and so are the steps of schedules; logged losses show the bad value. A warning at the next log line
        names the iterations.

        No step waits for the device if the optimizer is a fused one of torch (``fused=True``) and no :class:`EMAHook`
        follows it; otherwise each does, which the log says once. Not taken back is what the model changes besides:
        plain attributes, and parameters that no optimizer has.
    ``'rollback'``
        The run goes back to its newest whole checkpoint and leaves out the bad batch from then on. Its position is
        saved with every later checkpoint, so that a run that is stopped afterwards goes on without it too. An epoch
        then has an iteration less; a run that counts iterations takes another batch. The norm of the gradients is
        computed in every iteration.

    With the last two, bad numbers are found in gradients too where nothing is clipped. An optimizer wrapper that is no
    :class:`OptimWrapper` cannot be watched, as a warning says: then nothing is looked after.

    A run with several optimizers takes ``'raise'`` or ``'rollback'``: what one of them has left out, another may have
    built on already.

    Args:
        policy: ``'raise'``, ``'skip'`` or ``'rollback'``.
        interval: Iterations from one reading to the next; by default that of :class:`LoggerHook`, so that the host
            waits for the device no more often than it does for log lines. At most 1,000.
        max_rollbacks: How many times a run may go back. After that it raises the error.

    Raises:
        TypeError: A number is no integer.
        ValueError: The policy is unknown, or a number is too small.
    """

    priority = "ABOVE_NORMAL"

    def __init__(self, policy: str = "raise", interval: int | None = None, max_rollbacks: int = 3) -> None:
        if policy not in _POLICIES:
            raise ValueError(
                f"BadNumbersHook: policy must be 'raise', 'skip' or 'rollback', but it is {policy!r}."
                f"{did_you_mean(str(policy), _POLICIES)}"
            )
        check_type(interval, int | None, "BadNumbersHook: interval")
        if interval is not None:
            check_count(interval, "BadNumbersHook: interval")
        check_count(max_rollbacks, "BadNumbersHook: max_rollbacks")
        self.policy = policy
        self.interval = interval
        self.max_rollbacks = max_rollbacks
        self.skipped = 0
        """How many steps were left out, as far as they were read."""
        self._every = 1
        self._watches: list[NumberWatch] = [NumberWatch(0)]
        self._skips: SkipWatch | None = None
        self._watching = False  # also when a signal has left the loop and a checkpoint is saved, unlike is_training
        self._group: dict[str, Any] = {}
        self._first = 0
        self._counts: dict[str, int] = {}
        self._has_saved = False
        self._told = False
        self._untold: list[int] = []
        if policy == "skip":  # the others do nothing there, and pay nothing
            self.before_train_iter = self._keep  # type: ignore[method-assign]

    def before_train(self, runner: Runner) -> None:
        """Begin to watch."""
        wrapper: Any = runner.optim_wrapper  # it may be anybody's
        group, self._group = self._group, {}
        self._skips = None
        self._every = min(self.interval or _log_interval(runner), _MOST)
        if not isinstance(wrapper, OptimWrapper):
            self._say_that_nothing_is_watched(runner, type(wrapper))
            return
        parts = list(wrapper.parts.values())
        if self.policy == "skip":
            if len(parts) > 1:
                raise ValueError(
                    "BadNumbersHook: policy 'skip' takes back a step of one optimizer, but this run has"
                    f" {len(parts)} ({', '.join(wrapper.parts)}), each of which builds on what the others have done."
                    " Write policy='rollback' or 'raise'."
                )
            self._skips = SkipWatch(runner.iter, runner.model)
            self._watches = [self._skips]
            if _holds_gradients(wrapper):  # else what was gathered before a stop is lost, and a group begins
                self._skips.load_state_dict(group)
            self._say_if_waiting(runner)
        elif self.policy == "rollback":
            self._watches = [
                NumberWatch(runner.iter) if part.scales_loss else GradientWatch(runner.iter, part.optimizer)
                for part in parts
            ]
        else:
            self._watches = [NumberWatch(runner.iter)]
        for number, part in enumerate(parts):
            part.watch = self._watches[number % len(self._watches)]  # one of its own, or that of all
        self._watching = True
        self._first = runner.iter
        self._counts = update_counts(runner)

    def _keep(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep what a step that is left out must not change."""
        if self._skips is not None:
            self._skips.begin_iteration()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Take back what a step that was left out has changed; read, where it is time."""
        for watch in self._watches:
            if watch.follows_steps:
                watch.end_iteration()
            watch.iteration += 1
        if (batch_idx + 1) % self._every == 0:
            self._look(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Read what is left."""
        self._look(runner)

    def before_val(self, runner: Runner) -> None:
        """Read, before a validation within training."""
        if self._watching:
            self._look(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Read, and look at what is about to be saved, so that nothing bad is."""
        if not self._watching:
            return
        wrapper = runner.optim_wrapper
        watch = self._watches[0]
        if self._skips is None and watch.iteration > self._first:
            for part in wrapper.parts.values():
                watch.note_state(part.optimizer, max(_recorded(runner) - 1, 0), not part.scales_loss)
        self._look(runner)
        self._has_saved = True

    def after_train(self, runner: Runner) -> None:
        """Read what is left, and end watching."""
        self._look(runner)
        if self._watching:
            runner.optim_wrapper.watch = None
        self._watching = False

    def close(self) -> None:
        """End watching."""
        self._watching = False

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps left out and, within an accumulation group, what brings back its beginning."""
        if self._skips is None:
            return {}
        self._read_skipped()
        return {"skipped": self.skipped, "group": self._skips.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        self.skipped = state_dict.get("skipped", 0)
        self._group = state_dict.get("group", {})

    def _look(self, runner: Runner) -> None:
        if self._skips is not None:
            self._read_skipped()
            self._warn(runner)
            return
        found = sorted((bad for watch in self._watches for bad in watch.take()), key=lambda bad: bad.iteration)
        first = _first_of_all(found[0] if found else None)
        if first is not None:
            self._stop_at(runner, first)

    def _read_skipped(self) -> None:
        found = [bad.iteration for watch in self._watches for bad in watch.take()]
        self.skipped += len(found)
        self._untold += found

    def _warn(self, runner: Runner) -> None:
        untold, self._untold = self._untold, []
        if untold:
            more = f" and {len(untold) - _NAMED} more" if len(untold) > _NAMED else ""
            runner.logger.warning(
                f"Left out {'a step' if len(untold) == 1 else f'{len(untold)} steps'} whose loss or gradient was not"
                f" finite, in iteration {', '.join(str(iteration + 1) for iteration in untold[:_NAMED])}{more};"
                f" {self.skipped} in this run so far."
            )

    def _stop_at(self, runner: Runner, bad: BadNumber) -> NoReturn:
        loop: Any = runner.train_loop
        # Where gradients gather, their norm is that of the group, unless each iteration is looked at.
        counts = 1
        if bad.what == "gradient" and self.policy == "raise":  # of several optimizers, the longest group that it may be
            counts = max(part.accumulative_counts for part in runner.optim_wrapper.parts.values())
        first = bad.iteration // counts * counts
        place_of_batch = getattr(loop, "place_of_batch", lambda iteration: None)  # a user's loop may be any
        found = [place_of_batch(iteration) for iteration in range(first, bad.iteration + 1)]
        places = tuple(place for place in found if place is not None)
        checkpoint = self._newest_checkpoint(runner)
        error = BadNumberError.of(
            runner,
            bad,
            first,
            losses_at(runner, bad.iteration, self._first, _recorded(runner), self._counts),
            places,
            checkpoint,
            gradients_seen=self.policy == "rollback" or runner.optim_wrapper.knows_norm,
        )
        if self.policy == "rollback" and places:
            if len(loop.left_out) < self.max_rollbacks:
                raise RollBack(error, places[-1], checkpoint, self.max_rollbacks)
            error.add_note(f"(The run has gone back {self.max_rollbacks} times, and max_rollbacks allows no more.)")
        raise error

    def _newest_checkpoint(self, runner: Runner) -> CheckpointFile | None:
        """Return the newest whole checkpoint that the run has written in this process."""
        if not self._has_saved:  # what lies there may be another run's
            return None
        try:
            runner.checkpoint_writer.wait()
        except OSError as error:  # it must not hide the bad number
            runner.logger.error(str(error))
        newest: list[CheckpointFile | None] = [None]
        if is_main_process():  # which has written it; the others go where it goes
            found = newest_whole(*runner.checkpoint_folders)
            for damage in found.damaged.values():
                runner.logger.warning(f"{damage} It is passed over.")
            newest = [found.file]
        broadcast_object_list(newest)
        return newest[0]

    def _say_that_nothing_is_watched(self, runner: Runner, kind: type) -> None:
        self._watches = [NumberWatch(runner.iter)]
        if not self._told:
            self._told = True
            runner.logger.warning(
                f"BadNumbersHook cannot follow its policy {self.policy!r}: it looks at losses and steps through an"
                f" OptimWrapper, but the optimizer wrapper of this run is a {kind.__name__}, which is none. Derive"
                " it from OptimWrapper, or leave out the hook with default_hooks=dict(bad_numbers=None)."
            )

    def _say_if_waiting(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper
        if self._told or (takes_flag(wrapper.optimizer) and not wrapper.scales_loss):
            return
        self._told = True
        name = type(wrapper.optimizer).__name__
        reason = "the scaler of float16 does" if wrapper.scales_loss else f"{name} cannot leave out a step by itself"
        cure = "" if wrapper.scales_loss or "fused" not in wrapper.defaults else f"; {name} with fused=True can"
        runner.logger.info(
            f"BadNumbersHook: policy 'skip' reads one number from the device in every step, since {reason}{cure}."
        )


def _log_interval(runner: Runner) -> int:
    intervals = (hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook))
    return next(intervals, _WITHOUT_LOG)


def _recorded(runner: Runner) -> int:
    """Return the iterations that are over, with the one that is ending."""
    return runner.iter + ("after_train_iter" in runner.running_stages)


def _holds_gradients(optim_wrapper: OptimWrapper) -> bool:
    return any(one.grad is not None for group in optim_wrapper.param_groups for one in group["params"])


def _first_of_all(bad: BadNumber | None) -> BadNumber | None:
    """Return the first bad number of all processes, so that all of them stop at it."""
    found = [one for one in all_gather_object(bad) if one is not None]
    return min(found, key=lambda one: one.iteration, default=None)
