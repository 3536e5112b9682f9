"""Writing checkpoints: whole under their name, or not there."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch

from ..utils import atomic_write, to_plain

__all__ = ["save_checkpoint", "weights_to_cpu"]


def save_checkpoint(checkpoint: Mapping[str, Any], filename: str | os.PathLike[str]) -> None:
    """Write a checkpoint, complete and on the disk before it appears under its name.

    Args:
        checkpoint: Tensors and plain containers (see :func:`~mainspring.checkpoint.to_plain`).
        filename: A local path; missing directories are made.

    Raises:
        TypeError: Something in it is no plain value; the message says where it stands.
        OSError: The file cannot be written; whatever stood under ``filename`` before is untouched.
    """
    plain = to_plain(checkpoint)
    with atomic_write(filename) as file:
        torch.save(plain, file)


def weights_to_cpu(state_dict: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """Return a model's state dict with every tensor on the CPU, its metadata kept.

    Tied weights and views of one storage stay so: each storage is copied once. What is no tensor, as a module's
    ``get_extra_state`` may return, is handed on as it is.
    """
    copies: dict[tuple[torch.device, int], torch.UntypedStorage] = {}
    moved = OrderedDict(
        (key, _to_cpu(value, copies) if isinstance(value, torch.Tensor) else value) for key, value in state_dict.items()
    )
    moved._metadata = getattr(state_dict, "_metadata", OrderedDict())  # type: ignore[attr-defined]
    return moved


def _to_cpu(tensor: torch.Tensor, copies: dict[tuple[torch.device, int], torch.UntypedStorage]) -> torch.Tensor:
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout is torch.strided
    if tensor.device.type == "cpu" or not plain or tensor.is_quantized or tensor.is_conj() or tensor.is_neg():
        return tensor.cpu()
    storage = tensor.untyped_storage()
    place = (tensor.device, storage.data_ptr())
    if place not in copies:
        copies[place] = storage.cpu()  # type: ignore[no-untyped-call]
    empty = torch.empty(0, dtype=tensor.dtype)
    return empty.set_(copies[place], tensor.storage_offset(), tensor.shape, tensor.stride())
