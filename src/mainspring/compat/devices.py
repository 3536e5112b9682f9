"""Questions about single kinds of devices; ``torch.accelerator`` answers them for all."""

from __future__ import annotations

import torch

__all__ = [
    "get_max_cuda_memory",
    "get_max_musa_memory",
    "is_cuda_available",
    "is_dipu_available",
    "is_mlu_available",
    "is_mps_available",
    "is_musa_available",
    "is_npu_available",
    "is_npu_support_full_precision",
]


def is_cuda_available() -> bool:
    """Whether there is a device of CUDA or ROCm."""
    return torch.cuda.is_available()


def is_mps_available() -> bool:
    """Whether there is a device of Apple's Metal."""
    return torch.backends.mps.is_available()


def is_npu_available() -> bool:
    """Whether there is a device of Ascend, and its package, torch_npu, is imported."""
    return _is_available("npu")


def is_mlu_available() -> bool:
    """Whether there is a device of Cambricon, and its package, torch_mlu, is imported."""
    return _is_available("mlu")


def is_musa_available() -> bool:
    """Whether there is a device of Moore Threads, and its package, torch_musa, is imported."""
    return _is_available("musa")


def is_dipu_available() -> bool:
    """Whether there is a device of DIPU, and its package, torch_dipu, is imported."""
    return _is_available("dipu")


def is_npu_support_full_precision() -> bool:
    """Whether a device of Ascend computes in float32; where there is none it is False.

    Those since the Ascend 910B do, of which torch_npu numbers the generation with 220 and more.
    """
    if not is_npu_available():
        return False
    return bool(torch.npu.utils.get_soc_version() >= 220)  # type: ignore[attr-defined]


def get_max_cuda_memory(device: torch.device | None = None) -> int:
    """Return the peak of memory allocated on a CUDA device in MiB, and begin to count anew; 0 where there is none.

    Args:
        device: The device; by default the current one.
    """
    if not torch.cuda.is_available():
        return 0
    peak = torch.cuda.max_memory_allocated(device) >> 20
    torch.cuda.reset_peak_memory_stats(device)
    return int(peak)


def get_max_musa_memory(device: torch.device | None = None) -> int:
    """Return the same for a device of Moore Threads."""
    if not is_musa_available():
        return 0
    peak = torch.musa.max_memory_allocated(device) >> 20  # type: ignore[attr-defined]
    torch.musa.reset_peak_memory_stats(device)  # type: ignore[attr-defined]
    return int(peak)


def _is_available(kind: str) -> bool:
    # The package of such a device adds its module to torch when it is imported.
    module = getattr(torch, kind, None)
    return module is not None and bool(module.is_available())
