"""A model on several processes: its calls go through a wrapper that averages gradients, and it stays what it is."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch import nn

from ..registry import MODEL_WRAPPERS, build
from ..utils import check_type, did_you_mean

if TYPE_CHECKING:
    from torch.nn.parallel import DistributedDataParallel

__all__ = ["Route", "UnusedParametersError", "check_model_wrapper", "route_of", "wrap_model"]

_ALIASES = ("MMDistributedDataParallel", "DistributedDataParallel")
"""What ``model_wrapper_cfg`` may call torch's ``DistributedDataParallel``."""
_SEPARATE = "MMSeparateDistributedDataParallel"
"""MMEngine's name for: each part of the model by itself."""
_OWN = ("detect_anomalous_params", "exclude_module")
"""Options of MMEngine's wrappers that need nothing here: unused parameters are always named, and no part is wrapped."""
_routes: WeakValueDictionary[int, Route] = WeakValueDictionary()
"""By the identity of their models, which they hold: not in a model's ``__dict__``, so that it can be copied."""


class UnusedParametersError(RuntimeError):
    """A backward pass has left out parameters whose gradients the processes were to average."""


class Route:
    """Leads the calls of a model through ``DistributedDataParallel`` while gradients are computed.

    The model stays what it is: its class, its attributes, and the names in its ``state_dict``. A copy of it is not led.
    It is led as long as somebody holds the route.

    Args:
        model: The model.
        wrapper: Holds the model.
    """

    def __init__(self, model: nn.Module, wrapper: DistributedDataParallel) -> None:
        self.model = model
        self.wrapper = wrapper
        self._covered = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
        self._within = False
        self._awaits_backward = False
        _routes[id(model)] = self

    def leads(self) -> bool:
        """Whether a call of the model goes this way now: not the one that the wrapper itself makes."""
        return not self._within and torch.is_grad_enabled()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model through its wrapper."""
        self._within = True
        try:
            output = self.wrapper(*args, **kwargs)
        finally:
            self._within = False
        if self.wrapper.require_backward_grad_sync:
            self._awaits_backward = True
        return output

    def covers(self, parameter: torch.Tensor) -> bool:
        """Whether the wrapper averages the gradient of this parameter: if it was trainable when it was wrapped."""
        return id(parameter) in self._covered

    def take(self) -> bool:
        """Return whether the backward pass that is just over was averaged; to be asked once after each.

        Raises:
            UnusedParametersError: Only a part of it was.
        """
        if not self._awaits_backward:
            return False
        self._awaits_backward = False
        try:
            self.wrapper._check_reducer_finalized()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise UnusedParametersError(self._what_is_missing()) from error
        return True

    def paused(self) -> AbstractContextManager[None]:
        """Return the context of a forward pass whose gradients only gather in each process."""
        context: AbstractContextManager[None] = self.wrapper.no_sync()
        return context

    def _what_is_missing(self) -> str:
        names = [n for n, p in self.model.named_parameters() if self.covers(p) and p.grad is None]
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return (
            f"The loss does not depend on all parameters of {type(self.model).__name__}"
            f"{f': {listed} got no gradient' if names else ''}, so that the processes cannot average its gradients"
            " while they are computed. If a forward pass may leave out a part of the model, pass"
            " find_unused_parameters=True to the Runner. If train_step computes losses of parts, as for a GAN, pass"
            f" model_wrapper_cfg=dict(type='{_SEPARATE}'): gradients are then averaged before each step."
        )


def route_of(model: nn.Module) -> Route | None:
    """Return the route that a call of the model takes now, or None where it takes the usual way."""
    route = _routes.get(id(model))
    return route if route is not None and route.leads() else None


def check_model_wrapper(cfg: Any) -> None:
    """Check ``model_wrapper_cfg`` as far as that can be done without a model.

    Raises:
        TypeError: It is no dict, or has no ``type``.
        ValueError: There is no such wrapper, or it has no such option.
    """
    check_type(cfg, Mapping | None, "model_wrapper_cfg")
    if cfg is None:
        return
    kind = cfg.get("type")
    if not isinstance(kind, str | type):
        raise TypeError(
            "model_wrapper_cfg must be a dict with a type, such as dict(type='MMDistributedDataParallel',"
            f" find_unused_parameters=True), but it is {dict(cfg)!r}."
        )
    if kind in (*_ALIASES, _SEPARATE):
        known = [*_ddp_options(), *_OWN]
        for key in cfg:
            if key != "type" and key not in known:
                raise ValueError(
                    f"model_wrapper_cfg.{key}: there is no such option of {kind}.{did_you_mean(str(key), known)} The"
                    f" options are: {', '.join(known)}."
                )
    elif kind == "MMFullyShardedDataParallel":
        raise ValueError(
            "model_wrapper_cfg: MMFullyShardedDataParallel is the first generation of sharding, which torch has given"
            " up. Leave it out, or take DistributedDataParallel."
        )
    elif isinstance(kind, str) and MODEL_WRAPPERS.get(kind) is None:
        names = (*_ALIASES, _SEPARATE, *MODEL_WRAPPERS.module_dict)
        raise ValueError(
            f"model_wrapper_cfg.type: there is no model wrapper {kind!r}.{did_you_mean(kind, names)} There are:"
            f" {', '.join(names)}."
        )


def wrap_model(model: nn.Module, cfg: Mapping[str, Any] | None, find_unused_parameters: bool = False) -> Route | None:
    """Return the route by which the calls of a model are to go, or None where gradients are to be averaged later.

    All processes call it together.

    Args:
        model: It is only led if it is a :class:`BaseModel`: other modules do not ask for a route.
        cfg: ``model_wrapper_cfg``: the ``type`` and options of a ``DistributedDataParallel``.
        find_unused_parameters: Whether a loss may leave out parameters, where ``cfg`` does not say.

    Raises:
        TypeError: ``cfg`` describes something else than a ``DistributedDataParallel``.
    """
    from torch.nn.parallel import DistributedDataParallel  # here, since it takes long

    from .base_model import BaseModel

    options = {"type": _ALIASES[0], **(cfg or {})}
    trainable = any(parameter.requires_grad for parameter in model.parameters())
    if options["type"] == _SEPARATE or not isinstance(model, BaseModel) or not trainable:
        return None
    options.setdefault("find_unused_parameters", find_unused_parameters)
    buffers = options.pop("broadcast_buffers", False)  # newer versions of torch call it by what it does
    options.setdefault(
        "forward_sync_buffers" if "forward_sync_buffers" in _ddp_options() else "broadcast_buffers", buffers
    )
    if options["type"] in _ALIASES:
        wrapper: Any = DistributedDataParallel(
            model, **{key: value for key, value in options.items() if key not in ("type", *_OWN)}
        )
    else:
        wrapper = build(options, MODEL_WRAPPERS, module=model)
    if not isinstance(wrapper, DistributedDataParallel):
        raise TypeError(
            f"model_wrapper_cfg: {type(wrapper).__name__} is no DistributedDataParallel, and the calls of a model can"
            " only be led through one. Let it inherit from torch.nn.parallel.DistributedDataParallel."
        )
    route = Route(model, wrapper)
    model.is_routed = True
    return route


def _ddp_options() -> list[str]:
    from torch.nn.parallel import DistributedDataParallel  # here, since it takes long

    return [name for name in inspect.signature(DistributedDataParallel).parameters if name not in ("self", "module")]
