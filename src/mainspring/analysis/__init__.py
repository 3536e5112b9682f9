"""What is found out about a run before it: whether it works, how large it is, good settings, what its schedules do."""

from .batch_size import find_batch_size
from .check import check_config
from .complexity import get_model_complexity_info
from .counting import ActivationAnalyzer, FlopAnalyzer, activation_count, flop_count
from .lr_finder import LRSweep, lr_find
from .parameters import parameter_count, parameter_count_table
from .schedules import plot_schedule, schedule_values

__all__ = [
    "ActivationAnalyzer",
    "FlopAnalyzer",
    "LRSweep",
    "activation_count",
    "check_config",
    "find_batch_size",
    "flop_count",
    "get_model_complexity_info",
    "lr_find",
    "parameter_count",
    "parameter_count_table",
    "plot_schedule",
    "schedule_values",
]
