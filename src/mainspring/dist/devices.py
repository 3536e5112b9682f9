"""Where data lies, and where it must lie to be sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from ..device import default_device
from ..utils import rebuilt_mapping, rebuilt_sequence
from .processes import backends_by_device, is_distributed

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ["cast_data_device", "get_comm_device", "get_data_device", "sendable"]

_ON_HOST = ("gloo", "mpi")


def get_comm_device(group: ProcessGroup | None = None) -> torch.device:
    """Return the device that a group communicates on: the accelerator if its backend serves it, or the CPU.

    >>> get_comm_device()
    device(type='cpu')
    """
    accelerator = default_device()
    if accelerator.type == "cpu" or not is_distributed():
        return torch.device("cpu")
    if backends_by_device(group).get(accelerator.type, "gloo") in _ON_HOST:
        return torch.device("cpu")
    return torch.device(accelerator.type, torch.accelerator.current_device_index())


def sendable(data: torch.Tensor, group: ProcessGroup | None = None) -> torch.Tensor:
    """Return ``data`` as a backend takes it: contiguous, on a device that it serves; itself if it is so."""
    kind = data.device.type
    backend = backends_by_device(group).get(kind)
    served = backend is not None and (kind == "cpu" or backend not in _ON_HOST)
    # The backends want contiguous memory, and gloo reads a strided tensor wrongly instead of refusing it.
    return data.to(data.device if served else get_comm_device(group)).contiguous()


def get_data_device(data: torch.Tensor | Mapping[Any, Any] | Iterable[Any]) -> torch.device:
    """Return the one device on which a tensor, or every tensor of a nested container, lies.

    Raises:
        ValueError: The container is empty, or its tensors lie on several devices.
        TypeError: It holds something else than tensors.

    >>> get_data_device({"loss": torch.zeros(1), "parts": [torch.zeros(2)]})
    device(type='cpu')
    """
    devices = {tensor.device: None for tensor in _tensors(data)}
    if len(devices) > 1:
        raise ValueError(
            f"The tensors must lie on one device, but they lie on {', '.join(map(str, devices))}. "
            "cast_data_device(data, device) moves them together."
        )
    return next(iter(devices))


def cast_data_device(data: Any, device: torch.device | str, out: Any = None) -> Any:
    """Move a tensor, or every tensor of a nested container, to a device.

    Args:
        data: A tensor, or mappings and iterables of tensors, however deep.
        device: Where to.
        out: Of the same structure as ``data``: the tensors are written into those of ``out``, in place.

    Returns:
        ``out`` where it is given; otherwise a container of the same type, whose tensors are those of ``data``
        where they lie on the device already.

    Raises:
        ValueError: A container is empty, or ``out`` has other keys or another length.
        TypeError: ``data`` holds something else than tensors, or ``out`` is of another type.
    """
    if isinstance(data, torch.Tensor):
        if out is None:
            return data.to(device)
        _check_out(isinstance(out, torch.Tensor), data, out)
        out.copy_(data.to(device))
        return out
    if isinstance(data, Mapping):
        _check_content(data)
        if out is None:
            return rebuilt_mapping(data, {key: cast_data_device(value, device) for key, value in data.items()})
        _check_out(isinstance(out, Mapping), data, out)
        if data.keys() != out.keys():
            raise ValueError(f"out must have the keys of data, {list(data)}, but it has {list(out)}.")
        for key, value in data.items():
            cast_data_device(value, device, out[key])
        return out
    items = list(_elements(data))
    _check_content(items)
    if out is None:
        moved = [cast_data_device(item, device) for item in items]
        return rebuilt_sequence(data, moved) if isinstance(data, (list, tuple)) else moved
    _check_out(isinstance(out, (list, tuple)), data, out)
    if len(items) != len(out):
        raise ValueError(f"out must have the length of data, {len(items)}, but it has {len(out)}.")
    for item, target in zip(items, out, strict=True):
        cast_data_device(item, device, target)
    return out


def _tensors(data: Any) -> Iterator[torch.Tensor]:
    if isinstance(data, torch.Tensor):
        yield data
        return
    items = list(data.values() if isinstance(data, Mapping) else _elements(data))
    _check_content(items)
    for item in items:
        yield from _tensors(item)


def _elements(data: Any) -> Iterable[Any]:
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        return data
    raise TypeError(f"Expected a tensor, or a dict, list or tuple of tensors, but found a {type(data).__name__}.")


def _check_content(items: Mapping[Any, Any] | list[Any]) -> None:
    if not items:
        raise ValueError("Expected a tensor, or a dict, list or tuple of tensors, but a container is empty.")


def _check_out(fits: bool, data: Any, out: Any) -> None:
    if not fits:
        raise TypeError(
            f"out must have the structure of data, but where data has a {type(data).__name__}, "
            f"out has a {type(out).__name__}."
        )
