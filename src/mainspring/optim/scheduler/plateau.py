"""Schedules that fall when a metric of the validations has stopped improving."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...logging import print_log
from ...registry import PARAM_SCHEDULERS
from ...utils import check_type, did_you_mean
from .arguments import number, whole_number
from .param_scheduler import INF, _check_optimizer, _ParamScheduler
from .views import LRSchedulerMixin, MomentumSchedulerMixin

if TYPE_CHECKING:
    from .chain import HasParamGroups

__all__ = ["ReduceOnPlateauLR", "ReduceOnPlateauMomentum", "ReduceOnPlateauParamScheduler"]


@PARAM_SCHEDULERS.register_module()
class ReduceOnPlateauParamScheduler(_ParamScheduler):
    """Multiplies by ``factor`` each time that a metric of the validations has stopped improving.

    A validation is a bad one if the metric is not better than the best so far by ``threshold``. After more than
    ``patience`` bad ones in a row, what leaves the schedule for a group becomes ``max(factor * value, min_value)``,
    unless that is less by ``eps`` at most; and for the next ``cooldown`` validations none is bad.

    So does torch's ``ReduceLROnPlateau``, whose rule this is. Where other schedules of the parameter go on, the value
    that this one has reduced stays reduced in proportion to what enters; ``min_value`` and ``eps`` are looked at only
    when it reduces.

    It is stepped twice: ``step()`` counts an epoch, an iteration or an update, and ``step(metrics)`` judges a
    validation, of which those with ``begin <= count < end`` matter. Here ``last_step`` counts these, from 0. In a run
    the ``ParamSchedulerHook`` does both.

    Args:
        optimizer: See :class:`_ParamScheduler`, also for the arguments not listed here.
        param_name: The key in ``param_groups``.
        monitor: The metric to watch, such as ``'accuracy/top1'``.
        rule: ``'less'`` or ``'greater'``: what is better.
        factor: At least 0, and less than 1.
        patience: How many bad validations in a row are borne.
        threshold: By how much a metric must be better than the best so far.
        threshold_rule: ``'rel'``: ``threshold`` is a part of the best so far; ``'abs'``: it is the difference, as it
            must be for a metric that can be negative.
        cooldown: How many validations after a reduction are not counted.
        min_value: The least value that it reduces to: one, or one for each group.
        eps: A reduction by this or less is left out.
        begin: Epochs (or iterations) that must be finished for a validation to matter.
        end: Validations after so many no longer matter.
        last_step: To go on without a state: the ``last_step`` that was reached. What the groups hold is taken for what
            was left by this schedule, so that it must be the only one of its parameter.
        by_epoch: Whether ``begin`` and ``end`` count epochs, rather than iterations.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument has an invalid value, or ``last_step`` is given beside other schedules.
        KeyError: See :class:`_ParamScheduler`.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = ReduceOnPlateauParamScheduler(optimizer, "lr", factor=0.5, patience=1)
    >>> values = []
    >>> for loss in (3.0, 2.0, 2.5, 2.0, 1.0):
    ...     scheduler.step()
    ...     scheduler.step({"loss": loss})
    ...     values += scheduler.get_last_value()
    >>> values
    [1.0, 1.0, 1.0, 0.5, 0.5]
    """

    need_val_args = True
    """Whether ``step`` takes the results of a validation; a scheduler of a user may say so too."""

    def __init__(
        self,
        optimizer: HasParamGroups,
        param_name: str,
        monitor: str = "loss",
        rule: str = "less",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_rule: str = "rel",
        cooldown: int = 0,
        min_value: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str | None = None,
    ) -> None:
        owner = type(self).__name__
        _check_optimizer(optimizer, owner)
        check_type(monitor, str, f"{owner}.monitor")
        for name, value, known in (
            ("rule", rule, ("less", "greater")),
            ("threshold_rule", threshold_rule, ("rel", "abs")),
        ):
            if value not in known:
                raise ValueError(f"{owner}.{name} must be {known[0]!r} or {known[1]!r}, but it is {value!r}.")
        self.monitor = monitor
        self.rule = rule
        self.factor = number(f"{owner}.factor", factor, low=0)
        if self.factor >= 1:
            raise ValueError(f"{owner}.factor must be less than 1, but it is {factor!r}. To halve, write 0.5.")
        self.patience = whole_number(f"{owner}.patience", patience, low=0)
        self.threshold = number(f"{owner}.threshold", threshold, low=0)
        self.threshold_rule = threshold_rule
        if rule == "less" and threshold_rule == "rel" and self.threshold >= 1:
            raise ValueError(
                f"{owner}.threshold must be less than 1 with threshold_rule='rel', but it is {threshold!r}: no metric"
                " would ever be better by that part of the best."
            )
        self.cooldown = whole_number(f"{owner}.cooldown", cooldown, low=0)
        self.min_values = _least_values(f"{owner}.min_value", min_value, len(optimizer.param_groups))
        """The least value of each group, or a single one for all."""
        self.eps = number(f"{owner}.eps", eps, low=0)
        self.best = math.inf if rule == "less" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit)

    def step(self, metrics: Mapping[str, Any] | None = None) -> None:
        """Count one more epoch or iteration; or, where the results of a validation are given, judge these instead.

        Args:
            metrics: The results by name.

        Raises:
            KeyError: The metric that is watched is not among them.
            TypeError: The results are no dict, or the metric is no number.
        """
        if metrics is None:
            self._global_step += 1
            return
        check_type(metrics, Mapping, f"{type(self).__name__}.step: metrics")
        if self._global_step >= self.end:
            return
        score = self._score_in(metrics)  # also before begin, so that a wrong name is found at the first validation
        if self._global_step < self.begin:
            return
        self.last_step += 1
        better, cooling = self._is_better(score), self.cooldown_counter > 0
        self.best = score if better else self.best
        self.num_bad_epochs = 0 if better or cooling else self.num_bad_epochs + 1
        self.cooldown_counter -= cooling
        if self.num_bad_epochs > self.patience:
            self.num_bad_epochs = 0
            self.cooldown_counter = self.cooldown
            self._reduce()

    def state_dict(self) -> dict[str, Any]:
        """Return how far the scheduler is, what it has judged and reduced so far, and by which metric."""
        return {**super().state_dict(), "monitor": self.monitor, "rule": self.rule}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the progress of a state, under this scheduler's own settings.

        What was reduced stays so. With another ``monitor`` or ``rule`` the best so far is forgotten. In a state of
        MMEngine stand the groups' values and not this schedule's part in them. That is found by what enters now, which
        is right unless other schedules have moved since; a line in the log says so where they may have.

        Args:
            state_dict: What :meth:`state_dict` returned, ours or MMEngine's.

        Raises:
            KeyError: It is no scheduler's state.
            ValueError: It counts epochs and this scheduler iterations, or the other way round.
        """
        state = dict(state_dict)
        if "_recursion" not in state and {"last_step", "_global_step"} <= state.keys():
            state = self._translated(state)
        watched = (("monitor", self.monitor), ("rule", self.rule))
        if "_recursion" in state and any(state.get(name, now) != now for name, now in watched):
            attributes = dict(state["_recursion"]["attributes"])
            attributes.pop("best", None)
            attributes.pop("num_bad_epochs", None)
            state["_recursion"] = {**state["_recursion"], "attributes": attributes}
        super().load_state_dict(state)

    def _score_in(self, metrics: Mapping[str, Any]) -> float:
        owner = type(self).__name__
        if self.monitor not in metrics:
            raise KeyError(
                f"{owner}.monitor is {self.monitor!r}, which the validation did not return."
                f"{did_you_mean(self.monitor, metrics)} It returned: {', '.join(metrics) or 'nothing'}."
            )
        value = metrics[self.monitor]
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"{owner}.monitor is {self.monitor!r}, which must be a number to be compared, but the validation"
                f" returned {value!r} ({type(value).__name__})."
            ) from error

    def _is_better(self, score: float) -> bool:
        sign = -1 if self.rule == "less" else 1
        relative = self.threshold_rule == "rel"
        target = self.best * (1 + sign * self.threshold) if relative else self.best + sign * self.threshold
        return score < target if self.rule == "less" else score > target

    def _reduce(self) -> None:
        if self._recursion is None or not any(self._chain.entering(self)):
            return  # where 0 enters, nothing can be reduced, and what was so far must not be forgotten
        self._recursion.advance(self._chain)
        values = self._chain.write()
        if self.verbose:
            self._report(values)

    def _get_value(self) -> list[float]:
        """Return the reduced value of each group, from the groups, which hold what leaves this schedule."""
        values = [float(group[self.param_name]) for group in self.optimizer.param_groups]
        least = self.min_values * len(values) if len(self.min_values) == 1 else self.min_values
        if len(least) != len(values):
            raise ValueError(
                f"{type(self).__name__}.min_value has {len(least)} values, but the optimizer has {len(values)}"
                " parameter groups now. Give one value for all where groups are added during the training."
            )
        reduced = [max(value * self.factor, low) for value, low in zip(values, least, strict=True)]
        return [new if old - new > self.eps else old for old, new in zip(values, reduced, strict=True)]

    def _go_to(self, count: int, last_step: int) -> None:
        others = [type(other).__name__ for other in self._chain.schedulers if other is not self]
        if others:
            raise ValueError(
                f"{type(self).__name__}.last_step is given, but {', '.join(others)} changes {self.param_name!r} too, so"
                " that what was reduced cannot be seen from the optimizer. Load the state of the schedule instead."
            )
        self._global_step, self.last_step = count, last_step
        left = [float(group[self.param_name]) for group in self._chain.groups()]
        if self._recursion is not None:
            self._recursion.load_state_dict({"entered": self._chain.entering(self), "left": left, "attributes": {}})

    def _translated(self, foreign: Mapping[str, Any]) -> dict[str, Any]:
        """Return the state of another class as one of ours; of a schedule of another kind only the count."""
        remembered: dict[str, Any] = {"entered": [], "left": [], "attributes": {}}
        state = {
            "last_step": foreign["last_step"],
            "_global_step": foreign["_global_step"],
            **{name: foreign[name] for name in ("by_epoch", "unit", "monitor", "rule") if name in foreign},
            "_recursion": remembered,
        }
        if not foreign.keys() >= {"best", "num_bad_epochs", "cooldown_counter", "patience", "_last_value"}:
            return {**state, "last_step": -1}
        remembered["attributes"] = {
            "best": float(foreign["best"]),  # MMEngine keeps what the metric returned, a tensor for instance
            "num_bad_epochs": foreign["num_bad_epochs"],
            "cooldown_counter": foreign["cooldown_counter"],
        }
        if foreign["last_step"] + 1 > foreign["patience"]:  # else it cannot have reduced anything yet
            entering = self._chain.entering(self)
            remembered["entered"] = entering
            found = zip(entering, foreign["_last_value"], strict=False)
            remembered["left"] = [min(value, float(last)) for value, last in found]
            moving = [
                type(other).__name__
                for other in self._chain.schedulers
                if other is not self and other._global_step < other.end
            ]
            if moving:
                print_log(
                    f"The state for {type(self).__name__} does not tell what this schedule has reduced from what"
                    f" {', '.join(moving)} has. It is taken for {remembered['left']} of {entering}.",
                    logger="current",
                    level=logging.WARNING,
                )
        return state


@PARAM_SCHEDULERS.register_module()
class ReduceOnPlateauLR(LRSchedulerMixin, ReduceOnPlateauParamScheduler):
    """:class:`ReduceOnPlateauParamScheduler` of the learning rate.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    >>> scheduler = ReduceOnPlateauLR(optimizer, monitor="accuracy", rule="greater", factor=0.5, patience=0)
    >>> for accuracy in (0.7, 0.6):
    ...     scheduler.step()
    ...     scheduler.step({"accuracy": accuracy})
    >>> optimizer.param_groups[0]["lr"]
    0.5
    """


@PARAM_SCHEDULERS.register_module()
class ReduceOnPlateauMomentum(MomentumSchedulerMixin, ReduceOnPlateauParamScheduler):
    """:class:`ReduceOnPlateauParamScheduler` of the momentum.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.8)
    >>> scheduler = ReduceOnPlateauMomentum(optimizer, monitor="accuracy", rule="greater", factor=0.5, patience=0)
    >>> for accuracy in (0.7, 0.6):
    ...     scheduler.step()
    ...     scheduler.step({"accuracy": accuracy})
    >>> optimizer.param_groups[0]["momentum"]
    0.4
    """


def _least_values(path: str, given: float | Sequence[float], groups: int) -> list[float]:
    if not isinstance(given, (list, tuple)):
        return [number(path, given)]
    if len(given) != groups:
        raise ValueError(
            f"{path} has {len(given)} values, but the optimizer has {groups} parameter groups. Give one for each, or a"
            " single number for all."
        )
    return [number(f"{path}[{index}]", value) for index, value in enumerate(given)]
