"""Learning rates that fall from the last layer of a model to the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ..registry import OPTIM_WRAPPER_CONSTRUCTORS
from ..utils import options_from
from .constructor import DefaultOptimWrapperConstructor
from .layers import depths_of
from .param_groups import ParamwiseCfg, Part, settings_for

__all__ = ["LayerDecayCfg", "LayerDecayOptimWrapperConstructor"]


@dataclass(frozen=True)
class LayerDecayCfg(ParamwiseCfg):
    """``optim_wrapper.paramwise_cfg`` of :class:`LayerDecayOptimWrapperConstructor`: the options for all, and these."""

    layer_decay_rate: float = 1.0
    """Factor of the learning rate from one layer to the one before it."""
    layers: Sequence[str] = field(default_factory=tuple)
    """The layers, from the first to the last, by the beginnings of their parameters' names; by default they are found,
    see :func:`~mainspring.optim.layers.depths_of`."""

    def __post_init__(self) -> None:
        if not 0 < self.layer_decay_rate <= 1:
            raise ValueError(f"layer_decay_rate must lie between 0 and 1, but it is {self.layer_decay_rate}.")


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Builds an optimizer that learns the slower, the earlier a layer is.

    The learning rate of layer ``i`` of ``n`` is multiplied by ``layer_decay_rate ** (n - 1 - i)``, so that the last one
    has the full rate (Clark et al., "ELECTRA", ICLR 2020; Bao et al., "BEiT", ICLR 2022). This is how pretrained
    transformers are fine-tuned. All other factors of ``paramwise_cfg`` come on top; an ``lr`` that a custom key gives
    stays as it is. The log lists the layers, each with its factor.

    What the layers are, :func:`~mainspring.optim.layers.depths_of` says; ``layers`` in ``paramwise_cfg`` names others.

    Args:
        optim_wrapper_cfg: The wrapper's config, with the key ``optimizer``, which gives ``lr``.
        paramwise_cfg: See :class:`LayerDecayCfg`.

    Raises:
        TypeError: ``optim_wrapper_cfg`` is no dict.
        ValueError: See :class:`~mainspring.optim.DefaultOptimWrapperConstructor`; or no layers are found.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    >>> constructor = LayerDecayOptimWrapperConstructor(
    ...     dict(optimizer=dict(type="AdamW", lr=0.1)), paramwise_cfg=dict(layer_decay_rate=0.5)
    ... )
    >>> groups = []
    >>> constructor.add_params(groups, model)
    >>> [group["lr"] for group in groups]  # of weight, bias, weight, ...
    [0.025, 0.025, 0.05, 0.05, 0.1, 0.1]
    """

    cfg_type = LayerDecayCfg

    def __init__(self, optim_wrapper_cfg: Mapping[str, Any], paramwise_cfg: Mapping[str, Any] | None = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        if "layer_decay_rate" not in self.paramwise_cfg:
            raise ValueError(
                f"{type(self).__name__} needs optim_wrapper.paramwise_cfg=dict(layer_decay_rate=0.75), for instance:"
                " the factor of the learning rate from one layer to the one before it. The keys given are:"
                f" {', '.join(self.paramwise_cfg) or 'none'}."
            )
        self._depths: dict[str, tuple[int, int]] = {}

    def add_params(
        self,
        params: list[dict[str, Any]],
        module: nn.Module,
        prefix: str = "",
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Append a group for each parameter of a model, with its own settings.

        Args:
            params: The groups so far.
            module: The model.
            prefix: What comes before the names of its parameters.
            is_dcn_module: Whether it belongs to a deformable convolution.
        """
        cfg = options_from(LayerDecayCfg, self.paramwise_cfg, "optim_wrapper.paramwise_cfg")
        found = depths_of(module, cfg.layers)
        self._depths = {f"{prefix}.{name}" if prefix else name: depth for name, depth in found.items()}
        if self.base_lr is None:
            raise ValueError(
                "optim_wrapper.paramwise_cfg.layer_decay_rate is a factor of lr, which optim_wrapper.optimizer does not"
                " give. Write it there, such as lr=0.001."
            )
        super().add_params(params, module, prefix, is_dcn_module)

    def _settings_for(self, part: Part, cfg: ParamwiseCfg) -> dict[str, Any]:
        base_lr, base_wd = self._bases(part)
        if base_lr is not None:
            base_lr *= self._factor(part.name)
        return {"lr": base_lr, **settings_for(part, cfg, base_lr, base_wd)}

    def _factor(self, name: str) -> float:
        depth, count = self._depths[name]
        rate: float = self.paramwise_cfg.get("layer_decay_rate", 1.0)
        return rate ** (count - 1 - depth)

    def _told(self, optimizer: Optimizer, model: nn.Module) -> str:
        groups = super()._told(optimizer, model)
        layers: dict[int, list[str]] = {}
        for name, (depth, _) in self._depths.items():
            layers.setdefault(depth, []).append(name)
        lines = []
        for depth, names in sorted(layers.items()):
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            lines.append(f"  {depth}: lr * {self._factor(names[0]):.3g}: {shown}")
        table = "\n".join(lines)
        return f"Layers of {type(model).__name__}:\n{table}\n{groups}"
