"""Modules that know how their weights are to be initialised."""

from __future__ import annotations

import copy
import logging
from abc import ABCMeta
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from ..logging import print_log
from .init_cfg import InitCfg, initialize, split_pretrained
from .init_record import recording, update_init_info

__all__ = ["BaseModule", "ModuleDict", "ModuleList", "Sequential"]


class BaseModule(nn.Module, metaclass=ABCMeta):
    """A module whose weights are initialised by config, when :meth:`init_weights` is called.

    Args:
        init_cfg: What :func:`initialize` takes: a dict with ``type``, and ``layer`` or ``override``, or a
            list of dicts. It is copied.

    >>> class Net(BaseModule):
    ...     def __init__(self):
    ...         super().__init__(init_cfg=dict(type="Constant", layer="Linear", val=1, bias=2))
    ...         self.linear = nn.Linear(1, 1)
    >>> net = Net()
    >>> net.init_weights()
    >>> net.linear.weight.item(), net.linear.bias.item()
    (1.0, 2.0)
    """

    def __init__(self, init_cfg: InitCfg | None = None) -> None:
        super().__init__()
        self._is_init = False
        self.init_cfg = copy.deepcopy(init_cfg)

    @property
    def is_init(self) -> bool:
        """Whether the weights were initialised; set it to True to make :meth:`init_weights` skip them."""
        return self._is_init

    @is_init.setter
    def is_init(self, value: bool) -> None:
        self._is_init = value

    def init_weights(self) -> None:
        """Initialise the weights of this module and of those in it, once; a second call only warns.

        The order: the initialisers of this module's ``init_cfg``; then ``init_weights()`` of each child that
        has such a method, so that a child's config counts more than its parent's; last this module's
        ``Pretrained``, so that nothing overwrites it. A child whose ``is_init`` is true is passed over.

        The outermost call writes to the log file what initialised each parameter.
        """
        if self._is_init:
            print_log(
                f"init_weights of {type(self).__name__} was called again. The weights stay as they are; to"
                " initialise them anew, set is_init to False first.",
                logger="current",
                level=logging.WARNING,
            )
            return
        drawn, loaded = split_pretrained(self.init_cfg or [])
        with recording(self):
            initialize(self, drawn)
            for name, child in self.named_children():
                _init_child(name, child)
            initialize(self, loaded)
        self._is_init = True

    def __repr__(self) -> str:
        text = super().__repr__()
        return f"{text}\ninit_cfg={self.init_cfg}" if self.init_cfg else text


def _init_child(name: str, child: nn.Module) -> None:
    # Any module may have the method, one of another library too.
    init_weights = getattr(child, "init_weights", None)
    if init_weights is None:
        _warn_of_unreached(name, child)
    elif not getattr(child, "is_init", False):
        init_weights()
        update_init_info(child, f"init_weights of {type(child).__name__}")


def _warn_of_unreached(name: str, child: nn.Module) -> None:
    """Name the modules in a plain module that would have to be initialised: no call reaches them there."""
    unreached = [
        f"{name}.{path} ({type(module).__name__})"
        for path, module in child.named_modules()
        if isinstance(module, BaseModule)
        and not module.is_init
        and (module.init_cfg or type(module).init_weights is not BaseModule.init_weights)
    ]
    if unreached:
        print_log(
            f"{name!r} is a {type(child).__name__}, which has no init_weights; so that of"
            f" {', '.join(unreached)} is not called. Use Sequential, ModuleList or ModuleDict of"
            " mainspring.model, or call it yourself.",
            logger="current",
            level=logging.WARNING,
        )


class Sequential(BaseModule, nn.Sequential):
    """``torch.nn.Sequential`` that passes ``init_weights`` on to its modules.

    Args:
        args: As for ``torch.nn.Sequential``.
        init_cfg: See :class:`BaseModule`.
    """

    def __init__(self, *args: Any, init_cfg: InitCfg | None = None) -> None:
        super().__init__(init_cfg)
        named = args[0] if len(args) == 1 and isinstance(args[0], Mapping) else dict(enumerate(args))
        for name, module in named.items():
            self.add_module(str(name), module)


class ModuleList(BaseModule, nn.ModuleList):
    """``torch.nn.ModuleList`` that passes ``init_weights`` on to its modules.

    Args:
        modules: As for ``torch.nn.ModuleList``.
        init_cfg: See :class:`BaseModule`.
    """

    def __init__(self, modules: Iterable[nn.Module] | None = None, init_cfg: InitCfg | None = None) -> None:
        super().__init__(init_cfg)
        if modules is not None:
            self.extend(modules)


class ModuleDict(BaseModule, nn.ModuleDict):
    """``torch.nn.ModuleDict`` that passes ``init_weights`` on to its modules.

    Args:
        modules: As for ``torch.nn.ModuleDict``.
        init_cfg: See :class:`BaseModule`.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module] | Iterable[tuple[str, nn.Module]] | None = None,
        init_cfg: InitCfg | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if modules is not None:
            self.update(modules)  # type: ignore[arg-type]
