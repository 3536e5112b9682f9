"""Reading and writing checkpoints."""

from ..utils import to_plain
from .reading import (
    CheckpointError,
    find_latest_checkpoint,
    load_checkpoint,
    load_state_dict,
    load_weights,
    read_checkpoint,
)
from .writing import save_checkpoint, weights_to_cpu

__all__ = [
    "CheckpointError",
    "find_latest_checkpoint",
    "load_checkpoint",
    "load_state_dict",
    "load_weights",
    "read_checkpoint",
    "save_checkpoint",
    "to_plain",
    "weights_to_cpu",
]
