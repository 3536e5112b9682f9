"""The schedulers of the learning rate: the formulas, with the name filled in."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from ...registry import PARAM_SCHEDULERS
from .annealing import CosineAnnealingParamScheduler, PolyParamScheduler
from .cycles import CosineRestartParamScheduler, OneCycleParamScheduler
from .factors import (
    ConstantParamScheduler,
    ExponentialParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    StepParamScheduler,
)
from .param_scheduler import _ParamScheduler
from .wsd import WSDParamScheduler

if TYPE_CHECKING:
    from .chain import HasParamGroups

__all__ = [
    "WSDLR",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineRestartLR",
    "ExponentialLR",
    "LRSchedulerMixin",
    "LinearLR",
    "MomentumSchedulerMixin",
    "MultiStepLR",
    "OneCycleLR",
    "PolyLR",
    "StepLR",
]


class _View(_ParamScheduler):
    _scheduled: ClassVar[str]

    def __init__(self, optimizer: HasParamGroups, *args: Any, **kwargs: Any) -> None:
        super().__init__(optimizer, self._scheduled, *args, **kwargs)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give the class its formula's signature, less the name, for help() and the registry's checks."""
        super().__init_subclass__(**kwargs)
        for base in cls.__mro__:
            if base is not _View and "__init__" in vars(base):
                _, *parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
                named = [parameter for parameter in parameters if parameter.name != "param_name"]
                cls.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
                return


class LRSchedulerMixin(_View):
    """Makes a scheduler of the learning rate out of one that is told what it schedules.

    >>> import torch
    >>> class Halving(_ParamScheduler):
    ...     def _value_at(self, entering, base, step):
    ...         return entering / 2**step
    >>> class HalvingLR(LRSchedulerMixin, Halving):
    ...     pass
    >>> scheduler = HalvingLR(torch.optim.SGD([torch.zeros(1)], lr=1.0))
    >>> scheduler.step()
    >>> scheduler.get_last_value()
    [0.5]
    """

    _scheduled = "lr"


class MomentumSchedulerMixin(_View):
    """Makes a scheduler of the momentum, which of optimizers with ``betas`` is the first of these.

    >>> import torch
    >>> class Halving(_ParamScheduler):
    ...     def _value_at(self, entering, base, step):
    ...         return entering / 2**step
    >>> class HalvingMomentum(MomentumSchedulerMixin, Halving):
    ...     pass
    >>> optimizer = torch.optim.Adam([torch.zeros(1)], betas=(0.8, 0.99))
    >>> HalvingMomentum(optimizer).step()
    >>> optimizer.param_groups[0]["betas"]
    (0.4, 0.99)
    """

    _scheduled = "momentum"


@PARAM_SCHEDULERS.register_module()
class ConstantLR(LRSchedulerMixin, ConstantParamScheduler):
    """:class:`ConstantParamScheduler` of the learning rate.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    >>> scheduler = ConstantLR(optimizer, factor=0.5, end=3)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["lr"], 4)
    0.5
    """


@PARAM_SCHEDULERS.register_module()
class LinearLR(LRSchedulerMixin, LinearParamScheduler):
    """:class:`LinearParamScheduler` of the learning rate: a warm-up, usually.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    >>> scheduler = LinearLR(optimizer, start_factor=0.25, end=4)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["lr"], 4)
    0.5
    """


@PARAM_SCHEDULERS.register_module()
class CosineAnnealingLR(LRSchedulerMixin, CosineAnnealingParamScheduler):
    """:class:`CosineAnnealingParamScheduler` of the learning rate.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    >>> scheduler = CosineAnnealingLR(optimizer, T_max=2)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["lr"], 4)
    0.5
    """


@PARAM_SCHEDULERS.register_module()
class CosineRestartLR(LRSchedulerMixin, CosineRestartParamScheduler):
    """:class:`CosineRestartParamScheduler` of the learning rate.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    >>> scheduler = CosineRestartLR(optimizer, periods=[2, 2], restart_weights=[1, 0.5], eta_min=0)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["lr"], 4)
    0.5
    """


@PARAM_SCHEDULERS.register_module()
class MultiStepLR(LRSchedulerMixin, MultiStepParamScheduler):
    """:class:`MultiStepParamScheduler` of the learning rate.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    >>> scheduler = MultiStepLR(optimizer, milestones=[1, 2], gamma=0.5)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["lr"], 4)
    0.5
    """


@PARAM_SCHEDULERS.register_module()
class StepLR(LRSchedulerMixin, StepParamScheduler):
    """:class:`StepParamScheduler` of the learning rate.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    >>> scheduler = StepLR(optimizer, step_size=1, gamma=0.5)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["lr"], 4)
    0.5
    """


@PARAM_SCHEDULERS.register_module()
class ExponentialLR(LRSchedulerMixin, ExponentialParamScheduler):
    """:class:`ExponentialParamScheduler` of the learning rate.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    >>> scheduler = ExponentialLR(optimizer, gamma=0.5)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["lr"], 4)
    0.5
    """


@PARAM_SCHEDULERS.register_module()
class PolyLR(LRSchedulerMixin, PolyParamScheduler):
    """:class:`PolyParamScheduler` of the learning rate.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    >>> scheduler = PolyLR(optimizer, power=2, end=5)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["lr"], 4)
    0.5625
    """


@PARAM_SCHEDULERS.register_module()
class OneCycleLR(LRSchedulerMixin, OneCycleParamScheduler):
    """:class:`OneCycleParamScheduler` of the learning rate.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    >>> scheduler = OneCycleLR(optimizer, eta_max=1.0, total_steps=5, pct_start=0.6, anneal_strategy="linear")
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["lr"], 4)
    0.52
    """


@PARAM_SCHEDULERS.register_module()
class WSDLR(LRSchedulerMixin, WSDParamScheduler):
    """:class:`WSDParamScheduler` of the learning rate.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    >>> scheduler = WSDLR(optimizer, warmup=3, decay=4, end=20)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["lr"], 4)
    0.5
    """
