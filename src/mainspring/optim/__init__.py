"""Optimisation: the wrapper around an optimizer, and schedules of its parameters."""

from typing import TYPE_CHECKING

from ..registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS
from ..utils import lazy_names
from . import optimizers as _optimizers  # noqa: F401  registers those of torch
from .amp_optim_wrapper import AmpOptimWrapper
from .constructor import DefaultOptimWrapperConstructor, build_optim_wrapper
from .layer_decay import LayerDecayCfg, LayerDecayOptimWrapperConstructor
from .muon import MuonWithAdamW
from .optim_wrapper import OptimWrapper
from .optim_wrapper_dict import OptimWrapperDict
from .param_groups import ParamwiseCfg
from .scheduler import *  # noqa: F403
from .scheduler import __all__ as _schedulers

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__)

__all__ = [
    "OPTIMIZERS",
    "OPTIM_WRAPPER_CONSTRUCTORS",
    "AmpOptimWrapper",
    "DefaultOptimWrapperConstructor",
    "LayerDecayCfg",
    "LayerDecayOptimWrapperConstructor",
    "MuonWithAdamW",
    "OptimWrapper",
    "OptimWrapperDict",
    "ParamwiseCfg",
    "build_optim_wrapper",
    *_schedulers,
]
