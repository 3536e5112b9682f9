"""Hooks: what happens around a run, apart from the run itself."""

from .checkpoint_hook import CheckpointHook
from .hook import Hook, Priority, get_priority
from .hook_list import HookList
from .iter_timer_hook import IterTimerHook
from .logger_hook import LoggerHook
from .param_scheduler_hook import ParamSchedulerHook
from .position_seed_hook import PositionSeedHook
from .progress_hook import ProgressHook
from .runtime_info_hook import RuntimeInfoHook
from .sampler_seed_hook import DistSamplerSeedHook
from .summary_hook import SummaryHook

__all__ = [
    "CheckpointHook",
    "DistSamplerSeedHook",
    "Hook",
    "HookList",
    "IterTimerHook",
    "LoggerHook",
    "ParamSchedulerHook",
    "PositionSeedHook",
    "Priority",
    "ProgressHook",
    "RuntimeInfoHook",
    "SummaryHook",
    "get_priority",
]
