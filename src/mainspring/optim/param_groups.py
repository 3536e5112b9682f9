"""Settings of single parameters, by their names and by what they belong to."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ..logging import print_log
from ..utils import nearest

__all__ = [
    "ParamwiseCfg",
    "Part",
    "hint",
    "merged",
    "parts_of",
    "report_unused_keys",
    "settings_for",
    "table_of",
    "unused_keys",
]

_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
_DEFORMABLE = {"DeformConv2d", "ModulatedDeformConv2d"}  # of mmcv and torchvision, which need not be installed


@dataclass(frozen=True)
class ParamwiseCfg:
    """``optim_wrapper.paramwise_cfg``: factors of the learning rate and weight decay for some parameters.

    What a custom key matches follows that alone. All else follows the other options.
    """

    custom_keys: Mapping[str, Any] = field(default_factory=dict)
    """For a part of parameters' names, such as ``'backbone.layer0'``, a dict of ``lr_mult``, ``decay_mult`` and any
    options of the optimizer. Where several keys match, the longest counts, of equally long ones the first in the
    alphabet."""
    bias_lr_mult: float | None = None
    """Factor of the learning rate of biases, but those of normalisation and of deformable convolutions' offsets."""
    bias_decay_mult: float | None = None
    """Factor of the weight decay of these."""
    norm_decay_mult: float | None = None
    """Factor of the weight decay of normalisation layers' parameters."""
    flat_decay_mult: float | None = None
    """Factor of the weight decay of other parameters with one dimension."""
    dwconv_decay_mult: float | None = None
    """Factor of the weight decay of depth-wise convolutions."""
    dcn_offset_lr_mult: float | None = None
    """Factor of the learning rate of the convolutions that compute offsets in deformable ones."""
    bypass_duplicate: bool = False
    """Say nothing of parameters that stand at several places of the model; they follow the first."""
    strict: bool = False
    """Make a custom key that matches no parameter an error; otherwise it is a warning."""


@dataclass(frozen=True)
class Part:
    """A parameter, and what it belongs to."""

    name: str
    short_name: str
    parameter: nn.Parameter
    module: nn.Module
    is_deformable: bool
    """Whether it belongs to a deformable convolution, or to a module within one."""

    @property
    def is_norm(self) -> bool:
        """Whether it belongs to a normalisation layer."""
        return isinstance(self.module, _NORMS)

    @property
    def is_bias(self) -> bool:
        """Whether it is a bias; that of a deformable convolution's offsets is none."""
        return self.short_name == "bias" and not self.is_deformable

    @property
    def is_offset(self) -> bool:
        """Whether it computes the offsets of a deformable convolution."""
        return self.is_deformable and isinstance(self.module, nn.Conv2d) and "conv_offset" in self.name

    @property
    def is_depthwise(self) -> bool:
        """Whether it belongs to a depth-wise convolution."""
        module = self.module
        return isinstance(module, nn.Conv2d) and module.in_channels == module.groups


def parts_of(module: nn.Module, prefix: str = "", is_deformable: bool = False) -> Iterator[Part]:
    """Yield the parameters of a module and of those inside it; what stands at several places, as often."""
    is_deformable = is_deformable or type(module).__name__ in _DEFORMABLE
    for name, parameter in module.named_parameters(recurse=False):
        yield Part(f"{prefix}.{name}" if prefix else name, name, parameter, module, is_deformable)
    for name, child in module.named_children():
        yield from parts_of(child, f"{prefix}.{name}" if prefix else name, is_deformable)


def settings_for(part: Part, cfg: ParamwiseCfg, base_lr: float | None, base_wd: float | None) -> dict[str, Any]:
    """Return the options of a parameter that are not those of the optimizer."""
    key = _key_for(part.name, cfg.custom_keys)
    if key is not None:
        own = dict(cfg.custom_keys[key])
        lr_mult, decay_mult = own.pop("lr_mult", None), own.pop("decay_mult", None)
    else:
        own, lr_mult, decay_mult = {}, _lr_mult(part, cfg), _decay_mult(part, cfg)
    if lr_mult is not None and base_lr is not None:
        own.setdefault("lr", base_lr * lr_mult)
    if decay_mult is not None and base_wd is not None:
        own.setdefault("weight_decay", base_wd * decay_mult)
    return own


def _key_for(name: str, custom_keys: Mapping[str, Any]) -> str | None:
    matching = [key for key in sorted(custom_keys) if key in name]
    return max(matching, key=len, default=None)  # of equally long ones the first


def _lr_mult(part: Part, cfg: ParamwiseCfg) -> float | None:
    if part.is_offset:
        return cfg.dcn_offset_lr_mult
    return cfg.bias_lr_mult if part.is_bias and not part.is_norm else None


def _decay_mult(part: Part, cfg: ParamwiseCfg) -> float | None:
    """Return the first factor that is given and meant for it."""
    meant = (
        (part.is_norm, cfg.norm_decay_mult),
        (part.is_bias, cfg.bias_decay_mult),
        (part.is_depthwise, cfg.dwconv_decay_mult),
        (part.parameter.ndim == 1 and not part.is_deformable, cfg.flat_decay_mult),
    )
    return next((mult for is_meant, mult in meant if is_meant and mult is not None), None)


def unused_keys(keys: Iterable[str], names: Sequence[str]) -> Iterator[str]:
    """Yield for each key that is in the name of no parameter a text that says so, and names the nearest."""
    for key in keys:
        if not any(key in name for name in names):
            yield f"{key!r} is in the name of no parameter.{hint(key, names)}"


def hint(key: str, names: Sequence[str]) -> str:
    """Return a sentence on what of the names of parameters, or of their modules, may have been meant."""
    pieces = sorted({".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 2)})
    near = nearest(key, pieces, count=3)
    if near:
        return f" Did you mean {' or '.join(map(repr, near))}?"
    return f" One of them is {names[0]!r}." if names else ""


def report_unused_keys(cfg: ParamwiseCfg, names: Sequence[str]) -> None:
    """Say which custom keys match no parameter.

    Raises:
        ValueError: There is one, and ``strict`` is on.
    """
    for told in unused_keys(cfg.custom_keys, names):
        text = f"optim_wrapper.paramwise_cfg.custom_keys: {told}"
        if cfg.strict:
            raise ValueError(text)
        print_log(text, "current", logging.WARNING)


def merged(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Join the groups whose settings are the same, in the order of their first: few groups make fast steps."""
    joined: list[dict[str, Any]] = []
    for group in groups:
        settings = {key: value for key, value in group.items() if key != "params"}
        same = next((one for one in joined if {k: v for k, v in one.items() if k != "params"} == settings), None)
        if same is None:
            joined.append({"params": list(group["params"]), **settings})
        else:
            same["params"].extend(group["params"])
    return joined


def table_of(groups: Sequence[Mapping[str, Any]], names: Mapping[int, str], defaults: Mapping[str, Any]) -> str:
    """Return the groups as lines of text: their sizes, settings other than the optimizer's, and some names.

    Args:
        groups: Those of an optimizer.
        names: The names of parameters by their ``id``.
        defaults: The optimizer's settings.
    """
    lines = []
    for number, group in enumerate(groups):
        settings = {key: value for key, value in group.items() if key != "params" and defaults.get(key) != value}
        told = ", ".join(f"{key}={_short(value)}" for key, value in settings.items())
        members = [names.get(id(parameter), "?") for parameter in group["params"]]
        shown = ", ".join(members[:3]) + (f" and {len(members) - 3} more" if len(members) > 3 else "")
        size = sum(parameter.numel() for parameter in group["params"] if isinstance(parameter, torch.Tensor))
        lines.append(f"  {number}: {size:,} numbers, {told or 'as configured'}: {shown}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
