"""Values in a few words, for messages."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

__all__ = ["describe"]


def describe(value: Any) -> str:
    """Say in a few words what a value is, without reading tensors.

    >>> import torch
    >>> describe((torch.zeros(2, 3), ["a", "b"]))
    "a tuple of (a float32 tensor of shape (2, 3), a list of 2 (first 'a'))"
    """
    import numpy as np  # here, so that whoever only reads a configuration does without them
    import torch

    if isinstance(value, (torch.Tensor, np.ndarray)):
        kind = "tensor" if isinstance(value, torch.Tensor) else "array"
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{'an' if dtype.startswith('i') else 'a'} {dtype} {kind} of shape {tuple(value.shape)}"
    if value is None or isinstance(value, (str, int, float)):
        return reprlib.repr(value)
    if isinstance(value, (list, tuple)) and not value:
        return f"an empty {type(value).__name__}"
    if isinstance(value, tuple):
        return f"a tuple of ({', '.join(describe(item) for item in value[:4])}{', ...' * (len(value) > 4)})"
    if isinstance(value, list):
        return f"a {type(value).__name__} of {len(value)} (first {describe(value[0])})"
    if isinstance(value, Mapping):
        return f"a dict with the keys {', '.join(map(repr, value))}" if value else "an empty dict"
    return f"an object of class {type(value).__name__}"
