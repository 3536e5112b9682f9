"""Models: the contract with the engine, initialisation, and what brings a batch into a model's form."""

from .activation_checkpointing import turn_on_activation_checkpointing
from .averaged_model import BaseAveragedModel
from .averaging import ExponentialMovingAverage, MomentumAnnealingEMA, StochasticWeightAverage
from .base_model import BaseModel
from .base_module import BaseModule, ModuleDict, ModuleList, Sequential
from .batch_augments import CutMix, MixUp, Mosaic, RandomChoice
from .compiling import Compile, compile_model
from .data_preprocessor import BaseDataPreprocessor, build_data_preprocessor
from .efficient_conv_bn_eval import turn_on_efficient_conv_bn_eval
from .img_data_preprocessor import ImgDataPreprocessor
from .stack import stack_batch
from .weight_init import *  # noqa: F403
from .weight_init import __all__ as _initialisation

__all__ = [
    "BaseAveragedModel",
    "BaseDataPreprocessor",
    "BaseModel",
    "BaseModule",
    "Compile",
    "CutMix",
    "ExponentialMovingAverage",
    "ImgDataPreprocessor",
    "MixUp",
    "ModuleDict",
    "ModuleList",
    "MomentumAnnealingEMA",
    "Mosaic",
    "RandomChoice",
    "Sequential",
    "StochasticWeightAverage",
    "build_data_preprocessor",
    "compile_model",
    "stack_batch",
    "turn_on_activation_checkpointing",
    "turn_on_efficient_conv_bn_eval",
    *_initialisation,
]
