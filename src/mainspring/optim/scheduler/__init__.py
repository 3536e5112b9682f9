"""Schedules of the learning rate, the momentum, and any other parameter of an optimizer."""

from .annealing import CosineAnnealingParamScheduler, PolyParamScheduler
from .cycles import CosineRestartParamScheduler, OneCycleParamScheduler
from .factors import (
    ConstantParamScheduler,
    ExponentialParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    StepParamScheduler,
)
from .momentum_views import (
    ConstantMomentum,
    CosineAnnealingMomentum,
    CosineRestartMomentum,
    ExponentialMomentum,
    LinearMomentum,
    MultiStepMomentum,
    OneCycleMomentum,
    PolyMomentum,
    StepMomentum,
    WSDMomentum,
)
from .param_scheduler import INF, _ParamScheduler
from .plateau import ReduceOnPlateauLR, ReduceOnPlateauMomentum, ReduceOnPlateauParamScheduler
from .views import (
    WSDLR,
    ConstantLR,
    CosineAnnealingLR,
    CosineRestartLR,
    ExponentialLR,
    LinearLR,
    LRSchedulerMixin,
    MomentumSchedulerMixin,
    MultiStepLR,
    OneCycleLR,
    PolyLR,
    StepLR,
)
from .wsd import WSDParamScheduler

__all__ = [
    "INF",
    "WSDLR",
    "ConstantLR",
    "ConstantMomentum",
    "ConstantParamScheduler",
    "CosineAnnealingLR",
    "CosineAnnealingMomentum",
    "CosineAnnealingParamScheduler",
    "CosineRestartLR",
    "CosineRestartMomentum",
    "CosineRestartParamScheduler",
    "ExponentialLR",
    "ExponentialMomentum",
    "ExponentialParamScheduler",
    "LRSchedulerMixin",
    "LinearLR",
    "LinearMomentum",
    "LinearParamScheduler",
    "MomentumSchedulerMixin",
    "MultiStepLR",
    "MultiStepMomentum",
    "MultiStepParamScheduler",
    "OneCycleLR",
    "OneCycleMomentum",
    "OneCycleParamScheduler",
    "PolyLR",
    "PolyMomentum",
    "PolyParamScheduler",
    "ReduceOnPlateauLR",
    "ReduceOnPlateauMomentum",
    "ReduceOnPlateauParamScheduler",
    "StepLR",
    "StepMomentum",
    "StepParamScheduler",
    "WSDMomentum",
    "WSDParamScheduler",
    "_ParamScheduler",
]
