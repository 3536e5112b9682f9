"""Which results of an evaluation are numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["is_left_out", "numbers_in"]


def numbers_in(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the results that are numbers, of Python, NumPy or torch, as Python's; others are left out.

    >>> numbers_in({"acc": np.float32(0.5), "loss": torch.tensor(2.0), "names": ["cat"], "passed": True})
    {'acc': 0.5, 'loss': 2.0}
    """
    found = {name: _as_number(value) for name, value in (metrics or {}).items()}
    return {name: number for name, number in found.items() if number is not None}


def _as_number(value: Any) -> float | None:
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        one = value.numel() == 1 if isinstance(value, torch.Tensor) else value.size == 1
        value = value.item() if one else None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def is_left_out(metric: str, runner: Runner) -> bool:
    """Whether a result is that of a set of data which the running validation leaves out, by its interval."""
    loop: Any = runner.val_loop  # a user's may be any
    leaves_out = getattr(loop, "leaves_out", None)
    return leaves_out is not None and leaves_out(metric)
