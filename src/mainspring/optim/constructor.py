"""From a config to an optimizer around a model's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ..registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS, build
from .fused import make_momentum_buffers, with_fused_step
from .optim_wrapper import OptimWrapper

__all__ = ["DefaultOptimWrapperConstructor", "build_optim_wrapper"]


def build_optim_wrapper(model: nn.Module, cfg: OptimWrapper | Optimizer | Mapping[str, Any]) -> OptimWrapper:
    """Return the optimizer wrapper of a model.

    Args:
        model: Its parameters are optimised.
        cfg: A wrapper, which is returned as it is; an optimizer, which is wrapped; or a dict with the key
            ``optimizer`` (a config dict or an object) and optionally ``type`` (default ``OptimWrapper``), the
            wrapper's other arguments, ``constructor`` and ``paramwise_cfg``.

    Raises:
        TypeError: ``cfg`` is none of these.
        ValueError: The model has no trainable parameter, or the optimizer holds none of its parameters.
    """
    wrapper = _build(model, cfg)
    if isinstance(wrapper, OptimWrapper):
        _check_parameters(model, wrapper)
    return wrapper


def _build(model: nn.Module, cfg: OptimWrapper | Optimizer | Mapping[str, Any]) -> OptimWrapper:
    if isinstance(cfg, Optimizer):
        return OptimWrapper(cfg)
    if not isinstance(cfg, Mapping):
        if not callable(getattr(cfg, "update_params", None)):
            raise TypeError(
                "optim_wrapper must be an OptimWrapper, an optimizer, or a dict such as"
                f" dict(optimizer=dict(type='SGD', lr=0.1)), but it is {cfg!r} ({type(cfg).__name__})."
            )
        return cfg
    options = dict(cfg)
    constructor = options.pop("constructor", "DefaultOptimWrapperConstructor")
    paramwise_cfg = options.pop("paramwise_cfg", None)
    if not isinstance(constructor, Mapping):
        constructor = {"type": constructor}
    built: OptimWrapper = build(
        {**constructor, "optim_wrapper_cfg": options, "paramwise_cfg": paramwise_cfg},
        OPTIM_WRAPPER_CONSTRUCTORS,
    )(model)
    return built


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DefaultOptimWrapperConstructor:
    """Builds one optimizer over all parameters of a model, and its wrapper.

    One of torch's is built with ``fused=True`` where torch has that, unless the config says how its step is made; see
    :func:`~mainspring.optim.fused.with_fused_step`.

    Args:
        optim_wrapper_cfg: The wrapper's config, with the key ``optimizer``.
        paramwise_cfg: Options for single parameters; none are known yet.

    Raises:
        TypeError: ``optim_wrapper_cfg`` is no dict.
        ValueError: It has no ``optimizer``, or ``paramwise_cfg`` is given.
    """

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        if not isinstance(optim_wrapper_cfg, Mapping):
            raise TypeError(
                f"optim_wrapper must be a dict, but it is {optim_wrapper_cfg!r} ({type(optim_wrapper_cfg).__name__})."
            )
        if "optimizer" not in optim_wrapper_cfg:
            raise ValueError(
                "optim_wrapper.optimizer is missing: name one, such as"
                f" dict(optimizer=dict(type='SGD', lr=0.1)). The keys given are: {', '.join(optim_wrapper_cfg) or '-'}."
            )
        if paramwise_cfg:
            raise ValueError(
                "optim_wrapper.paramwise_cfg is not supported by this version. Build the optimizer with parameter"
                " groups yourself, and pass OptimWrapper(optimizer), or register a constructor of your own."
            )
        self.optim_wrapper_cfg = dict(optim_wrapper_cfg)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer and the wrapper."""
        options = dict(self.optim_wrapper_cfg)
        optimizer = options.pop("optimizer")
        if isinstance(optimizer, Mapping):
            if not any(p.requires_grad for p in model.parameters()):
                raise ValueError(_nothing_to_train(model))
            if "params" in optimizer:
                raise ValueError(
                    "optim_wrapper.optimizer.params: a config's optimizer gets all parameters of the model. To choose"
                    " some, make the optimizer yourself, and pass it as optim_wrapper; or freeze the others."
                )
            if isinstance(optimizer.get("lr"), str):
                raise TypeError(
                    f"optim_wrapper.optimizer.lr must be a number, but it is {optimizer['lr']!r} (str). In YAML, 1e-4"
                    " is a string: write 1.0e-4."
                )
            optimizer = build({**with_fused_step(optimizer, model), "params": list(model.parameters())}, OPTIMIZERS)
            make_momentum_buffers(optimizer)
        options.setdefault("type", OptimWrapper)
        built: OptimWrapper = build({**options, "optimizer": optimizer}, OPTIM_WRAPPERS)
        return built


def _check_parameters(model: nn.Module, wrapper: OptimWrapper) -> None:
    held = [p for group in wrapper.param_groups for p in group["params"]]
    if not any(p.requires_grad for p in held):
        raise ValueError(_nothing_to_train(model))
    of_model = {id(p) for p in model.parameters()}
    if of_model and not any(id(p) in of_model for p in held):
        raise ValueError(
            f"The optimizer holds none of the parameters of {type(model).__name__}, so that training would not change"
            " it. Make the optimizer after the model has its final layers, from model.parameters()."
        )


def _nothing_to_train(model: nn.Module) -> str:
    count = sum(1 for _ in model.parameters())
    if count == 0:
        return f"{type(model).__name__} has no parameter at all, so there is nothing to train."
    return (
        f"None of the {count} parameters of {type(model).__name__} is trainable: each has requires_grad=False."
        " Unfreeze some, with parameter.requires_grad_(True)."
    )
