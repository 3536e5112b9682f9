"""The runner, its loops, and how log lines are made."""

from typing import TYPE_CHECKING

from ..checkpoint import (
    CheckpointLoader,
    find_latest_checkpoint,
    load_checkpoint,
    load_state_dict,
    save_checkpoint,
    weights_to_cpu,
)
from ..hooks import Priority, get_priority
from ..model import turn_on_activation_checkpointing
from ..utils import lazy_names
from .base_loop import BaseLoop, BaseTrainLoop
from .environment import Environment
from .log_processor import LogProcessor
from .loops import EpochBasedTrainLoop, IterBasedTrainLoop, TestLoop, ValLoop
from .runner import Runner

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__)

__all__ = [
    "BaseLoop",
    "BaseTrainLoop",
    "CheckpointLoader",
    "Environment",
    "EpochBasedTrainLoop",
    "IterBasedTrainLoop",
    "LogProcessor",
    "Priority",
    "Runner",
    "TestLoop",
    "ValLoop",
    "find_latest_checkpoint",
    "get_priority",
    "load_checkpoint",
    "load_state_dict",
    "save_checkpoint",
    "turn_on_activation_checkpointing",
    "weights_to_cpu",
]
