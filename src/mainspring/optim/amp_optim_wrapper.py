"""Automatic mixed precision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..device import default_device
from ..registry import OPTIM_WRAPPERS
from ..utils import options_from
from . import bare
from .fused import prepare_fused_step
from .optim_wrapper import OptimWrapper, one_after_another

__all__ = ["AmpOptimWrapper"]

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class LossScale:
    """``loss_scale=dict(...)``: options of torch's scaler, which would take some impossible ones."""

    init_scale: float = 2.0**16
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000

    def __post_init__(self) -> None:
        _check_scale("init_scale", self.init_scale)
        if self.growth_factor <= 1:
            raise ValueError(f"growth_factor must be above 1, but it is {self.growth_factor}.")
        if not 0 < self.backoff_factor < 1:
            raise ValueError(f"backoff_factor must lie between 0 and 1, but it is {self.backoff_factor}.")
        if self.growth_interval < 1:
            raise ValueError(f"growth_interval must be at least 1, but it is {self.growth_interval}.")


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(OptimWrapper):
    """An :class:`OptimWrapper` whose forward pass runs in lower precision where that is safe.

    The forward pass runs under :func:`torch.autocast` on the device of the optimizer's parameters, wherever they are
    at that time: the model may be moved after this wrapper is made. With float16 the
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
        ValueError: ``dtype`` or ``loss_scale`` is none of these, or an option of the scaler is unknown or impossible.
        TypeError: ``loss_scale`` or an option of the scaler has another type.

    >>> weight = torch.nn.Parameter(torch.ones(4, 4))
    >>> wrapper = AmpOptimWrapper(optimizer=torch.optim.SGD([weight], lr=0.5), dtype="bfloat16")
    >>> with wrapper.optim_context(torch.nn.Identity()):
    ...     scores = torch.ones(1, 4) @ weight
    >>> scores.dtype
    torch.bfloat16
    >>> wrapper.update_params(scores.float().sum())
    >>> weight.dtype, weight[0, 0].item()
    (torch.float32, 0.5)
    """

    def __init__(
        self,
        loss_scale: str | float | Mapping[str, Any] = "dynamic",
        dtype: str | torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._given_dtype = _checked_dtype(dtype)
        self._scaler_options, self._fixed_scale = _scaler_options(loss_scale)
        self._scaler: torch.amp.GradScaler | None = None
        self._scaler_device = ""
        self._scaler_state: dict[str, Any] = {}

    @property
    def device_type(self) -> str:
        """The kind of device on which the parameters are now."""
        parameters = (parameter for group in self.param_groups for parameter in group["params"])
        first = next(parameters, None)
        return default_device().type if first is None else str(first.device.type)

    @property
    def cast_dtype(self) -> torch.dtype:
        """The lower precision: the given one, or torch's choice where the parameters are now."""
        return self._given_dtype or torch.get_autocast_dtype(self.device_type)

    @property
    def loss_scaler(self) -> torch.amp.GradScaler:
        """Scales the loss; made when first asked for, and anew, with its state, if the parameters have moved."""
        device_type = self.device_type
        if self._scaler is None or self._scaler_device != device_type:
            if self._scaler is not None:
                self._scaler_state = self._scaler.state_dict() or self._scaler_state
            self._check_dtypes()
            scaled = self.cast_dtype is torch.float16
            self._scaler = torch.amp.GradScaler(device_type, enabled=scaled, **self._scaler_options)
            self._scaler_device = device_type
            if self._scaler_state:
                self._scaler.load_state_dict(self._scaler_state)
        return self._scaler

    @property
    def scales_loss(self) -> bool:
        """Whether a scaler leaves out steps whose gradients overflow, so that these are no bad numbers."""
        return self.loss_scaler.is_enabled()

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Return the autocast context, with what :meth:`OptimWrapper.optim_context` gives.

        Raises:
            ValueError: torch has no such precision on the device of the parameters.
        """
        device = self.device_type
        try:
            context = torch.autocast(device, dtype=self.cast_dtype)
        except RuntimeError as error:
            raise ValueError(
                f"AmpOptimWrapper cannot lower the precision of this model, whose parameters are on {device!r}: {error}"
                " Write type='OptimWrapper' for full precision, or dtype='float16' or 'bfloat16', whichever this"
                " device has."
            ) from error
        return context if self._accumulative_counts == 1 else one_after_another(context, self._sync_context(model))

    def _differentiate(self, loss: torch.Tensor, **kwargs: Any) -> None:
        bare.backward(self.loss_scaler.scale(loss), **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Unscale and clip the gradients, update the parameters unless a gradient overflowed, adapt the scale.

        Raises:
            NotImplementedError: Torch has no scaler for the device of the parameters.
        """
        scaler = self.loss_scaler
        if not scaler.is_enabled():
            super().step(**kwargs)
            return
        if self.watch is not None and self.watch.refuses_losses():
            return
        if self.gradient_sync is not None:
            self.gradient_sync.finish(self._parameters())
        try:
            if self._items is not None or self._clip_type is not None:
                scaler.unscale_(self.optimizer)
            if self._items is not None:
                self._items.average(self._parameters())
            if self._clip_type is not None:
                self._clip_grad()
            prepare_fused_step(self.optimizer)
            scaler.step(self.optimizer, **kwargs)
            scaler.update(self._fixed_scale)
        except NotImplementedError as error:
            error.add_note(
                f"(raised by a step with a scaler, which float16 needs, on {self.device_type!r}; where torch has none"
                " for a device, dtype='bfloat16' does without)"
            )
            raise

    def _check_dtypes(self) -> None:
        """Refuse weights that are float16 themselves: their gradients could not be unscaled."""
        if self.cast_dtype is torch.float16 and any(one.dtype is torch.float16 for one in self._parameters()):
            raise ValueError(
                "AmpOptimWrapper keeps the weights in float32 and lowers the precision of the forward pass, but this"
                " model's weights are float16 themselves. Leave out model.half(), or take dtype='bfloat16' with"
                " model.bfloat16()."
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state, and the scaler's under ``loss_scaler``."""
        return {**super().state_dict(), "loss_scaler": self.loss_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned; a state without ``loss_scaler`` leaves the scaler new."""
        super().load_state_dict(state_dict)
        scaler = state_dict.get("loss_scaler")
        if scaler:
            self._scaler_state = dict(scaler)
            if self._scaler is not None:
                self._scaler.load_state_dict(self._scaler_state)


def _checked_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None:
        return None
    chosen = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in _DTYPES.values():
        raise ValueError(f"dtype must be 'float16', 'bfloat16' or None, but it is {dtype!r}.")
    return chosen


def _scaler_options(loss_scale: str | float | Mapping[str, Any]) -> tuple[dict[str, Any], float | None]:
    if loss_scale == "dynamic":
        return {}, None
    if isinstance(loss_scale, (int, float)) and not isinstance(loss_scale, bool):
        _check_scale("loss_scale", loss_scale)
        return {"init_scale": float(loss_scale)}, float(loss_scale)
    if isinstance(loss_scale, Mapping):
        given = options_from(LossScale, loss_scale, "loss_scale")
        return {name: getattr(given, name) for name in loss_scale}, None
    if isinstance(loss_scale, str):
        raise ValueError(f"loss_scale must be 'dynamic', a number or a dict, but it is {loss_scale!r}.")
    raise TypeError(f"loss_scale must be 'dynamic', a number or a dict, but it is a {type(loss_scale).__name__}.")


def _check_scale(path: str, scale: float) -> None:
    if not 0 < scale < math.inf:
        raise ValueError(f"{path} must be above 0, but it is {scale}.")
