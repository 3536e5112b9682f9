"""Automatic mixed precision."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from ..registry import OPTIM_WRAPPERS
from .optim_wrapper import OptimWrapper

__all__ = ["AmpOptimWrapper"]

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(OptimWrapper):
    """An :class:`OptimWrapper` whose forward pass runs in lower precision where that is safe.

    The forward pass runs under :func:`torch.autocast` on the device of the optimizer's parameters. With float16 the
    loss is scaled, so that small gradients do not vanish, and a step with overflowing gradients is left out
    (Micikevicius et al., "Mixed precision training", ICLR 2018); bfloat16 has the range of float32 and needs none
    of this. Clipping sees unscaled gradients.

    Args:
        loss_scale: ``'dynamic'``; or a number, which stays as it is; or a dict of options of
            :class:`torch.amp.GradScaler`.
        dtype: ``'float16'``, ``'bfloat16'``, or None for torch's choice on this device (float16 on CUDA,
            bfloat16 on the CPU).
        **kwargs: See :class:`OptimWrapper`.

    Raises:
        ValueError: ``dtype`` or ``loss_scale`` is none of these.
        TypeError: ``loss_scale`` has another type.
    """

    def __init__(
        self,
        loss_scale: str | float | Mapping[str, Any] = "dynamic",
        dtype: str | torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.device_type: str = self.optimizer.param_groups[0]["params"][0].device.type
        self.cast_dtype = _cast_dtype(dtype, self.device_type)
        options, self._fixed_scale = _scaler_options(loss_scale)
        scaled = self.cast_dtype is torch.float16
        self.loss_scaler = torch.amp.GradScaler(self.device_type, enabled=scaled, **options)

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Return the autocast context."""
        return torch.autocast(self.device_type, dtype=self.cast_dtype)

    def backward(self, loss: torch.Tensor, **kwargs: Any) -> None:
        """Compute gradients of the scaled loss, and count the iteration."""
        self._check_loss(loss)
        self.loss_scaler.scale(loss).backward(**kwargs)  # type: ignore[no-untyped-call]
        self._inner_count += 1

    def step(self, **kwargs: Any) -> None:
        """Unscale and clip the gradients, update the parameters unless a gradient overflowed, adapt the scale."""
        if self._clip_type is not None:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update(self._fixed_scale)

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state, and the scaler's under ``loss_scaler``."""
        return {**super().state_dict(), "loss_scaler": self.loss_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned; a state without ``loss_scaler`` leaves the scaler new."""
        super().load_state_dict(state_dict)
        scaler = state_dict.get("loss_scaler")
        if scaler:
            self.loss_scaler.load_state_dict(scaler)


def _cast_dtype(dtype: str | torch.dtype | None, device_type: str) -> torch.dtype:
    if dtype is None:
        return torch.get_autocast_dtype(device_type)
    chosen = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in _DTYPES.values():
        raise ValueError(f"dtype must be 'float16', 'bfloat16' or None, but it is {dtype!r}.")
    return chosen


def _scaler_options(loss_scale: str | float | Mapping[str, Any]) -> tuple[dict[str, Any], float | None]:
    if loss_scale == "dynamic":
        return {}, None
    if isinstance(loss_scale, (int, float)) and not isinstance(loss_scale, bool):
        return {"init_scale": float(loss_scale)}, float(loss_scale)
    if isinstance(loss_scale, Mapping):
        return dict(loss_scale), None
    if isinstance(loss_scale, str):
        raise ValueError(f"loss_scale must be 'dynamic', a number or a dict, but it is {loss_scale!r}.")
    raise TypeError(f"loss_scale must be 'dynamic', a number or a dict, but it is a {type(loss_scale).__name__}.")
