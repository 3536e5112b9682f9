"""The schedulers of the learning rate and of the momentum: the same formulas, with the name filled in."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from ...registry import PARAM_SCHEDULERS
from .annealing import CosineAnnealingParamScheduler, PolyParamScheduler
from .factors import (
    ConstantParamScheduler,
    ExponentialParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    StepParamScheduler,
)
from .param_scheduler import _ParamScheduler

if TYPE_CHECKING:
    from .chain import HasParamGroups

__all__ = [
    "ConstantLR",
    "ConstantMomentum",
    "CosineAnnealingLR",
    "CosineAnnealingMomentum",
    "ExponentialLR",
    "ExponentialMomentum",
    "LRSchedulerMixin",
    "LinearLR",
    "LinearMomentum",
    "MomentumSchedulerMixin",
    "MultiStepLR",
    "MultiStepMomentum",
    "PolyLR",
    "PolyMomentum",
    "StepLR",
    "StepMomentum",
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
    """Makes a scheduler of the learning rate: ``class MyLR(LRSchedulerMixin, MyParamScheduler)``."""

    _scheduled = "lr"


class MomentumSchedulerMixin(_View):
    """Makes a scheduler of the momentum, which of optimizers with ``betas`` is the first of these."""

    _scheduled = "momentum"


@PARAM_SCHEDULERS.register_module()
class ConstantLR(LRSchedulerMixin, ConstantParamScheduler):
    """:class:`ConstantParamScheduler` of the learning rate."""


@PARAM_SCHEDULERS.register_module()
class LinearLR(LRSchedulerMixin, LinearParamScheduler):
    """:class:`LinearParamScheduler` of the learning rate: a warm-up, usually."""


@PARAM_SCHEDULERS.register_module()
class CosineAnnealingLR(LRSchedulerMixin, CosineAnnealingParamScheduler):
    """:class:`CosineAnnealingParamScheduler` of the learning rate."""


@PARAM_SCHEDULERS.register_module()
class MultiStepLR(LRSchedulerMixin, MultiStepParamScheduler):
    """:class:`MultiStepParamScheduler` of the learning rate."""


@PARAM_SCHEDULERS.register_module()
class StepLR(LRSchedulerMixin, StepParamScheduler):
    """:class:`StepParamScheduler` of the learning rate."""


@PARAM_SCHEDULERS.register_module()
class ExponentialLR(LRSchedulerMixin, ExponentialParamScheduler):
    """:class:`ExponentialParamScheduler` of the learning rate."""


@PARAM_SCHEDULERS.register_module()
class PolyLR(LRSchedulerMixin, PolyParamScheduler):
    """:class:`PolyParamScheduler` of the learning rate."""


@PARAM_SCHEDULERS.register_module()
class ConstantMomentum(MomentumSchedulerMixin, ConstantParamScheduler):
    """:class:`ConstantParamScheduler` of the momentum."""


@PARAM_SCHEDULERS.register_module()
class LinearMomentum(MomentumSchedulerMixin, LinearParamScheduler):
    """:class:`LinearParamScheduler` of the momentum."""


@PARAM_SCHEDULERS.register_module()
class CosineAnnealingMomentum(MomentumSchedulerMixin, CosineAnnealingParamScheduler):
    """:class:`CosineAnnealingParamScheduler` of the momentum."""


@PARAM_SCHEDULERS.register_module()
class MultiStepMomentum(MomentumSchedulerMixin, MultiStepParamScheduler):
    """:class:`MultiStepParamScheduler` of the momentum."""


@PARAM_SCHEDULERS.register_module()
class StepMomentum(MomentumSchedulerMixin, StepParamScheduler):
    """:class:`StepParamScheduler` of the momentum."""


@PARAM_SCHEDULERS.register_module()
class ExponentialMomentum(MomentumSchedulerMixin, ExponentialParamScheduler):
    """:class:`ExponentialParamScheduler` of the momentum."""


@PARAM_SCHEDULERS.register_module()
class PolyMomentum(MomentumSchedulerMixin, PolyParamScheduler):
    """:class:`PolyParamScheduler` of the momentum."""
