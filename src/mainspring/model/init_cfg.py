"""Running an ``init_cfg``: one initialiser after the other, each followed by what overrides it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from ..logging import print_log
from ..registry import WEIGHT_INITIALIZERS, build
from ..utils import did_you_mean
from .base_init import BaseInit
from .pretrained_init import PretrainedInit

__all__ = ["InitCfg", "initialize", "split_pretrained"]

Step = Mapping[str, Any] | Callable[[nn.Module], object]
InitCfg = Step | Sequence[Step]


def initialize(module: nn.Module, init_cfg: InitCfg) -> None:
    """Initialise a module as a config says.

    Args:
        module: The module; those in it are initialised with it, as far as the config reaches them.
        init_cfg: A dict with the ``type`` of an initialiser and its arguments, a ready initialiser, or a list
            of these, run in order. A dict may have the key ``override``: a dict, or a list of dicts, with the
            ``name`` of a part of the module (``'head'``, ``'head.conv'``) and the initialiser for everything
            in that part. With nothing but a name, the outer initialiser is used, whatever its ``layer``.

    Raises:
        TypeError: ``init_cfg`` or an ``override`` is of another type, or an initialiser got a wrong argument.
        ValueError: An ``override`` has no ``name``, has arguments without ``type``, or names no part of the
            module.
        KeyError: There is no ``type``, or no initialiser of that name.

    >>> model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    >>> last = dict(type="Constant", name="1", val=5)
    >>> initialize(model, dict(type="Constant", layer="Linear", val=2, override=last))
    >>> [linear.weight.item() for linear in model]
    [2.0, 5.0]
    """
    for step in _as_list(init_cfg):
        if isinstance(step, Mapping):
            _initialize_by_config(module, step)
        elif callable(step) and not isinstance(step, type):
            step(module)
        else:
            raise TypeError(
                "init_cfg must be a dict such as dict(type='Kaiming', layer='Conv2d'), an initialiser, or a"
                f" list of these, but there is {step!r} ({type(step).__name__})."
            )


def split_pretrained(init_cfg: InitCfg) -> tuple[list[Step], list[Step]]:
    """Return the steps that draw weights, and those that load them."""
    steps = _as_list(init_cfg)
    return [s for s in steps if not _is_pretrained(s)], [s for s in steps if _is_pretrained(s)]


def _is_pretrained(step: Step) -> bool:
    kind = step.get("type") if isinstance(step, Mapping) else type(step)
    if isinstance(kind, str):
        kind = WEIGHT_INITIALIZERS.get(kind)
    return isinstance(kind, type) and issubclass(kind, PretrainedInit)


def _as_list(init_cfg: InitCfg) -> list[Step]:
    return list(init_cfg) if isinstance(init_cfg, (list, tuple)) else [init_cfg]  # type: ignore[list-item]


def _initialize_by_config(module: nn.Module, config: Mapping[str, Any]) -> None:
    own = {key: config[key] for key in config if key != "override"}
    override = config.get("override")
    initializer = _run(module, own, whole=False)
    if override is not None:
        for part_config in override if isinstance(override, (list, tuple)) else [override]:
            _initialize_part(module, part_config, own)
    elif isinstance(initializer, BaseInit) and not initializer.layer:
        print_log(
            f"init_cfg={dict(config)} of {type(module).__name__} initialises nothing. Say which modules are"
            " meant, with layer='Linear' for instance, or with override=dict(name=...).",
            logger="current",
            level=logging.WARNING,
        )


def _initialize_part(module: nn.Module, override: Any, outer: Mapping[str, Any]) -> None:
    if not isinstance(override, Mapping):
        raise TypeError(
            "override must be a dict such as dict(name='head', type='Constant', val=0), or a list of dicts,"
            f" but there is {override!r} ({type(override).__name__})."
        )
    own = {key: override[key] for key in override if key != "name"}
    name = override.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(
            f"override={dict(override)} of {type(module).__name__} needs the key 'name', the name of a part"
            " as a string, such as name='head'."
        )
    if own and "type" not in own:
        raise ValueError(
            f"override={dict(override)} of {type(module).__name__} has arguments, but not the key 'type', the"
            " initialiser that takes them. Add it, or leave only 'name', to use the outer initialiser."
        )
    try:
        part = module.get_submodule(name)
    except AttributeError as error:
        names = [path for path, _ in module.named_modules() if path]
        parts = ", ".join(path for path, _ in module.named_children()) or "none"
        raise ValueError(
            f"override={dict(override)} names {name!r}, but {type(module).__name__} has no module of this"
            f" name.{did_you_mean(name, names)} Its parts are: {parts}."
        ) from error
    _run(part, own or outer, whole=True)


def _run(module: nn.Module, config: Mapping[str, Any], *, whole: bool) -> Any:
    initializer = build(config, WEIGHT_INITIALIZERS)
    # Set on a user's own initialiser too, so that it may ask.
    initializer.wholemodule = whole
    initializer(module)
    return initializer
