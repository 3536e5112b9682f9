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


def weights_to_cpu(state_dict: Mapping[str, torch.Tensor]) -> OrderedDict[str, torch.Tensor]:
    """Return a model's state dict with every tensor on the CPU, its metadata kept."""
    moved = OrderedDict((key, value.cpu()) for key, value in state_dict.items())
    moved._metadata = getattr(state_dict, "_metadata", OrderedDict())  # type: ignore[attr-defined]
    return moved
