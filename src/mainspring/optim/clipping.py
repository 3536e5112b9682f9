"""The options of gradient clipping, checked when a run is built and not in its first step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..utils import check_type, did_you_mean

__all__ = ["clip_options"]

_CLIPPERS: dict[str, Callable[..., Any]] = {"norm": nn.utils.clip_grad_norm_, "value": nn.utils.clip_grad_value_}


def clip_options(clip_grad: Mapping[str, Any] | None) -> tuple[str | None, dict[str, Any]]:
    """Return the kind of clipping, ``'norm'``, ``'value'`` or None, and the arguments of torch's function for it.

    Raises:
        TypeError: ``clip_grad`` is neither None nor a dict with entries, or an option has the wrong type.
        ValueError: Its type or an option is unknown, or the limit is missing or not above 0.

    >>> clip_options(dict(max_norm=1.0))
    ('norm', {'max_norm': 1.0})
    """
    if clip_grad is None:
        return None, {}
    if not isinstance(clip_grad, Mapping) or not clip_grad:
        raise TypeError(f"clip_grad must be a dict such as dict(max_norm=1.0), or None, but it is {clip_grad!r}.")
    options = dict(clip_grad)
    kind = options.pop("type", "norm")
    if kind not in _CLIPPERS:
        raise ValueError(f"clip_grad.type must be 'norm' or 'value', but it is {kind!r}.")
    valid = [name for name in inspect.signature(_CLIPPERS[kind]).parameters if name != "parameters"]
    required = "max_norm" if kind == "norm" else "clip_value"
    for key in options:
        if key not in valid:
            raise ValueError(
                f"clip_grad.{key}: there is no such option for type {kind!r}.{did_you_mean(key, valid)}"
                f" The options are: {', '.join(valid)}."
            )
    if required not in options:
        raise ValueError(f"clip_grad.{required} is missing: clipping of type {kind!r} needs it.")
    check_type(options[required], float, f"clip_grad.{required}")
    norm_type = options.get("norm_type", 2.0)
    if norm_type != "inf":  # which torch reads, too
        check_type(norm_type, float, "clip_grad.norm_type")
        if not norm_type > 0:
            raise ValueError(f"clip_grad.norm_type must be above 0, or 'inf', but it is {norm_type}.")
    check_type(options.get("error_if_nonfinite", False), bool, "clip_grad.error_if_nonfinite")
    check_type(options.get("foreach"), bool | None, "clip_grad.foreach")
    if not options[required] > 0:
        raise ValueError(
            f"clip_grad.{required} must be above 0, but it is {options[required]}. Leave out clip_grad to clip nothing."
        )
    return kind, options
