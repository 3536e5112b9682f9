"""Where MMEngine has helpers around torch. They are imported when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy import lazy_names

if TYPE_CHECKING:
    from ..compat.layers import has_batch_norm, is_norm, mmcv_full_available
    from ..compat.processes import set_multi_processing
    from ..compat.tensors import TORCH_VERSION, is_jit_tracing, load_url, tensor2imgs, torch_meshgrid
    from ..compat.time_counter import TimeCounter
    from .environment import collect_env
else:
    __getattr__ = lazy_names(__name__)

__all__ = [
    "TORCH_VERSION",
    "TimeCounter",
    "collect_env",
    "has_batch_norm",
    "is_jit_tracing",
    "is_norm",
    "load_url",
    "mmcv_full_available",
    "set_multi_processing",
    "tensor2imgs",
    "torch_meshgrid",
]
