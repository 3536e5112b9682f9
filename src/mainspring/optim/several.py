"""From a config to several optimizers, each around a part of a model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ..logging import print_log
from ..utils import did_you_mean
from .optim_wrapper import OptimWrapper
from .optim_wrapper_dict import OptimWrapperDict

__all__ = ["build_several", "check_several", "describes_several"]

_OF_ONE = ("optimizer", "constructor", "type")
_SHOWN = 5
"""How many names a message lists."""

BuildOne = Callable[[nn.Module, Any], OptimWrapper]


def describes_several(cfg: Any) -> bool:
    """Whether ``optim_wrapper`` is a dict of several wrappers by name, and not the config of one.

    >>> describes_several(dict(generator=dict(optimizer=dict(type="Adam")), discriminator=dict(optimizer=None)))
    True
    >>> describes_several(dict(optimizer=dict(type="Adam")))
    False
    """
    if not isinstance(cfg, Mapping) or any(key in cfg for key in _OF_ONE):
        return False
    return any(_is_wrapper(value) for value in cfg.values())


def build_several(model: nn.Module, cfg: Mapping[str, Any], build_one: BuildOne) -> OptimWrapperDict:
    """Return the wrappers of the parts of a model.

    Args:
        model: Its parts are its submodules.
        cfg: For each name the wrapper of the submodule that is called so, such as ``'generator'`` or
            ``'heads.mask'``: a config, or an object, whose name may be any.
        build_one: Builds the wrapper of one submodule.

    Raises:
        TypeError: What stands under a name is neither a config of a wrapper nor one.
        ValueError: No submodule is called so, or a parameter belongs to two of them.
    """
    modules = dict(model.named_modules())
    wrappers: dict[str, OptimWrapper] = {}
    for name, one in cfg.items():
        if not _is_wrapper(one):
            raise TypeError(
                f"optim_wrapper[{name!r}] must be the config of an optimizer wrapper, such as"
                f" dict(optimizer=dict(type='Adam', lr=1e-3)), or a wrapper, but it is {one!r} ({type(one).__name__})."
                f" Beside it, there are wrappers for {', '.join(key for key in cfg if key != name)}."
            )
        if isinstance(one, OptimWrapper):
            wrappers[name] = one
            continue
        if not name or name not in modules:
            parts = [key for key in modules if key]
            raise ValueError(
                f"optim_wrapper[{name!r}]: {type(model).__name__} has no submodule of this name."
                f"{did_you_mean(name, parts)} Its parts are: {', '.join(dict(model.named_children())) or 'none'}."
            )
        try:
            wrappers[name] = build_one(modules[name], one)
        except (KeyError, TypeError, ValueError) as error:
            error.add_note(f"(raised for optim_wrapper[{name!r}])")
            raise
    built = OptimWrapperDict(**wrappers)
    check_several(model, built, may_share=all(isinstance(one, OptimWrapper) for one in cfg.values()))
    return built


def check_several(model: nn.Module, wrappers: OptimWrapperDict, may_share: bool = True) -> None:
    """Check that each parameter that is to be trained belongs to one wrapper; a warning names those of none.

    Args:
        model: The whole model.
        wrappers: Its wrappers.
        may_share: Only warn of parameters that belong to two wrappers, as somebody's own constructor may have it.

    Raises:
        ValueError: There are such parameters, and ``may_share`` is False.
    """
    owners: dict[int, list[str]] = {}
    for name, wrapper in wrappers.items():
        for group in wrapper.param_groups:
            for parameter in group["params"]:
                owners.setdefault(id(parameter), []).append(name)
    named = dict(model.named_parameters())
    shared = {name: owners[id(one)] for name, one in named.items() if len(owners.get(id(one), ())) > 1}
    if shared:
        first = next(iter(shared))
        told = (
            f"The optimizer wrappers {' and '.join(shared[first])} hold the same parameters: {_listed(list(shared))}."
            " Each of them would update these."
        )
        if not may_share:
            raise ValueError(f"{told} Name submodules that have no part in common.")
        print_log(told, "current", logging.WARNING)
    left = [name for name, one in named.items() if one.requires_grad and id(one) not in owners]
    if left:
        print_log(
            f"No optimizer wrapper holds {_listed(left)}: nothing updates them, though they are trainable. Name"
            " the submodule that they belong to in optim_wrapper, or freeze them, with requires_grad_(False).",
            "current",
            logging.WARNING,
        )


def _is_wrapper(value: Any) -> bool:
    return isinstance(value, OptimWrapper | Optimizer) or (isinstance(value, Mapping) and "optimizer" in value)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
