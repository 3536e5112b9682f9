"""What this library has in place of things that MMEngine has."""

from __future__ import annotations

__all__ = ["REPLACED"]

_STORE = "Any store that fsspec knows is read by its URL"
_FILES = {
    "PetrelBackend": f"{_STORE}: write backend_args=dict(backend='s3', endpoint_url=..., key=..., secret=...)",
    "MemcachedBackend": f"{_STORE}; what is cached by the machine's own memory needs none",
    "LmdbBackend": "Read the database with the lmdb package in the data set, or unpack it into files",
}
_WRAPPED = (
    "A runner's model is the model itself, however many processes train it, and its state_dict has no 'module.' in its"
    " names: leave out what unwraps it, or ask mainspring.model.is_model_wrapper(model)"
)
_COLLECTIONS = (
    "Models of a collection are not downloaded by name: pass the path or the https:// URL of a file to"
    " load_checkpoint, or register what loads such names with CheckpointLoader.register_scheme"
)

REPLACED: dict[str, dict[str, str]] = {
    "mainspring": _FILES,
    "mainspring.fileio": _FILES,
    "mainspring.hooks": {"NPUProfilerHook": "ProfilerHook profiles every device that torch's profiler knows"},
    "mainspring.model": {
        "MMDistributedDataParallel": _WRAPPED,
        "MMFullyShardedDataParallel": _WRAPPED,
        "MMSeparateDistributedDataParallel": _WRAPPED,
    },
    "mainspring.optim": {"ApexOptimWrapper": "AmpOptimWrapper does it with torch's own mixed precision"},
    "mainspring.runner": {
        "FlexibleRunner": "Runner is the one runner, for every way of training",
        "get_deprecated_model_names": _COLLECTIONS,
        "get_external_models": _COLLECTIONS,
        "get_mmcls_models": _COLLECTIONS,
        "get_torchvision_models": _COLLECTIONS,
    },
    "mainspring.testing": {
        "RunnerTestCase": (
            "Make a Runner in a pytest fixture, with work_dir=tmp_path; what is global in a process it resets itself"
        ),
    },
}
"""For each package the names, and a sentence for each, without its full stop."""
