"""A short name for weights: equal digests mean equal bits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["weights_digest"]


def weights_digest(state_dict: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal digits, of the names, types, shapes and bytes of a state dict's tensors.

    It does not depend on the order of the names, or on where the tensors lie.

    >>> weights_digest({"w": torch.zeros(2)}) == weights_digest({"w": torch.zeros(2)})
    True
    >>> weights_digest({"w": torch.zeros(2)}) == weights_digest({"w": torch.zeros(2, dtype=torch.float64)})
    False
    """
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = state_dict[name]
        if isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided and not tensor.is_quantized:
            tensor = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
