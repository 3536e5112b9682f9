"""Building from configs: the general function, and those of registries that build in their own way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .construct import construct
from .paths import import_path
from .reading import describe, find, merge_args, pop_type
from .registry import Registry, build_from_cfg

__all__ = ["build", "build_model_from_cfg", "build_runner_from_cfg", "build_scheduler_from_cfg"]


def build(x: Any, registry: Registry, **defaults: Any) -> Any:
    """Return ``x`` as it is, unless it is a mapping: then build it, with ``defaults`` for the keys it lacks.

    >>> HATS = Registry("hat", scope="shop")
    >>> build("a hat that is there", HATS)
    'a hat that is there'
    >>> build(dict(type="builtins.complex", real=1), HATS, imag=2)
    (1+2j)
    """
    if not isinstance(x, Mapping):
        return x
    return registry.build(x, default_args=defaults) if defaults else registry.build(x)


def build_model_from_cfg(
    cfg: Mapping[str, Any] | list[Mapping[str, Any]],
    registry: Registry,
    default_args: Mapping[str, Any] | None = None,
) -> Any:
    """Build a model; a list of configs becomes a ``Sequential`` of models."""
    if not isinstance(cfg, list):
        return build_from_cfg(cfg, registry, default_args)
    # By its path, because the models stand on a higher floor.
    sequential = import_path("mainspring.model.Sequential")
    if sequential is None:
        raise ImportError("mainspring.model has no Sequential.")
    return sequential(*[build_from_cfg(part, registry, default_args) for part in cfg])


def build_runner_from_cfg(cfg: Mapping[str, Any], registry: Registry) -> Any:
    """Return ``from_cfg(cfg)`` of the class that ``cfg['runner_type']`` names, ``Runner`` by default."""
    if not isinstance(cfg, Mapping):
        raise TypeError(f"cfg must be a dict, got {cfg!r} ({type(cfg).__name__}).")
    scope = cfg.get("_scope_")
    if scope is not None:
        cfg = {key: cfg[key] for key in cfg if key != "_scope_"}
    with registry.switch_scope_and_registry(scope) as scoped:
        runner: Any = find(cfg.get("runner_type", "Runner"), scoped)
        return runner.from_cfg(cfg)


def build_scheduler_from_cfg(
    cfg: Mapping[str, Any], registry: Registry, default_args: Mapping[str, Any] | None = None
) -> Any:
    """Build a parameter scheduler.

    With ``convert_to_iter_based=True`` in the config, one that is written in epochs is built in iterations,
    by the class's ``build_iter_from_epoch``.

    Args:
        cfg: The config; it is not changed.
        registry: Where to look.
        default_args: Further arguments: the ``optimizer``, and ``epoch_length``, the number of iterations in
            an epoch, which only the conversion sees.

    Raises:
        TypeError: The conversion is asked for, and the class has no ``build_iter_from_epoch``.
        ValueError: It is asked for, and the scheduler is not by epoch, or ``epoch_length`` is missing.
    """
    args = merge_args(cfg, default_args)
    if not args.pop("convert_to_iter_based", False):
        own, defaults = (
            {key: given[key] for key in given if key not in ("convert_to_iter_based", "epoch_length")}
            for given in (cfg, default_args or {})
        )
        return build_from_cfg(own, registry, defaults)
    with registry.switch_scope_and_registry(args.pop("_scope_", None)) as scoped:
        scheduler: Any = pop_type(args, scoped, cfg)
        if not args.get("by_epoch", True):
            raise ValueError(
                "convert_to_iter_based=True turns epochs into iterations, but by_epoch=False says that the "
                "scheduler counts iterations already. Leave out one of the two."
            )
        if "epoch_length" not in args:
            raise ValueError(
                "convert_to_iter_based=True needs epoch_length, the number of iterations in an epoch; pass "
                "default_args=dict(epoch_length=len(dataloader))."
            )
        convert = getattr(scheduler, "build_iter_from_epoch", None)
        if convert is None:
            raise TypeError(
                f"{scheduler!r} has no build_iter_from_epoch, which convert_to_iter_based=True calls. Write "
                "it, or count in iterations with by_epoch=False."
            )
        return construct(convert, args, describe(scoped), cfg=cfg)
