"""The runner, its loops, and how log lines are made."""

from .base_loop import BaseLoop, BaseTrainLoop
from .environment import Environment
from .log_processor import LogProcessor
from .loops import EpochBasedTrainLoop, IterBasedTrainLoop, TestLoop, ValLoop
from .runner import Runner

__all__ = [
    "BaseLoop",
    "BaseTrainLoop",
    "Environment",
    "EpochBasedTrainLoop",
    "IterBasedTrainLoop",
    "LogProcessor",
    "Runner",
    "TestLoop",
    "ValLoop",
]
