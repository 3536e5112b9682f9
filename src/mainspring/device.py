"""The only place that chooses a device."""

from __future__ import annotations

import torch

__all__ = ["get_device", "max_memory_allocated"]


def get_device() -> torch.device:
    """Return the accelerator of this machine (CUDA, MPS, XPU, ...), or the CPU where there is none."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if accelerator is None else accelerator


def max_memory_allocated(device: torch.device) -> int | None:
    """Return the peak of memory allocated on ``device`` in MiB, or None where torch does not count it."""
    if device.type in ("cpu", "meta"):
        return None
    peak = getattr(torch.get_device_module(device), "max_memory_allocated", None)
    return None if peak is None else int(peak(device)) >> 20
