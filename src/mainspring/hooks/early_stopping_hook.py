"""When training ends before its time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..registry import HOOKS
from ..utils import check_type
from .hook import Hook
from .results import is_left_out
from .rules import check_rule, not_returned, rule_for, score_of

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["EarlyStoppingHook"]


@HOOKS.register_module()
class EarlyStoppingHook(Hook):
    """Ends training when a metric of the validations has stopped improving.

    A run that was stopped stays so: when it is resumed, it ends at once, as long as what stopped it does so under the
    settings of now. It goes on if ``patience`` was raised above the validations that it has waited, if
    ``stopping_threshold`` or ``check_finite`` was what stopped it and no longer does, or if the hook was left out. With
    another ``monitor`` or ``rule`` it goes on too, and begins to count anew.

    Only validations of the training count, not those of ``runner.val()``.

    Args:
        monitor: The metric to watch, such as ``'accuracy/top1'``.
        rule: ``'greater'`` or ``'less'``: what is better. By default it is known from the metric's name.
        min_delta: By how much a score must be better than the best so far to be an improvement; not negative. One that
            is better by just that much is one, so that with 0 an equal score is.
        strict: Raise an error if a validation does not return the metric, instead of a warning.
        check_finite: Stop at once if the metric is infinite or not a number. Otherwise NaN is no improvement.
        patience: How many validations in a row without an improvement end the training; 0 is the same as 1.
        stopping_threshold: Stop at once if the metric is better than this.

    Attributes:
        best_score: The best score so far.
        wait_count: How many validations there were since.
        stopped: Whether the hook has ended the training.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has an invalid value, or the rule cannot be told from the metric's name.

    >>> hook = EarlyStoppingHook(monitor="accuracy/top1", min_delta=0.001, patience=3)
    >>> hook.rule
    'greater'
    """

    # A best checkpoint is saved in the same stage by a hook that is VERY_LOW, and must hold the counts after this
    # validation; so not LOWEST, as in MMEngine.
    priority = "LOW"

    def __init__(
        self,
        monitor: str,
        rule: str | None = None,
        min_delta: float = 0.1,
        strict: bool = False,
        check_finite: bool = True,
        patience: int = 5,
        stopping_threshold: float | None = None,
    ) -> None:
        for name, value, kind in (
            ("monitor", monitor, str),
            ("min_delta", min_delta, float),
            ("strict", strict, bool),
            ("check_finite", check_finite, bool),
            ("patience", patience, int),
            ("stopping_threshold", stopping_threshold, float | None),
        ):
            check_type(value, kind, f"EarlyStoppingHook: {name}")
        if not 0 <= min_delta < math.inf:
            raise ValueError(f"EarlyStoppingHook: min_delta must be finite and not negative, but it is {min_delta!r}.")
        if patience < 0:
            raise ValueError(f"EarlyStoppingHook: patience must not be negative, but it is {patience!r}.")
        if stopping_threshold is not None and math.isnan(stopping_threshold):
            raise ValueError("EarlyStoppingHook: stopping_threshold must be a number or None, but it is NaN.")
        if rule is None:
            rule = rule_for(monitor, "EarlyStoppingHook")
        check_rule(rule, "EarlyStoppingHook")
        self.monitor = monitor
        self.rule = rule
        self.min_delta = min_delta
        self.strict = strict
        self.check_finite = check_finite
        self.patience = patience
        self.stopping_threshold = stopping_threshold
        self.best_score = -math.inf if rule == "greater" else math.inf
        self.wait_count = 0
        self.stopped = False
        self._last_score = self.best_score
        self._has_warned = False

    def before_train(self, runner: Runner) -> None:
        """Check that training can be stopped, and end it at once if it was stopped before the run was resumed."""
        if runner.val_loop is None:
            raise ValueError(
                f"EarlyStoppingHook watches {self.monitor!r}, a result of validations, but there are none. Pass"
                " val_dataloader, val_cfg and val_evaluator to the Runner, or leave out the hook."
            )
        if not hasattr(runner.train_loop, "stop_training"):  # a user's loop may be any
            raise TypeError(
                f"EarlyStoppingHook cannot end {type(runner.train_loop).__name__}, which has no stop_training. Derive"
                " it from BaseTrainLoop, or give it this attribute and end its run() once it is True."
            )
        if self.stopped:
            reason = self._reason()
            self.stopped = reason is not None
            if reason is not None:
                self._stop(runner, f"This run was stopped early, and stays so: {reason} To go on, change that setting.")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Judge a validation within training, and stop if that is due."""
        if not runner.is_training:
            return
        metrics = metrics or {}
        if self.monitor not in metrics and is_left_out(self.monitor, runner):
            return
        if self.monitor not in metrics:
            message = not_returned(self.monitor, metrics, "EarlyStoppingHook")
            if self.strict:
                raise ValueError(message)
            if not self._has_warned:
                runner.logger.warning(f"{message} Nothing is stopped early without it.")
            self._has_warned = True
            return
        self._count(score_of(metrics[self.monitor], self.monitor, "EarlyStoppingHook"))
        reason = self._reason()
        if reason is not None:
            self.stopped = True
            done = f"epoch {runner.epoch}" if runner.by_epoch else f"iteration {runner.iter}"
            self._stop(runner, f"Training stops early after {done}: {reason}")

    def _count(self, score: float) -> None:
        self._last_score = score
        if self.check_finite and not math.isfinite(score):
            return
        if self.rule == "greater":
            improved = score >= self.best_score + self.min_delta
        else:
            improved = score <= self.best_score - self.min_delta
        self.wait_count = 0 if improved else self.wait_count + 1
        if improved or self._is_beyond_threshold():
            self.best_score = score

    def _reason(self) -> str | None:
        """Return why training ends with the last score, in a sentence that names the setting, or None."""
        if self.check_finite and not math.isfinite(self._last_score):
            return f"{self.monitor} is {self._last_score} (check_finite=True); the best was {self.best_score:.4g}."
        if self._is_beyond_threshold():
            return (
                f"{self.monitor} is {self._last_score:.4g}, {self.rule} than stopping_threshold="
                f"{self.stopping_threshold}."
            )
        if self.wait_count >= max(self.patience, 1):
            return (
                f"{self.monitor} has not improved by {self.min_delta} in {self.wait_count}"
                f" {'validation' if self.wait_count == 1 else 'validations'} (patience={self.patience}); the best was"
                f" {self.best_score:.4g}."
            )
        return None

    def _is_beyond_threshold(self) -> bool:
        if self.stopping_threshold is None:
            return False
        if self.rule == "greater":
            return self._last_score > self.stopping_threshold
        return self._last_score < self.stopping_threshold

    def _stop(self, runner: Runner, message: str) -> None:
        runner.logger.info(message)
        if runner.train_loop is not None:
            runner.train_loop.stop_training = True

    def state_dict(self) -> dict[str, Any]:
        """Return the best score, how long there was none better, whether training was stopped, and of which metric."""
        return {
            "monitor": self.monitor,
            "rule": self.rule,
            "best_score": self.best_score,
            "wait_count": self.wait_count,
            "last_score": self._last_score,
            "stopped": self.stopped,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned, unless it is of another metric or rule."""
        if (state_dict["monitor"], state_dict["rule"]) == (self.monitor, self.rule):
            self.best_score = state_dict["best_score"]
            self.wait_count = state_dict["wait_count"]
            self._last_score = state_dict["last_score"]
            self.stopped = state_dict["stopped"]
