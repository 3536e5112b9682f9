"""Hooks: what happens around a run, apart from the run itself."""

from .bad_number_error import BadNumberError
from .bad_numbers_hook import BadNumbersHook
from .checkpoint_hook import CheckpointHook
from .early_stopping_hook import EarlyStoppingHook
from .ema_hook import EMAHook
from .hook import Hook, Priority, get_priority
from .hook_list import HookList, overrides
from .iter_timer_hook import IterTimerHook
from .logger_hook import LoggerHook
from .optimizer_modes_hook import OptimizerModesHook
from .param_scheduler_hook import ParamSchedulerHook
from .place_hook import PlaceHook
from .position_seed_hook import PositionSeedHook
from .progress_hook import ProgressHook
from .running_streams_hook import RunningStreamsHook
from .runtime_info_hook import RuntimeInfoHook
from .sampler_seed_hook import DistSamplerSeedHook
from .summary_hook import SummaryHook

__all__ = [
    "BadNumberError",
    "BadNumbersHook",
    "CheckpointHook",
    "DistSamplerSeedHook",
    "EMAHook",
    "EarlyStoppingHook",
    "Hook",
    "HookList",
    "IterTimerHook",
    "LoggerHook",
    "OptimizerModesHook",
    "ParamSchedulerHook",
    "PlaceHook",
    "PositionSeedHook",
    "Priority",
    "ProgressHook",
    "RunningStreamsHook",
    "RuntimeInfoHook",
    "SummaryHook",
    "get_priority",
    "overrides",
]
