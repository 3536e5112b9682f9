"""The base of the initialisers that know layers: which modules they act on, and what they say of it."""

from __future__ import annotations

import logging
import numbers
from collections.abc import Sequence
from typing import Any

from torch import nn

from ..logging import print_log
from ..utils import did_you_mean
from .init_functions import bias_init_with_prob
from .init_record import update_init_info

__all__ = ["BaseInit", "Layers"]

Layers = str | Sequence[str] | None


class BaseInit:
    """Initialise the modules of some classes; a subclass implements :meth:`init_module`.

    A module is meant by the name of its class or of a direct base class: ``layer='_BatchNorm'`` means all
    kinds of batch normalisation. For the part that an ``override`` names, ``wholemodule`` is set: then every
    module in it is meant.

    Args:
        bias: Fills the bias.
        bias_prob: Instead of ``bias``: fill it with the value for which a sigmoid gives this probability.
        layer: Names of the classes to initialise. Without it only an ``override`` initialises anything.

    Raises:
        TypeError: ``bias`` is no number, ``bias_prob`` no float, or ``layer`` no string or list of strings.
        ValueError: ``bias_prob`` does not lie between 0 and 1.
    """

    def __init__(
        self,
        *,
        bias: float = 0,
        bias_prob: float | None = None,
        layer: Layers = None,
    ) -> None:
        self._check_numbers(bias=bias)
        if bias_prob is not None and not isinstance(bias_prob, float):
            raise TypeError(
                f"{type(self).__name__}: bias_prob must be a float between 0 and 1, but it is {bias_prob!r}"
                f" ({type(bias_prob).__name__})."
            )
        layers = [] if layer is None else [layer] if isinstance(layer, str) else layer
        if not isinstance(layers, (list, tuple)) or not all(isinstance(name, str) for name in layers):
            raise TypeError(
                f"{type(self).__name__}: layer must be the name of a class, such as 'Conv2d', or a list of"
                f" names, but it is {layer!r} ({type(layer).__name__})."
            )
        self.wholemodule = False
        self.layer = list(layers)
        self.bias = bias if bias_prob is None else bias_init_with_prob(bias_prob)

    def init_module(self, module: nn.Module) -> None:
        """Initialise the parameters of one module, not of those in it."""
        raise NotImplementedError(f"{type(self).__name__} must implement init_module(self, module).")

    def __call__(self, module: nn.Module) -> None:
        """Initialise the modules that ``layer`` names, or all of them where ``wholemodule`` is set."""
        present: set[str] = set()
        reached: set[str] = set()
        for name, part in module.named_modules():
            names = {type(part).__name__, *(base.__name__ for base in type(part).__bases__)}
            present |= names
            if self.wholemodule or not names.isdisjoint(self.layer):
                reached |= names
                try:
                    self.init_module(part)
                except Exception as error:
                    error.add_note(
                        f"While {self} initialised {name or 'the module'} ({type(part).__name__}) in"
                        f" {type(module).__name__}."
                    )
                    raise
        if not self.wholemodule:
            self._warn_of_unknown_layers(module, present, reached)
        update_init_info(module, str(self))

    def __repr__(self) -> str:
        options = {k: v for k, v in vars(self).items() if k not in ("layer", "wholemodule")}
        return f"{type(self).__name__}: {', '.join(f'{k}={v}' for k, v in options.items())}"

    def _check_numbers(self, **values: Any) -> None:
        for name, value in values.items():
            if not isinstance(value, numbers.Real):
                raise TypeError(
                    f"{type(self).__name__}: {name} must be a number, but it is {value!r} ({type(value).__name__})."
                )

    def _warn_of_unknown_layers(self, module: nn.Module, present: set[str], reached: set[str]) -> None:
        unknown = [name for name in self.layer if name not in present]
        if reached:
            # A list such as ['_BatchNorm', 'GroupNorm'] serves models that have one of them: only a name that
            # no class bears at all is a mistake then.
            classes = _names_of_module_classes() if unknown else set()
            unknown = [name for name in unknown if name not in classes]
        if unknown:
            hints = {did_you_mean(name, present) for name in unknown}
            print_log(
                f"{self}: layer={self.layer} names {', '.join(map(repr, unknown))}, but"
                f" {type(module).__name__} holds no such module.{''.join(sorted(hints))} The classes in it"
                f" are: {', '.join(sorted(present))}.",
                logger="current",
                level=logging.WARNING,
            )


def _names_of_module_classes() -> set[str]:
    names: set[str] = set()
    waiting: list[type[nn.Module]] = [nn.Module]
    while waiting:
        kind = waiting.pop()
        names.add(kind.__name__)
        waiting.extend(kind.__subclasses__())
    return names
