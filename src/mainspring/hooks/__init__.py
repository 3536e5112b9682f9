"""Hooks: what happens around a run, apart from the run itself."""

from typing import TYPE_CHECKING

from ..utils import lazy_names
from .bad_number_error import BadNumberError
from .bad_numbers_hook import BadNumbersHook
from .checkpoint_hook import CheckpointHook
from .early_stopping_hook import EarlyStoppingHook
from .ema_hook import EMAHook
from .empty_cache_hook import EmptyCacheHook
from .hook import Hook, Priority, get_priority
from .hook_list import HookList, overrides
from .iter_timer_hook import IterTimerHook
from .logger_hook import LoggerHook
from .naive_visualization_hook import NaiveVisualizationHook
from .optimizer_modes_hook import OptimizerModesHook
from .param_scheduler_hook import ParamSchedulerHook
from .place_hook import PlaceHook
from .position_seed_hook import PositionSeedHook
from .prepare_tta_hook import PrepareTTAHook, build_runner_with_tta
from .profiler_hook import ProfilerHook
from .progress_hook import ProgressHook
from .running_streams_hook import RunningStreamsHook
from .runtime_info_hook import RuntimeInfoHook
from .sampler_seed_hook import DistSamplerSeedHook
from .sanity_hook import SanityHook
from .summary_hook import SummaryHook
from .sync_buffers_hook import SyncBuffersHook

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__)

__all__ = [
    "BadNumberError",
    "BadNumbersHook",
    "CheckpointHook",
    "DistSamplerSeedHook",
    "EMAHook",
    "EarlyStoppingHook",
    "EmptyCacheHook",
    "Hook",
    "HookList",
    "IterTimerHook",
    "LoggerHook",
    "NaiveVisualizationHook",
    "OptimizerModesHook",
    "ParamSchedulerHook",
    "PlaceHook",
    "PositionSeedHook",
    "PrepareTTAHook",
    "Priority",
    "ProfilerHook",
    "ProgressHook",
    "RunningStreamsHook",
    "RuntimeInfoHook",
    "SanityHook",
    "SummaryHook",
    "SyncBuffersHook",
    "build_runner_with_tta",
    "get_priority",
    "overrides",
]
