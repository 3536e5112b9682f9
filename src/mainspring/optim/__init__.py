"""Optimisation: the wrapper around an optimizer, and schedules of its parameters."""

from . import optimizers as _optimizers  # noqa: F401  registers those of torch
from .amp_optim_wrapper import AmpOptimWrapper
from .constructor import DefaultOptimWrapperConstructor, build_optim_wrapper
from .optim_wrapper import OptimWrapper
from .param_groups import ParamwiseCfg
from .scheduler import *  # noqa: F403
from .scheduler import __all__ as _schedulers

__all__ = [
    "AmpOptimWrapper",
    "DefaultOptimWrapperConstructor",
    "OptimWrapper",
    "ParamwiseCfg",
    "build_optim_wrapper",
    *_schedulers,
]
