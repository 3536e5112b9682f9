"""The runner, its loops, and how log lines are made."""

from .environment import Environment
from .log_processor import LogProcessor
from .loops import BaseLoop, BaseTrainLoop, EpochBasedTrainLoop, IterBasedTrainLoop, TestLoop, ValLoop
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
