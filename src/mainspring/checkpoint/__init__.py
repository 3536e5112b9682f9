"""Reading and writing checkpoints."""

from ..utils import to_plain
from .errors import CheckpointError
from .folder import CheckpointFile, CheckpointFolder
from .latest import NewestWhole, find_latest_checkpoint, newest_whole, run_checkpoints
from .loading import load_checkpoint, load_state_dict, load_weights
from .reading import CheckpointLoader, read_checkpoint
from .verifying import verify_checkpoint
from .weights_digest import weights_digest
from .writer import CheckpointWriteError, CheckpointWriter
from .writing import save_checkpoint, weights_to_cpu, write_plain

__all__ = [
    "CheckpointError",
    "CheckpointFile",
    "CheckpointFolder",
    "CheckpointLoader",
    "CheckpointWriteError",
    "CheckpointWriter",
    "NewestWhole",
    "find_latest_checkpoint",
    "load_checkpoint",
    "load_state_dict",
    "load_weights",
    "newest_whole",
    "read_checkpoint",
    "run_checkpoints",
    "save_checkpoint",
    "to_plain",
    "verify_checkpoint",
    "weights_digest",
    "weights_to_cpu",
    "write_plain",
]
