"""Optimisation: the wrapper around an optimizer, and schedules of its parameters."""

from .amp_optim_wrapper import AmpOptimWrapper
from .constructor import DefaultOptimWrapperConstructor, build_optim_wrapper
from .optim_wrapper import OptimWrapper
from .optimizers import register_torch_optimizers
from .scheduler import *  # noqa: F403
from .scheduler import __all__ as _schedulers

__all__ = [
    "AmpOptimWrapper",
    "DefaultOptimWrapperConstructor",
    "OptimWrapper",
    "build_optim_wrapper",
    "register_torch_optimizers",
    *_schedulers,
]
