"""Small helpers with no opinion. Those that need torch, or that few ask for, are imported when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .describe import describe
from .files import atomic_write, display_path, explained, explaining
from .imports import require
from .kept_as_dict import KeptAsDict
from .lazy import lazy_names
from .local import require_local
from .lock import DirectoryInUse, DirectoryLock
from .manager import ManagerMeta, ManagerMixin
from .names import RegisteredName, did_you_mean, nearest
from .options import check_annotated, check_count, check_type, options_from

if TYPE_CHECKING:
    from .deprecation import deprecated_api_warning, deprecated_function, has_method, is_method_overridden
    from .environment import collect_env
    from .nested import apply_to, rebuilt_mapping, rebuilt_sequence, takes_non_blocking
    from .packages import (
        call_command,
        check_prerequisites,
        get_installed_path,
        get_object_from_string,
        import_modules_from_strings,
        install_package,
        is_installed,
        requires_executable,
        requires_package,
    )
    from .places import check_file_exist, fopen, is_abs, is_filepath, mkdir_or_exist, scandir, symlink
    from .plain import from_plain, to_plain
    from .progress import ProgressBar, track_iter_progress, track_parallel_progress, track_progress, track_progress_rich
    from .random import Stream, generator_states, mix, seed_generators, set_generator_states, step_seeder
    from .sequences import (
        concat_list,
        is_list_of,
        is_seq_of,
        is_str,
        is_tuple_of,
        iter_cast,
        list_cast,
        slice_list,
        to_1tuple,
        to_2tuple,
        to_3tuple,
        to_4tuple,
        to_ntuple,
        tuple_cast,
    )
    from .stacked import StackedList, StackedTuple, whole_of
    from .timer import Timer, TimerError, check_time
    from .versions import digit_version, get_git_hash
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "deprecation": ["deprecated_api_warning", "deprecated_function", "has_method", "is_method_overridden"],
            "environment": ["collect_env"],
            "nested": ["apply_to", "rebuilt_mapping", "rebuilt_sequence", "takes_non_blocking"],
            "packages": [
                "call_command",
                "check_prerequisites",
                "get_installed_path",
                "get_object_from_string",
                "import_modules_from_strings",
                "install_package",
                "is_installed",
                "requires_executable",
                "requires_package",
            ],
            "places": ["check_file_exist", "fopen", "is_abs", "is_filepath", "mkdir_or_exist", "scandir", "symlink"],
            "plain": ["from_plain", "to_plain"],
            "progress": [
                "ProgressBar",
                "track_iter_progress",
                "track_parallel_progress",
                "track_progress",
                "track_progress_rich",
            ],
            "random": ["Stream", "generator_states", "mix", "seed_generators", "set_generator_states", "step_seeder"],
            "sequences": [
                "concat_list",
                "is_list_of",
                "is_seq_of",
                "is_str",
                "is_tuple_of",
                "iter_cast",
                "list_cast",
                "slice_list",
                "to_1tuple",
                "to_2tuple",
                "to_3tuple",
                "to_4tuple",
                "to_ntuple",
                "tuple_cast",
            ],
            "stacked": ["StackedList", "StackedTuple", "whole_of"],
            "timer": ["Timer", "TimerError", "check_time"],
            "versions": ["digit_version", "get_git_hash"],
        },
    )

__all__ = [
    "DirectoryInUse",
    "DirectoryLock",
    "KeptAsDict",
    "ManagerMeta",
    "ManagerMixin",
    "ProgressBar",
    "RegisteredName",
    "StackedList",
    "StackedTuple",
    "Stream",
    "Timer",
    "TimerError",
    "apply_to",
    "atomic_write",
    "call_command",
    "check_annotated",
    "check_count",
    "check_file_exist",
    "check_prerequisites",
    "check_time",
    "check_type",
    "collect_env",
    "concat_list",
    "deprecated_api_warning",
    "deprecated_function",
    "describe",
    "did_you_mean",
    "digit_version",
    "display_path",
    "explained",
    "explaining",
    "fopen",
    "from_plain",
    "generator_states",
    "get_git_hash",
    "get_installed_path",
    "get_object_from_string",
    "has_method",
    "import_modules_from_strings",
    "install_package",
    "is_abs",
    "is_filepath",
    "is_installed",
    "is_list_of",
    "is_method_overridden",
    "is_seq_of",
    "is_str",
    "is_tuple_of",
    "iter_cast",
    "lazy_names",
    "list_cast",
    "mix",
    "mkdir_or_exist",
    "nearest",
    "options_from",
    "rebuilt_mapping",
    "rebuilt_sequence",
    "require",
    "require_local",
    "requires_executable",
    "requires_package",
    "scandir",
    "seed_generators",
    "set_generator_states",
    "slice_list",
    "step_seeder",
    "symlink",
    "takes_non_blocking",
    "to_1tuple",
    "to_2tuple",
    "to_3tuple",
    "to_4tuple",
    "to_ntuple",
    "to_plain",
    "track_iter_progress",
    "track_parallel_progress",
    "track_progress",
    "track_progress_rich",
    "tuple_cast",
    "whole_of",
]
