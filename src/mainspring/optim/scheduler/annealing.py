"""Schedules that fall: from the value that enters to a bottom."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...registry import PARAM_SCHEDULERS
from .arguments import active_range, number
from .param_scheduler import INF, _ParamScheduler

if TYPE_CHECKING:
    from .chain import HasParamGroups

__all__ = ["CosineAnnealingParamScheduler", "PolyParamScheduler"]


@PARAM_SCHEDULERS.register_module()
class CosineAnnealingParamScheduler(_ParamScheduler):
    r"""Falls along half a cosine, in ``T_max`` steps.

    .. math:: \eta_t = \eta_{min} + (\eta - \eta_{min}) \, \frac{1 + \cos(\pi t / T_{max})}{2}

    where :math:`\eta` is the value that enters. After ``T_max`` steps it rises again, as the formula says.
    From Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017, without
    the restarts.

    Args:
        optimizer: See :class:`_ParamScheduler`, also for the arguments not listed here.
        param_name: The key in ``param_groups``.
        T_max: Steps from the top to the bottom; ``end - begin`` by default, so that the last step is one
            short of the bottom.
        eta_min: The bottom; 0 by default.
        eta_min_ratio: The bottom as a part of the group's base value, instead of ``eta_min``.

    Raises:
        ValueError: Both ``eta_min`` and ``eta_min_ratio`` are given, or ``T_max`` is not positive.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = CosineAnnealingParamScheduler(optimizer, "lr", T_max=2)
    >>> values = []
    >>> for _ in range(3):
    ...     values += scheduler.get_last_value()
    ...     scheduler.step()
    >>> [round(value, 4) for value in values]
    [1.0, 0.5, 0.0]
    """

    _lengths = ("T_max",)

    def __init__(
        self,
        optimizer: HasParamGroups,
        param_name: str,
        T_max: int | None = None,  # noqa: N803
        eta_min: float | None = None,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        eta_min_ratio: float | None = None,
        unit: str | None = None,
    ) -> None:
        owner = type(self).__name__
        begin, end = active_range(owner, begin, end)
        if eta_min is not None and eta_min_ratio is not None:
            raise ValueError(
                f"{owner} takes eta_min or eta_min_ratio, not both, but eta_min is {eta_min!r} and"
                f" eta_min_ratio is {eta_min_ratio!r}. Leave out one."
            )
        self.T_max = end - begin if T_max is None else _length(f"{owner}.T_max", T_max)
        self.eta_min = 0.0 if eta_min is None else number(f"{owner}.eta_min", eta_min)
        self.eta_min_ratio = eta_min_ratio
        if eta_min_ratio is not None:
            self.eta_min_ratio = number(f"{owner}.eta_min_ratio", eta_min_ratio)
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit)

    def _value_at(self, entering: float, base: float, step: int) -> float:
        bottom = self.eta_min if self.eta_min_ratio is None else base * self.eta_min_ratio
        return _blend(bottom, entering, (1 + math.cos(math.pi * step / self.T_max)) / 2)


@PARAM_SCHEDULERS.register_module()
class PolyParamScheduler(_ParamScheduler):
    r"""Falls to ``eta_min`` as a power of the steps that are left.

    .. math:: \eta_t = \eta_{min} + (\eta - \eta_{min}) \left(1 - \frac{t}{T}\right)^{power}

    where :math:`\eta` is the value that enters, and :math:`T` is ``end - begin - 1``: ``eta_min`` is
    reached at the last step. The "poly" policy of Chen et al., "DeepLab: Semantic image segmentation with deep
    convolutional nets, atrous convolution, and fully connected CRFs", TPAMI 2018; with ``eta_min=0``, torch's
    ``PolynomialLR``.

    Args:
        optimizer: See :class:`_ParamScheduler`, also for the arguments not listed here.
        param_name: The key in ``param_groups``.
        eta_min: The value at the last step.
        power: Not negative; 1 is a straight line.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = PolyParamScheduler(optimizer, "lr", power=2, end=3)
    >>> values = []
    >>> for _ in range(4):
    ...     values += scheduler.get_last_value()
    ...     scheduler.step()
    >>> values
    [1.0, 0.25, 0.0, 0.0]
    """

    def __init__(
        self,
        optimizer: HasParamGroups,
        param_name: str,
        eta_min: float = 0,
        power: float = 1.0,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str | None = None,
    ) -> None:
        self.eta_min = number(f"{type(self).__name__}.eta_min", eta_min)
        self.power = number(f"{type(self).__name__}.power", power, low=0)
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit)

    def _value_at(self, entering: float, base: float, step: int) -> float:
        done = step / max(1, self.end - self.begin - 1)
        return _blend(self.eta_min, entering, (1 - done) ** self.power)


def _blend(bottom: float, top: float, weight: float) -> float:
    """Return ``bottom + (top - bottom) * weight``, exact at both ends."""
    return top * weight + bottom * (1 - weight)


def _length(path: str, value: float) -> float:
    length = number(path, value)
    if length <= 0:
        raise ValueError(f"{path} must be positive, but it is {value!r}. Leave it out for end - begin.")
    return length
