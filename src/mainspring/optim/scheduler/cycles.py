"""Schedules that rise: cosines that begin again, and one great cycle."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from ...registry import PARAM_SCHEDULERS
from ...utils import check_type
from .annealing import _blend
from .arguments import active_range, number, whole_number
from .param_scheduler import INF, _ParamScheduler

if TYPE_CHECKING:
    from .chain import HasParamGroups

__all__ = ["CosineRestartParamScheduler", "OneCycleParamScheduler"]


@PARAM_SCHEDULERS.register_module()
class CosineRestartParamScheduler(_ParamScheduler):
    r"""Falls along half a cosine in each of several periods, and begins again from the top of the next.

    .. math:: \eta_t = \eta_{min} + (w_i \eta - \eta_{min}) \, \frac{1 + \cos(\pi t_i / T_i)}{2}

    where :math:`\eta` is the value that enters, :math:`T_i` the length of the running period, :math:`t_i` the steps in
    it, and :math:`w_i` its weight. After the last period the value stays as its last step left it. From Loshchilov and
    Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017.

    Args:
        optimizer: See :class:`_ParamScheduler`, also for the arguments not listed here.
        param_name: The key in ``param_groups``.
        periods: The length of each period.
        restart_weights: The weight of each period; a single one is that of all.
        eta_min: The bottom.
        eta_min_ratio: The bottom as a part of the group's base value, instead of ``eta_min``; one of the two is given.

    Raises:
        ValueError: ``eta_min`` and ``eta_min_ratio`` are both given or both left out, there is no period, or there are
            more or fewer weights than periods.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = CosineRestartParamScheduler(optimizer, "lr", periods=[2, 2], restart_weights=[1, 0.5], eta_min=0)
    >>> values = []
    >>> for _ in range(5):
    ...     values += scheduler.get_last_value()
    ...     scheduler.step()
    >>> [round(value, 4) for value in values]
    [1.0, 0.5, 0.5, 0.25, 0.25]
    """

    _lengths = ("periods",)

    def __init__(
        self,
        optimizer: HasParamGroups,
        param_name: str,
        periods: Sequence[int],
        restart_weights: Sequence[float] = (1,),
        eta_min: float | None = None,
        eta_min_ratio: float | None = None,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str | None = None,
    ) -> None:
        owner = type(self).__name__
        if (eta_min is None) == (eta_min_ratio is None):
            raise ValueError(
                f"{owner} takes either eta_min or eta_min_ratio, but eta_min is {eta_min!r} and eta_min_ratio is"
                f" {eta_min_ratio!r}. To fall to zero, write eta_min=0."
            )
        for name, given, example in (("periods", periods, [10, 20]), ("restart_weights", restart_weights, [1, 0.5])):
            if not isinstance(given, list | tuple):
                raise TypeError(
                    f"{owner}.{name} must be a list, but it is {given!r} ({type(given).__name__}). Write"
                    f" {name}={example}, for example."
                )
        self.periods = [
            whole_number(f"{owner}.periods[{index}]", period, low=0, cure="It is a number of steps.")
            for index, period in enumerate(periods)
        ]
        if not sum(self.periods):
            raise ValueError(f"{owner}.periods must name the length of a period at least, but it is {periods!r}.")
        weights = list(restart_weights) * (len(self.periods) if len(restart_weights) == 1 else 1)
        if len(weights) != len(self.periods):
            raise ValueError(
                f"{owner}.restart_weights has {len(weights)} weights, but there are {len(self.periods)} periods. Give"
                " one for each, or a single one for all."
            )
        self.restart_weights = [
            number(f"{owner}.restart_weights[{index}]", weight) for index, weight in enumerate(weights)
        ]
        self.eta_min = None if eta_min is None else number(f"{owner}.eta_min", eta_min)
        self.eta_min_ratio = None if eta_min_ratio is None else number(f"{owner}.eta_min_ratio", eta_min_ratio)
        self._ends = list(accumulate(self.periods))
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit)

    def _value_at(self, entering: float, base: float, step: int) -> float:
        step = min(step, self._ends[-1] - 1)
        period = bisect_right(self._ends, step)
        done = (step - (self._ends[period] - self.periods[period])) / self.periods[period]
        bottom = base * (self.eta_min_ratio or 0.0) if self.eta_min is None else self.eta_min
        return _blend(bottom, entering * self.restart_weights[period], (1 + math.cos(math.pi * done)) / 2)


@PARAM_SCHEDULERS.register_module()
class OneCycleParamScheduler(_ParamScheduler):
    """Rises from ``eta_max / div_factor`` to ``eta_max``, and falls to a value far below where it began.

    The cycle does not begin from the group's own value: where no other schedule of the parameter acts, all groups get
    the same. Others multiply it, as ever. After ``total_steps`` the value stays at the bottom, where torch and MMEngine
    raise an error. From Smith and Topin, "Super-convergence: Very fast training of neural networks using large learning
    rates", 2018; the two phases by default are fastai's.

    Args:
        optimizer: See :class:`_ParamScheduler`, also for the arguments not listed here.
        param_name: The key in ``param_groups``.
        eta_max: The top.
        total_steps: Steps of the cycle, ``end - begin`` by default.
        pct_start: The part of the cycle that rises, from 0 to 1.
        anneal_strategy: ``'cos'``, along half a cosine, or ``'linear'``.
        div_factor: The cycle begins from ``eta_max / div_factor``.
        final_div_factor: It ends at ``eta_max / div_factor / final_div_factor``.
        three_phase: Fall back to the beginning in as many steps as it rose, and only then to the bottom; otherwise
            fall to the bottom in one.

    Raises:
        ValueError: An argument is outside of its range.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = OneCycleParamScheduler(
    ...     optimizer, "lr", eta_max=1.0, total_steps=5, pct_start=0.6, anneal_strategy="linear", div_factor=5
    ... )
    >>> values = []
    >>> for _ in range(6):
    ...     values += scheduler.get_last_value()
    ...     scheduler.step()
    >>> [round(value, 5) for value in values]
    [0.2, 0.6, 1.0, 0.50001, 2e-05, 2e-05]
    """

    _lengths = ("total_steps",)

    def __init__(
        self,
        optimizer: HasParamGroups,
        param_name: str,
        eta_max: float = 0,
        total_steps: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str | None = None,
    ) -> None:
        owner = type(self).__name__
        begin, end = active_range(owner, begin, end)
        steps = end - begin if total_steps is None else total_steps
        self.total_steps = whole_number(f"{owner}.total_steps", steps, low=1, cure="Leave it out for end - begin.")
        self.eta_max = number(f"{owner}.eta_max", eta_max)
        if not self.eta_max:
            raise ValueError(f"{owner}.eta_max is 0, so that each value would be 0. Give the top: eta_max=0.1, say.")
        self.pct_start = number(f"{owner}.pct_start", pct_start, 0, 1)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"{owner}.anneal_strategy must be 'cos' or 'linear', but it is {anneal_strategy!r}.")
        self.anneal_strategy = anneal_strategy
        self.div_factor = number(f"{owner}.div_factor", div_factor)
        self.final_div_factor = number(f"{owner}.final_div_factor", final_div_factor)
        if not (self.div_factor and self.final_div_factor):
            raise ValueError(f"{owner}.div_factor and final_div_factor divide eta_max: neither may be 0.")
        check_type(three_phase, bool, f"{owner}.three_phase")
        self.three_phase = three_phase
        start = self.eta_max / self.div_factor
        top, bottom = self.pct_start * self.total_steps - 1, start / self.final_div_factor
        # Where each phase ends: after how many steps, and at which value.
        self._phases = [(top, self.eta_max), (2 * top, start)] if three_phase else [(top, self.eta_max)]
        self._phases.append((self.total_steps - 1, bottom))
        self._start = start
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit)

    def _value_at(self, entering: float, base: float, step: int) -> float:
        step = min(step, self.total_steps - 1)
        began, value = 0.0, self._start
        for ends, target in self._phases:
            if step <= ends or ends == self.total_steps - 1:
                done = (step - began) / (ends - began) if ends != began else 1.0
                weight = (1 - math.cos(math.pi * done)) / 2 if self.anneal_strategy == "cos" else done
                value = _blend(value, target, weight)
                break
            began, value = ends, target
        return value * (entering / base) if base else value
