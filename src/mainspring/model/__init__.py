"""Models: the contract with the engine, initialisation, and what brings a batch into a model's form."""

from typing import TYPE_CHECKING

from ..utils import lazy_names
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
from .parallel import Route, UnusedParametersError, check_model_wrapper, wrap_model
from .stack import stack_batch
from .test_time_aug import BaseTTAModel
from .weight_init import *  # noqa: F403
from .weight_init import __all__ as _initialisation

if TYPE_CHECKING:
    from .utils import convert_sync_batchnorm, detect_anomalous_params, merge_dict, revert_sync_batchnorm
    from .wrappers import is_model_wrapper
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "utils": ["convert_sync_batchnorm", "detect_anomalous_params", "merge_dict", "revert_sync_batchnorm"],
            "wrappers": ["is_model_wrapper"],
        },
    )

__all__ = [
    "BaseAveragedModel",
    "BaseDataPreprocessor",
    "BaseModel",
    "BaseModule",
    "BaseTTAModel",
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
    "Route",
    "Sequential",
    "StochasticWeightAverage",
    "UnusedParametersError",
    "build_data_preprocessor",
    "check_model_wrapper",
    "compile_model",
    "convert_sync_batchnorm",
    "detect_anomalous_params",
    "is_model_wrapper",
    "merge_dict",
    "revert_sync_batchnorm",
    "stack_batch",
    "turn_on_activation_checkpointing",
    "turn_on_efficient_conv_bn_eval",
    "wrap_model",
    *_initialisation,
]
