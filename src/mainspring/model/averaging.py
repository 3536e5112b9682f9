"""Averages of a model's weights over the steps of its training: the three that are in use."""

from __future__ import annotations

import logging
from abc import abstractmethod

import torch
from torch import Tensor, nn

from ..logging import print_log
from ..registry import MODELS
from ..utils import check_type
from .averaged_model import BaseAveragedModel
from .correspondence import Correspondence

__all__ = ["ExponentialMovingAverage", "MomentumAnnealingEMA", "StochasticWeightAverage"]


class _Interpolation(BaseAveragedModel):
    """An average that moves some part of the way to the model at each update."""

    @abstractmethod
    def _weight(self, steps: int) -> float:
        """Return which part of the way."""

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """Move the average towards the model's tensor; see the class for how far."""
        averaged_param.lerp_(source_param, self._weight(steps))

    def _average_all(self, found: Correspondence, steps: int) -> None:
        if getattr(self.avg_func, "__func__", None) is _Interpolation.avg_func:
            weight = self._weight(steps)
            for own, parts in found.joined():
                own.lerp_(torch.cat(parts), weight)
        super()._average_all(found, steps)

    def _average(self, averaged: list[Tensor], sources: list[Tensor], steps: int) -> None:
        if getattr(self.avg_func, "__func__", None) is _Interpolation.avg_func:
            torch._foreach_lerp_(averaged, sources, self._weight(steps))
        else:  # a user's class has a formula of its own
            super()._average(averaged, sources, steps)


@MODELS.register_module()
class StochasticWeightAverage(_Interpolation):
    """The plain mean of the weights at all updates.

    Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018.

    Args:
        model: See :class:`BaseAveragedModel`, for this and the others.
        interval: Calls of :meth:`update_parameters` from one that counts to the next.
        device: Where the average is kept.
        update_buffers: Average buffers too.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> average = StochasticWeightAverage(model)
    >>> for weight in (1.0, 2.0, 6.0):
    ...     _ = nn.init.constant_(model.weight, weight)
    ...     average.update_parameters(model)
    >>> round(average.module.weight.item(), 4)
    3.0
    """

    def _weight(self, steps: int) -> float:
        return 1 / (steps // self.interval + 1)


@MODELS.register_module()
class ExponentialMovingAverage(_Interpolation):
    """A mean in which weights count the less the longer ago they were.

    Each update makes the average ``(1 - momentum) * average + momentum * weights``: beware that the momentum of
    optimizers is the other part, ``1 - momentum``. It looks back over some ``interval / momentum`` steps.

    Args:
        model: See :class:`BaseAveragedModel`, for this and the others.
        momentum: The part of the new weights, between 0 and 1; usually small.
        interval: Calls of :meth:`update_parameters` from one that counts to the next.
        device: Where the average is kept.
        update_buffers: Average buffers too.

    Raises:
        ValueError: ``momentum`` does not lie between 0 and 1.

    A training loop with an average:

    >>> model = nn.Linear(4, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> average = ExponentialMovingAverage(model, momentum=0.01)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     model(torch.ones(8, 4)).square().mean().backward()
    ...     optimizer.step()
    ...     average.update_parameters(model)
    >>> average(torch.ones(2, 4)).shape  # what the averaged model answers
    torch.Size([2, 1])

    Its state is like that of any module: the weights behind ``module.``, and ``steps``.

    >>> list(average.state_dict())
    ['steps', 'module.weight', 'module.bias']
    """

    def __init__(
        self,
        model: nn.Module,
        momentum: float = 0.0002,
        interval: int = 1,
        device: torch.device | str | None = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__(model, interval, device, update_buffers)
        name = type(self).__name__
        check_type(momentum, float, f"{name}: momentum")
        if not 0 < momentum < 1:
            raise ValueError(f"{name}: momentum must lie between 0 and 1, but it is {momentum}.")
        if momentum > 0.5:
            _warn(
                f"{name}: momentum is {momentum}. It is the part of the new weights in the average, and usually small:"
                f" for an average over many steps write {1 - momentum:g}, or less."
            )
        coarse = {p.dtype for p in self.module.parameters() if p.is_floating_point()}
        coarse = {dtype for dtype in coarse if torch.finfo(dtype).eps > momentum}
        if coarse:
            _warn(
                f"{name}: with momentum={momentum}, an update changes weights of"
                f" {' and '.join(sorted(map(str, coarse)))} by less than that type can express, so that their average"
                " hardly moves. Keep the weights in float32, and let AmpOptimWrapper choose the precision of the steps."
            )
        self.momentum = momentum

    def _weight(self, steps: int) -> float:
        return self.momentum


@MODELS.register_module()
class MomentumAnnealingEMA(ExponentialMovingAverage):
    """An exponential moving average that begins as a plain mean, so that the first weights are soon forgotten.

    The part of the new weights is ``gamma / (gamma + steps)`` until that falls below ``momentum``.

    Args:
        model: See :class:`BaseAveragedModel`, for this and the others.
        momentum: The part of the new weights in the end.
        gamma: The greater, the slower the part falls.
        interval: Calls of :meth:`update_parameters` from one that counts to the next.
        device: Where the average is kept.
        update_buffers: Average buffers too.

    Raises:
        ValueError: ``momentum`` does not lie between 0 and 1, or ``gamma`` is not positive.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> average = MomentumAnnealingEMA(model, gamma=1)
    >>> for weight in (1.0, 2.0, 6.0):
    ...     _ = nn.init.constant_(model.weight, weight)
    ...     average.update_parameters(model)
    >>> round(average.module.weight.item(), 4)  # 1; half of the way to 2; a third of the way to 6
    3.0
    """

    def __init__(
        self,
        model: nn.Module,
        momentum: float = 0.0002,
        gamma: float = 100,
        interval: int = 1,
        device: torch.device | str | None = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__(model, momentum, interval, device, update_buffers)
        check_type(gamma, float, f"{type(self).__name__}: gamma")
        if gamma <= 0:
            raise ValueError(f"{type(self).__name__}: gamma must be positive, but it is {gamma}.")
        self.gamma = gamma

    def _weight(self, steps: int) -> float:
        return max(self.momentum, self.gamma / (self.gamma + steps))


def _warn(message: str) -> None:
    print_log(message, logger="current", level=logging.WARNING)
