"""Functions that initialise one module: its parameter ``weight`` by a rule, its ``bias`` by a constant.

Where a module has no such parameter, nothing happens. Random values come from torch's global generators, so
that a seed fixes them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn

from ..utils import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

__all__ = [
    "bias_init_with_prob",
    "caffe2_xavier_init",
    "check_choice",
    "constant_init",
    "kaiming_init",
    "normal_init",
    "trunc_normal_",
    "trunc_normal_init",
    "uniform_init",
    "xavier_init",
]

DISTRIBUTIONS = ("normal", "uniform")
FAN_MODES = ("fan_in", "fan_out")


def check_choice(value: str, choices: tuple[str, ...], name: str) -> None:
    """Raise a ``ValueError`` that begins with ``name`` unless ``value`` is one of the choices."""
    if value not in choices:
        raise ValueError(
            f"{name} must be {' or '.join(map(repr, choices))}, but it is {value!r}.{did_you_mean(str(value), choices)}"
        )


def _fill(module: nn.Module, init_weight: Callable[[nn.Parameter], object], bias: float) -> None:
    # Parameters only: a buffer of this name, such as a loss's class weights, means something else.
    for name, init in (("weight", init_weight), ("bias", lambda p: nn.init.constant_(p, bias))):
        parameter = getattr(module, name, None)
        if isinstance(parameter, nn.Parameter):
            init(parameter)


def constant_init(module: nn.Module, val: float, bias: float = 0) -> None:
    """Fill the weight with ``val`` and the bias with ``bias``.

    >>> linear = nn.Linear(1, 1)
    >>> constant_init(linear, 2.0, bias=0.5)
    >>> linear.weight.item(), linear.bias.item()
    (2.0, 0.5)
    """
    _fill(module, lambda weight: nn.init.constant_(weight, val), bias)


def xavier_init(module: nn.Module, gain: float = 1, bias: float = 0, distribution: str = "normal") -> None:
    """Draw the weight so that variances stay alike forward and backward (Glorot and Bengio, AISTATS 2010).

    Args:
        module: Its weight has two dimensions or more.
        gain: Factor of the standard deviation.
        bias: Fills the bias.
        distribution: ``'normal'`` or ``'uniform'``.
    """
    check_choice(distribution, DISTRIBUTIONS, "distribution")
    draw = nn.init.xavier_uniform_ if distribution == "uniform" else nn.init.xavier_normal_
    _fill(module, lambda weight: draw(weight, gain=gain), bias)


def normal_init(module: nn.Module, mean: float = 0, std: float = 1, bias: float = 0) -> None:
    """Draw the weight from the normal distribution of this mean and standard deviation."""
    _fill(module, lambda weight: nn.init.normal_(weight, mean, std), bias)


def trunc_normal_init(
    module: nn.Module, mean: float = 0, std: float = 1, a: float = -2, b: float = 2, bias: float = 0
) -> None:
    """Draw the weight from a truncated normal distribution; see :func:`trunc_normal_`."""
    _fill(module, lambda weight: trunc_normal_(weight, mean, std, a, b), bias)


def uniform_init(module: nn.Module, a: float = 0, b: float = 1, bias: float = 0) -> None:
    """Draw the weight evenly from ``a`` to ``b``."""
    _fill(module, lambda weight: nn.init.uniform_(weight, a, b), bias)


def kaiming_init(
    module: nn.Module,
    a: float = 0,
    mode: str = "fan_out",
    nonlinearity: str = "relu",
    bias: float = 0,
    distribution: str = "normal",
) -> None:
    """Draw the weight so that variances stay alike through rectifiers (He et al., ICCV 2015).

    Args:
        module: Its weight has two dimensions or more.
        a: Negative slope of the rectifier behind the module, where ``nonlinearity`` is ``'leaky_relu'``.
        mode: ``'fan_out'`` keeps the variance of gradients, ``'fan_in'`` that of activations.
        nonlinearity: As for ``torch.nn.init.calculate_gain``.
        bias: Fills the bias.
        distribution: ``'normal'`` or ``'uniform'``.
    """
    check_choice(distribution, DISTRIBUTIONS, "distribution")
    check_choice(mode, FAN_MODES, "mode")
    draw = nn.init.kaiming_uniform_ if distribution == "uniform" else nn.init.kaiming_normal_
    _fill(module, lambda weight: draw(weight, a, mode, nonlinearity), bias)  # type: ignore[arg-type]


def caffe2_xavier_init(module: nn.Module, bias: float = 0) -> None:
    """Draw the weight as Caffe2's ``XavierFill`` does: evenly within plus and minus ``sqrt(3 / fan_in)``."""
    kaiming_init(module, 1, "fan_in", "leaky_relu", bias, "uniform")


def bias_init_with_prob(prior_prob: float) -> float:
    """Return the bias with which a sigmoid answers ``prior_prob`` at first (Lin et al., ICCV 2017).

    Raises:
        ValueError: It does not lie between 0 and 1.

    >>> bias_init_with_prob(0.5) == 0
    True
    """
    if not 0 < prior_prob < 1:
        raise ValueError(f"A prior probability lies between 0 and 1, both excluded, but it is {prior_prob!r}.")
    return -math.log((1 - prior_prob) / prior_prob)


def trunc_normal_(
    tensor: torch.Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> torch.Tensor:
    """Fill a tensor from the normal distribution restricted to the values from ``a`` to ``b``.

    Args:
        tensor: Filled in place.
        mean: Mean before the restriction.
        std: Standard deviation before the restriction; positive.
        a: The smallest value; a value, not a number of standard deviations.
        b: The largest value.

    Returns:
        ``tensor``.

    Raises:
        ValueError: ``std`` is not positive, or ``a`` is not below ``b``.
    """
    if not std > 0:
        raise ValueError(f"std must be positive, but it is {std!r}.")
    if not a < b:
        raise ValueError(f"The cut-off a must lie below b, but a={a!r} and b={b!r}.")
    return nn.init.trunc_normal_(tensor, mean, std, a, b)
