"""Small helpers with no opinion."""

from .describe import describe
from .files import atomic_write, display_path, explained, explaining
from .imports import require
from .local import require_local
from .lock import DirectoryInUse, DirectoryLock
from .manager import ManagerMixin
from .names import did_you_mean, nearest
from .nested import apply_to, rebuilt_mapping, rebuilt_sequence, takes_non_blocking
from .options import check_type, options_from
from .plain import from_plain, to_plain
from .random import Stream, generator_states, mix, seed_generators, set_generator_states, step_seeder
from .stacked import StackedList, StackedTuple, whole_of

__all__ = [
    "DirectoryInUse",
    "DirectoryLock",
    "ManagerMixin",
    "StackedList",
    "StackedTuple",
    "Stream",
    "apply_to",
    "atomic_write",
    "check_type",
    "describe",
    "did_you_mean",
    "display_path",
    "explained",
    "explaining",
    "from_plain",
    "generator_states",
    "mix",
    "nearest",
    "options_from",
    "rebuilt_mapping",
    "rebuilt_sequence",
    "require",
    "require_local",
    "seed_generators",
    "set_generator_states",
    "step_seeder",
    "takes_non_blocking",
    "to_plain",
    "whole_of",
]
