"""The only place that chooses a device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch

from .utils import lazy_names

__all__ = [
    "autocast",
    "copied",
    "default_device",
    "get_device",
    "make_current",
    "max_memory_allocated",
    "may_run_ahead",
    "number_at_hand",
    "usable_device",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__)

_WITH_STREAMS = ("cuda", "xpu")
_copy_streams: dict[torch.device, torch.Stream] = {}


def get_device() -> str:
    """Return the type of this machine's accelerator (``'cuda'``, ``'mps'``, ``'xpu'``, ...), or ``'cpu'``."""
    return default_device().type


def default_device() -> torch.device:
    """Return the accelerator of this machine, or the CPU where there is none."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if accelerator is None else accelerator


def usable_device(name: str, path: str) -> torch.device:
    """Return the device that a user names.

    Args:
        name: Such as ``'cpu'`` or ``'cuda:1'``.
        path: Where the user wrote it; begins the message.

    Raises:
        ValueError: There is no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except Exception as error:  # of any kind: AssertionError where torch is built without CUDA
        raise ValueError(
            f"{path} is {name!r}, which cannot be used here: {error}. Without it, it would be"
            f" {str(default_device())!r}."
        ) from error
    return device


def make_current(device: torch.device) -> None:
    """Make an accelerator that is named with its index, such as ``cuda:1``, the one that torch takes by default."""
    if device.index is not None and device.type == get_device() != "cpu":
        torch.accelerator.set_device_index(device.index)


def may_run_ahead(device: torch.device) -> bool:
    """Whether the host may go on while data travel to a device: not if that is the CPU, which would read too early."""
    return device.type != "cpu"


def copied(tensor: torch.Tensor, device: torch.device, run_ahead: bool = True) -> torch.Tensor:
    """Return a tensor on a device; from pinned memory it travels beside what the device computes.

    Such a copy has a stream of its own. What is computed afterwards waits for it, and the host does not. So the copies
    of a batch overlap with the step before it, which the device is still busy with.

    Args:
        tensor: On the CPU, or anywhere.
        device: Where it goes.
        run_ahead: Whether the host may go on; only from pinned memory it really does.
    """
    ahead = run_ahead and may_run_ahead(device)
    if not ahead or not tensor.is_cpu or device.type not in _WITH_STREAMS or not tensor.is_pinned():
        return tensor.to(device, non_blocking=ahead)
    beside = _copy_streams.get(device)
    if beside is None:
        beside = _copy_streams[device] = torch.Stream(device)
    with beside:
        arriving = tensor.to(device, non_blocking=True)
    computing = torch.accelerator.current_stream(device)
    computing.wait_stream(beside)
    arriving.record_stream(computing)  # its memory belongs to the other stream, which must not use it again too early
    return arriving


def number_at_hand(scalar: torch.Tensor) -> float | None:
    """Return the value of a tensor without dimensions on the CPU, where reading waits for nothing; of others None.

    There, to keep the number takes a third of the time that it takes to keep the tensor.
    """
    if not scalar.is_cpu or scalar.dim() != 0:
        return None
    return cast(float, scalar.tolist())  # item() would warn of the gradient


def autocast(device: torch.device, enabled: bool, dtype: torch.dtype | None = None) -> AbstractContextManager[Any]:
    """Return the context in which torch chooses the precision on ``device``, or, unless enabled, one without effect.

    Args:
        device: Where it is computed.
        enabled: Whether torch chooses.
        dtype: The lower of the two precisions; by default torch's own choice, float16 on CUDA and bfloat16 on the CPU.
    """
    # torch's own, even if it is not enabled, refuses devices that know no mixed precision.
    return torch.autocast(device.type, dtype=dtype) if enabled else nullcontext()


def max_memory_allocated(device: torch.device) -> int | None:
    """Return the peak of memory allocated on ``device`` in MiB, or None where torch does not count it."""
    if device.type in ("cpu", "meta"):
        return None
    peak = getattr(torch.get_device_module(device), "max_memory_allocated", None)
    return None if peak is None else int(peak(device)) >> 20
