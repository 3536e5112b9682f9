"""The initialisers that an ``init_cfg`` names: each a rule of :mod:`.init_functions` with its arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import WEIGHT_INITIALIZERS
from . import init_functions as functions
from .base_init import BaseInit, Layers

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "Caffe2XavierInit",
    "ConstantInit",
    "KaimingInit",
    "NormalInit",
    "TruncNormalInit",
    "UniformInit",
    "XavierInit",
]


@WEIGHT_INITIALIZERS.register_module(name="Constant")
class ConstantInit(BaseInit):
    """Fill the weights with ``val``; the keyword arguments are :class:`BaseInit`'s.

    >>> from torch import nn
    >>> linear = nn.Linear(1, 1)
    >>> ConstantInit(3.0, layer="Linear")(linear)
    >>> linear.weight.item()
    3.0
    """

    def __init__(self, val: float, *, bias: float = 0, bias_prob: float | None = None, layer: Layers = None) -> None:
        super().__init__(bias=bias, bias_prob=bias_prob, layer=layer)
        self._check_numbers(val=val)
        self.val = val

    def init_module(self, module: nn.Module) -> None:
        """See :func:`constant_init`."""
        functions.constant_init(module, self.val, self.bias)


@WEIGHT_INITIALIZERS.register_module(name="Xavier")
class XavierInit(BaseInit):
    """Draw the weights as :func:`xavier_init` does; the keyword arguments are :class:`BaseInit`'s."""

    def __init__(
        self,
        gain: float = 1,
        distribution: str = "normal",
        *,
        bias: float = 0,
        bias_prob: float | None = None,
        layer: Layers = None,
    ) -> None:
        super().__init__(bias=bias, bias_prob=bias_prob, layer=layer)
        self._check_numbers(gain=gain)
        functions.check_choice(distribution, functions.DISTRIBUTIONS, f"{type(self).__name__}: distribution")
        self.gain = gain
        self.distribution = distribution

    def init_module(self, module: nn.Module) -> None:
        """See :func:`xavier_init`."""
        functions.xavier_init(module, self.gain, self.bias, self.distribution)


@WEIGHT_INITIALIZERS.register_module(name="Normal")
class NormalInit(BaseInit):
    """Draw the weights from a normal distribution; the keyword arguments are :class:`BaseInit`'s."""

    def __init__(
        self,
        mean: float = 0,
        std: float = 1,
        *,
        bias: float = 0,
        bias_prob: float | None = None,
        layer: Layers = None,
    ) -> None:
        super().__init__(bias=bias, bias_prob=bias_prob, layer=layer)
        self._check_numbers(mean=mean, std=std)
        self.mean = mean
        self.std = std

    def init_module(self, module: nn.Module) -> None:
        """See :func:`normal_init`."""
        functions.normal_init(module, self.mean, self.std, self.bias)


@WEIGHT_INITIALIZERS.register_module(name="TruncNormal")
class TruncNormalInit(BaseInit):
    """Draw the weights as :func:`trunc_normal_` does; the keyword arguments are :class:`BaseInit`'s."""

    def __init__(
        self,
        mean: float = 0,
        std: float = 1,
        a: float = -2,
        b: float = 2,
        *,
        bias: float = 0,
        bias_prob: float | None = None,
        layer: Layers = None,
    ) -> None:
        super().__init__(bias=bias, bias_prob=bias_prob, layer=layer)
        self._check_numbers(mean=mean, std=std, a=a, b=b)
        self.mean = mean
        self.std = std
        self.a = a
        self.b = b

    def init_module(self, module: nn.Module) -> None:
        """See :func:`trunc_normal_init`."""
        functions.trunc_normal_init(module, self.mean, self.std, self.a, self.b, self.bias)


@WEIGHT_INITIALIZERS.register_module(name="Uniform")
class UniformInit(BaseInit):
    """Draw the weights evenly from ``a`` to ``b``; the keyword arguments are :class:`BaseInit`'s."""

    def __init__(
        self,
        a: float = 0,
        b: float = 1,
        *,
        bias: float = 0,
        bias_prob: float | None = None,
        layer: Layers = None,
    ) -> None:
        super().__init__(bias=bias, bias_prob=bias_prob, layer=layer)
        self._check_numbers(a=a, b=b)
        self.a = a
        self.b = b

    def init_module(self, module: nn.Module) -> None:
        """See :func:`uniform_init`."""
        functions.uniform_init(module, self.a, self.b, self.bias)


@WEIGHT_INITIALIZERS.register_module(name="Kaiming")
class KaimingInit(BaseInit):
    """Draw the weights as :func:`kaiming_init` does; the keyword arguments are :class:`BaseInit`'s."""

    def __init__(
        self,
        a: float = 0,
        mode: str = "fan_out",
        nonlinearity: str = "relu",
        distribution: str = "normal",
        *,
        bias: float = 0,
        bias_prob: float | None = None,
        layer: Layers = None,
    ) -> None:
        super().__init__(bias=bias, bias_prob=bias_prob, layer=layer)
        self._check_numbers(a=a)
        functions.check_choice(mode, functions.FAN_MODES, f"{type(self).__name__}: mode")
        functions.check_choice(distribution, functions.DISTRIBUTIONS, f"{type(self).__name__}: distribution")
        self.a = a
        self.mode = mode
        self.nonlinearity = nonlinearity
        self.distribution = distribution

    def init_module(self, module: nn.Module) -> None:
        """See :func:`kaiming_init`."""
        functions.kaiming_init(module, self.a, self.mode, self.nonlinearity, self.bias, self.distribution)


@WEIGHT_INITIALIZERS.register_module(name="Caffe2Xavier")
class Caffe2XavierInit(BaseInit):
    """Draw the weights as :func:`caffe2_xavier_init` does; the arguments are :class:`BaseInit`'s."""

    def init_module(self, module: nn.Module) -> None:
        """See :func:`caffe2_xavier_init`."""
        functions.caffe2_xavier_init(module, self.bias)
