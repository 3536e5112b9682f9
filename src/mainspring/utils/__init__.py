"""Small helpers with no opinion. Those that need torch are imported when they are asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .describe import describe
from .files import atomic_write, display_path, explained, explaining
from .imports import require
from .kept_as_dict import KeptAsDict
from .local import require_local
from .lock import DirectoryInUse, DirectoryLock
from .manager import ManagerMixin
from .names import RegisteredName, did_you_mean, nearest
from .options import check_type, options_from

if TYPE_CHECKING:
    from .nested import apply_to, rebuilt_mapping, rebuilt_sequence, takes_non_blocking
    from .plain import from_plain, to_plain
    from .random import Stream, generator_states, mix, seed_generators, set_generator_states, step_seeder
    from .stacked import StackedList, StackedTuple, whole_of

__all__ = [
    "DirectoryInUse",
    "DirectoryLock",
    "KeptAsDict",
    "ManagerMixin",
    "RegisteredName",
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

_WITH_TORCH = {
    "nested": ("apply_to", "rebuilt_mapping", "rebuilt_sequence", "takes_non_blocking"),
    "plain": ("from_plain", "to_plain"),
    "random": ("Stream", "generator_states", "mix", "seed_generators", "set_generator_states", "step_seeder"),
    "stacked": ("StackedList", "StackedTuple", "whole_of"),
}
_HOME_OF = {name: home for home, names in _WITH_TORCH.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
