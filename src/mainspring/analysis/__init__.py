"""What is found out about a run before it: good settings, and what its schedules will do."""

from .batch_size import find_batch_size
from .lr_finder import LRSweep, lr_find
from .schedules import plot_schedule, schedule_values

__all__ = ["LRSweep", "find_batch_size", "lr_find", "plot_schedule", "schedule_values"]
