"""Small helpers with no opinion."""

from .files import atomic_write, display_path
from .imports import require
from .manager import ManagerMixin
from .names import did_you_mean, nearest
from .nested import apply_to
from .options import check_type, options_from
from .plain import to_plain
from .random import Stream, mix, seed_generators, step_seeder

__all__ = [
    "ManagerMixin",
    "Stream",
    "apply_to",
    "atomic_write",
    "check_type",
    "did_you_mean",
    "display_path",
    "mix",
    "nearest",
    "options_from",
    "require",
    "seed_generators",
    "step_seeder",
    "to_plain",
]
