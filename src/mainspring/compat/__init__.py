"""Names that only code written for MMEngine asks for. The rest of the library never imports them.

Where a package of this library lacks a name, its ``__getattr__`` asks :func:`look_up`. What MMEngine has there is then
handed on from here or from its home in this library; or an ``ImportError`` names the replacement.
"""

from __future__ import annotations

import importlib
from typing import Any

from .replaced import REPLACED

__all__ = ["look_up"]

# For each package: the homes of the names that it does not have itself.
_HANDED_ON: dict[str, dict[str, tuple[str, ...]]] = {
    "mainspring": {
        "mainspring.compat.counting": ("count_registered_modules", "traverse_registry_tree"),
        "mainspring.compat.files": ("FileClient", "HardDiskBackend"),
        "mainspring.compat.registries": ("STRATEGIES",),
        "mainspring.compat.version": ("version_info",),
        "mainspring.logging": ("HistoryBuffer",),
        "mainspring.registry": (
            *("DATA_SAMPLERS", "EVALUATOR", "FUNCTIONS", "INFERENCERS", "LOG_PROCESSORS", "MODEL_WRAPPERS"),
            *("OPTIMIZERS", "OPTIM_WRAPPERS", "OPTIM_WRAPPER_CONSTRUCTORS", "PARAM_SCHEDULERS", "RUNNERS"),
            *("RUNNER_CONSTRUCTORS", "TASK_UTILS", "TRANSFORMS", "VISBACKENDS", "VISUALIZERS", "WEIGHT_INITIALIZERS"),
            *("DefaultScope", "build_from_cfg", "build_model_from_cfg", "build_runner_from_cfg"),
            *("build_scheduler_from_cfg", "init_default_scope"),
        ),
        "mainspring.utils": (
            *("ManagerMeta", "ManagerMixin", "ProgressBar", "Timer", "TimerError", "apply_to", "call_command"),
            *("check_file_exist", "check_prerequisites", "check_time", "concat_list", "deprecated_api_warning"),
            *("deprecated_function", "digit_version", "fopen", "get_git_hash", "get_installed_path"),
            *("get_object_from_string", "has_method", "import_modules_from_strings", "install_package", "is_abs"),
            *("is_filepath", "is_installed", "is_list_of", "is_method_overridden", "is_seq_of", "is_str"),
            *("is_tuple_of", "iter_cast", "list_cast", "mkdir_or_exist", "requires_executable", "requires_package"),
            *("scandir", "slice_list", "symlink", "to_1tuple", "to_2tuple", "to_3tuple", "to_4tuple", "to_ntuple"),
            *("track_iter_progress", "track_parallel_progress", "track_progress", "track_progress_rich"),
            *("tuple_cast",),
        ),
    },
    "mainspring.dataset": {"mainspring.compat.registries": ("COLLATE_FUNCTIONS",)},
    "mainspring.device": {
        "mainspring.compat.devices": (
            *("get_max_cuda_memory", "get_max_musa_memory", "is_cuda_available", "is_dipu_available"),
            *("is_mlu_available", "is_mps_available", "is_musa_available", "is_npu_available"),
            *("is_npu_support_full_precision",),
        ),
    },
    "mainspring.fileio": {"mainspring.compat.files": ("FileClient", "HardDiskBackend")},
    "mainspring.optim": {"mainspring.compat.optim": ("BaseOptimWrapper", "ZeroRedundancyOptimizer")},
    "mainspring.registry": {
        "mainspring.compat.counting": ("count_registered_modules", "traverse_registry_tree"),
        "mainspring.compat.registries": ("STRATEGIES",),
    },
    "mainspring.runner": {"mainspring.compat.running": ("autocast", "get_state_dict", "set_random_seed")},
    "mainspring.utils.dl_utils": {
        "mainspring.utils.environment": ("collect_env",),
        "mainspring.compat.layers": ("has_batch_norm", "is_norm", "mmcv_full_available"),
        "mainspring.compat.processes": ("set_multi_processing",),
        "mainspring.compat.tensors": (
            *("TORCH_VERSION", "is_jit_tracing", "load_url", "tensor2imgs", "torch_meshgrid"),
        ),
        "mainspring.compat.time_counter": ("TimeCounter",),
    },
}
_PACKAGES = (
    *("config", "dataset", "device", "dist", "evaluator", "fileio", "hooks", "logging", "model", "optim", "registry"),
    *("runner", "structures", "utils", "visualization"),
)
"""What ``import mmengine`` brings along, or other imports of it do."""


def look_up(package: str, name: str) -> Any:
    """Return what MMEngine has under a name in a package, where that package does not have it itself.

    Args:
        package: A package of this library, by its dotted name.
        name: The name.

    Raises:
        ImportError: This library has no such thing, but something in its place; the message says what.
        AttributeError: MMEngine has no such thing there either.

    >>> look_up("mainspring.fileio", "PetrelBackend")
    Traceback (most recent call last):
    ...
    ImportError: mainspring.fileio has no PetrelBackend. Any store that fsspec knows is read by its URL: write \
backend_args=dict(backend='s3', endpoint_url=..., key=..., secret=...).
    """
    for home, names in _HANDED_ON.get(package, {}).items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    if package == "mainspring" and name in _PACKAGES:
        return importlib.import_module(f"mainspring.{name}")
    replacement = REPLACED.get(package, {}).get(name)
    if replacement is not None:
        raise ImportError(f"{package} has no {name}. {replacement}.", name=f"{package}.{name}")
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
