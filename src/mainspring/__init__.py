"""A training engine for PyTorch: write the model's ``forward``, mainspring does the rest."""

import gc
import importlib
from typing import Any

from ._version import __version__

# Where each name lives. Nothing is imported before it is asked for (PEP 562); __init__.pyi tells type checkers.
_HOMES = {
    "checkpoint": ("load_checkpoint", "save_checkpoint"),
    "config": ("Config", "ConfigDict", "DictAction", "read_base"),
    "dataset": (
        "BaseDataset",
        "ClassBalancedDataset",
        "Compose",
        "ConcatDataset",
        "DefaultSampler",
        "InfiniteSampler",
        "RepeatDataset",
        "default_collate",
        "force_full_init",
        "pseudo_collate",
    ),
    "evaluator": ("Accuracy", "BaseMetric", "Evaluator", "StreamingMetric", "TorchMetric"),
    "fileio": (
        "BaseFileHandler",
        "BaseStorageBackend",
        "HTTPBackend",
        "JsonHandler",
        "LocalBackend",
        "PickleHandler",
        "YamlHandler",
        "copy_if_symlink_fails",
        "copyfile",
        "copyfile_from_local",
        "copyfile_to_local",
        "copytree",
        "copytree_from_local",
        "copytree_to_local",
        "dict_from_file",
        "dump",
        "exists",
        "generate_presigned_url",
        "get",
        "get_file_backend",
        "get_local_path",
        "get_text",
        "isdir",
        "isfile",
        "join_path",
        "list_dir_or_file",
        "list_from_file",
        "load",
        "put",
        "put_text",
        "register_backend",
        "register_handler",
        "remove",
        "rmtree",
    ),
    "hooks": ("Hook",),
    "infer": ("BaseInferencer", "export_model", "load_model"),
    "logging": ("MMLogger", "MessageHub", "print_log"),
    "model": (
        "BaseDataPreprocessor",
        "BaseModel",
        "BaseModule",
        "CutMix",
        "ImgDataPreprocessor",
        "MixUp",
        "Mosaic",
        "RandomChoice",
    ),
    "optim": ("AmpOptimWrapper", "OptimWrapper", "OptimWrapperDict"),
    "registry": ("DATASETS", "HOOKS", "LOOPS", "METRICS", "MODELS", "Registry"),
    "runner": ("EpochBasedTrainLoop", "IterBasedTrainLoop", "LogProcessor", "Runner", "TestLoop", "ValLoop"),
    "structures": ("BaseDataElement", "InstanceData", "LabelData", "PixelData"),
    "visualization": ("Visualizer",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        if name.startswith("_"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module(f"{__name__}.compat").look_up(__name__, name)
    # Modules make thousands of objects, none of them garbage: a collection would look at all of torch's for nothing.
    collects = gc.isenabled()
    gc.disable()
    try:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    finally:
        if collects:
            gc.enable()
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOME_OF]
