"""The schedulers of the momentum: the formulas, with the name filled in."""

from __future__ import annotations

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
from .views import MomentumSchedulerMixin
from .wsd import WSDParamScheduler

__all__ = [
    "ConstantMomentum",
    "CosineAnnealingMomentum",
    "CosineRestartMomentum",
    "ExponentialMomentum",
    "LinearMomentum",
    "MultiStepMomentum",
    "OneCycleMomentum",
    "PolyMomentum",
    "StepMomentum",
    "WSDMomentum",
]


@PARAM_SCHEDULERS.register_module()
class ConstantMomentum(MomentumSchedulerMixin, ConstantParamScheduler):
    """:class:`ConstantParamScheduler` of the momentum.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.8)
    >>> scheduler = ConstantMomentum(optimizer, factor=0.5, end=3)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["momentum"], 4)
    0.4
    """


@PARAM_SCHEDULERS.register_module()
class LinearMomentum(MomentumSchedulerMixin, LinearParamScheduler):
    """:class:`LinearParamScheduler` of the momentum.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.8)
    >>> scheduler = LinearMomentum(optimizer, start_factor=0.25, end=4)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["momentum"], 4)
    0.4
    """


@PARAM_SCHEDULERS.register_module()
class CosineAnnealingMomentum(MomentumSchedulerMixin, CosineAnnealingParamScheduler):
    """:class:`CosineAnnealingParamScheduler` of the momentum.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.8)
    >>> scheduler = CosineAnnealingMomentum(optimizer, T_max=2)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["momentum"], 4)
    0.4
    """


@PARAM_SCHEDULERS.register_module()
class CosineRestartMomentum(MomentumSchedulerMixin, CosineRestartParamScheduler):
    """:class:`CosineRestartParamScheduler` of the momentum.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.8)
    >>> scheduler = CosineRestartMomentum(optimizer, periods=[2, 2], restart_weights=[1, 0.5], eta_min=0)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["momentum"], 4)
    0.4
    """


@PARAM_SCHEDULERS.register_module()
class MultiStepMomentum(MomentumSchedulerMixin, MultiStepParamScheduler):
    """:class:`MultiStepParamScheduler` of the momentum.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.8)
    >>> scheduler = MultiStepMomentum(optimizer, milestones=[1, 2], gamma=0.5)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["momentum"], 4)
    0.4
    """


@PARAM_SCHEDULERS.register_module()
class StepMomentum(MomentumSchedulerMixin, StepParamScheduler):
    """:class:`StepParamScheduler` of the momentum.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.8)
    >>> scheduler = StepMomentum(optimizer, step_size=1, gamma=0.5)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["momentum"], 4)
    0.4
    """


@PARAM_SCHEDULERS.register_module()
class ExponentialMomentum(MomentumSchedulerMixin, ExponentialParamScheduler):
    """:class:`ExponentialParamScheduler` of the momentum.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.8)
    >>> scheduler = ExponentialMomentum(optimizer, gamma=0.5)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["momentum"], 4)
    0.4
    """


@PARAM_SCHEDULERS.register_module()
class PolyMomentum(MomentumSchedulerMixin, PolyParamScheduler):
    """:class:`PolyParamScheduler` of the momentum.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.8)
    >>> scheduler = PolyMomentum(optimizer, power=2, end=5)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["momentum"], 4)
    0.45
    """


@PARAM_SCHEDULERS.register_module()
class OneCycleMomentum(MomentumSchedulerMixin, OneCycleParamScheduler):
    """:class:`OneCycleParamScheduler` of the momentum; it falls and rises again where ``div_factor`` is below 1.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.8)
    >>> scheduler = OneCycleMomentum(
    ...     optimizer, eta_max=0.85, div_factor=0.85 / 0.95, final_div_factor=1, total_steps=5, pct_start=0.6
    ... )
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["momentum"], 4)
    0.9
    """


@PARAM_SCHEDULERS.register_module()
class WSDMomentum(MomentumSchedulerMixin, WSDParamScheduler):
    """:class:`WSDParamScheduler` of the momentum.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.8)
    >>> scheduler = WSDMomentum(optimizer, warmup=3, decay=4, end=20)
    >>> scheduler.step()
    >>> round(optimizer.param_groups[0]["momentum"], 4)
    0.4
    """
