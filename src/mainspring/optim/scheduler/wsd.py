"""Warm up, stay, decay."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...registry import PARAM_SCHEDULERS
from .arguments import active_range, number, whole_number
from .param_scheduler import INF, _ParamScheduler

if TYPE_CHECKING:
    from .chain import HasParamGroups

__all__ = ["WSDParamScheduler"]

_SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "1-sqrt": lambda done: 1 - math.sqrt(done),
}


@PARAM_SCHEDULERS.register_module()
class WSDParamScheduler(_ParamScheduler):
    r"""Rises in a straight line, stays at the value that enters, and decays towards the end.

    The factor of step :math:`t` of :math:`T` = ``end - begin`` is, with :math:`W` = ``warmup``, :math:`D` = ``decay``,
    :math:`f` = ``end_factor``,

    .. math::
        \begin{cases}
        (t + 1) / (W + 1) & t < W \\
        1 & W \le t < T - D \\
        f + (1 - f) \, g\big((t - T + D) / D\big) & T - D \le t
        \end{cases}

    where :math:`g(x)` is :math:`1 - \sqrt x`, :math:`1 - x` or :math:`(1 + \cos \pi x) / 2`. No step has the factor 0:
    ``end_factor`` would be reached one step behind the last.

    Up to the decay nothing depends on the length of the run, so that a run that is made longer goes on from a
    checkpoint before its decay as if it had been so from the beginning. From Hu et al., "MiniCPM: Unveiling the
    potential of small language models with scalable training strategies", 2024; the shape ``'1-sqrt'`` and the fifth
    of the run for it from Hägele et al., "Scaling laws and compute-optimal training beyond fixed training durations",
    NeurIPS 2024.

    Args:
        optimizer: See :class:`_ParamScheduler`, also for the arguments not listed here.
        param_name: The key in ``param_groups``.
        warmup: Steps that rise.
        decay: Steps that fall, the last ones before ``end``; a fifth of ``end - begin`` by default.
        shape: ``'1-sqrt'``, ``'linear'`` or ``'cosine'``.
        end_factor: From 0 to 1.

    Raises:
        ValueError: ``shape`` is unknown, or ``warmup`` and ``decay`` are longer than ``end - begin``.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = WSDParamScheduler(optimizer, "lr", warmup=1, decay=4, shape="linear", end=8)
    >>> values = []
    >>> for _ in range(8):
    ...     values += scheduler.get_last_value()
    ...     scheduler.step()
    >>> values
    [0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    """

    _lengths = ("warmup", "decay")

    def __init__(
        self,
        optimizer: HasParamGroups,
        param_name: str,
        warmup: int = 0,
        decay: int | None = None,
        shape: str = "1-sqrt",
        end_factor: float = 0.0,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str | None = None,
    ) -> None:
        owner = type(self).__name__
        begin, end = active_range(owner, begin, end)
        if shape not in _SHAPES:
            raise ValueError(f"{owner}.shape must be {', '.join(map(repr, _SHAPES))}, but it is {shape!r}.")
        length = end - begin
        self.warmup = whole_number(f"{owner}.warmup", 0 if warmup is None else warmup, low=0)
        self.decay = whole_number(f"{owner}.decay", round(length / 5) if decay is None else decay, low=0)
        if self.warmup + self.decay > length:
            raise ValueError(
                f"{owner}.warmup is {self.warmup} and decay is {self.decay}, together more than the {length} steps from"
                f" begin to end. Shorten them, or move end."
            )
        self.shape = shape
        self.end_factor = number(f"{owner}.end_factor", end_factor, 0, 1, cure="1 decays nothing.")
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit)

    def _value_at(self, entering: float, base: float, step: int) -> float:
        if step < self.warmup:
            return entering * (step + 1) / (self.warmup + 1)
        decaying = step - (self.end - self.begin - self.decay)
        if decaying <= 0:
            return entering
        left = _SHAPES[self.shape](decaying / self.decay)
        return entering * (self.end_factor * (1 - left) + left)
