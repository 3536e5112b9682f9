"""Helpers for tests of programs that use this library."""

from __future__ import annotations

import runpy
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch import nn

from .utils import lazy_names

__all__ = [
    "assert_allclose",
    "assert_attrs_equal",
    "assert_dict_contains_subset",
    "assert_dict_has_keys",
    "assert_is_norm_layer",
    "assert_keys_equal",
    "assert_params_all_zeros",
    "check_python_script",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__)


def check_python_script(cmd: str) -> None:
    """Run a Python program in this process, as the command line would.

    Args:
        cmd: The program and its arguments, such as ``'tools/train.py config.py'``; ``python`` may stand before it.
    """
    arguments = shlex.split(cmd)
    if arguments[0] == "python":
        del arguments[0]
    with patch.object(sys, "argv", arguments):
        runpy.run_path(arguments[0], run_name="__main__")


def assert_allclose(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = True,
    msg: str | Callable[[str], str] | None = "",
) -> None:
    """Raise an ``AssertionError`` unless numbers are close; types of tensors, devices and containers may differ.

    Args:
        actual: A tensor, an array, or numbers in lists.
        expected: The same.
        rtol: The relative tolerance. Without both it is 1e-3, 1e-4 or 1e-5 for numbers of 16, 32 or 64 bits, and 0 for
            integers.
        atol: The absolute tolerance. Without both it is 1e-3, 1e-5 or 1e-8.
        equal_nan: Whether NaN is close to NaN.
        msg: The message of the error; by default it says where they differ.
    """
    one, other = torch.as_tensor(actual), torch.as_tensor(expected)
    if rtol is None and atol is None:
        rtol, atol = (max(pair) for pair in zip(_tolerances(one), _tolerances(other), strict=True))
    torch.testing.assert_close(
        one,
        other,
        rtol=rtol,
        atol=atol,
        equal_nan=equal_nan,
        check_device=False,
        check_dtype=False,
        check_stride=False,
        msg=msg or None,
    )


def _tolerances(tensor: torch.Tensor) -> tuple[float, float]:
    known = {torch.float16: (1e-3, 1e-3), torch.float32: (1e-4, 1e-5), torch.float64: (1e-5, 1e-8)}
    return known.get(tensor.dtype, (0.0, 0.0))


def assert_dict_contains_subset(dict_obj: Mapping[Any, Any], expected_subset: Mapping[Any, Any]) -> bool:
    """Return whether a dict has the items of another; arrays and tensors are equal where all their numbers are.

    >>> assert_dict_contains_subset({"a": 1, "b": torch.zeros(2)}, {"b": torch.zeros(2)})
    True
    """
    return all(key in dict_obj and _are_equal(dict_obj[key], value) for key, value in expected_subset.items())


def assert_attrs_equal(obj: Any, expected_attrs: Mapping[str, Any]) -> bool:
    """Return whether an object has attributes with these values.

    >>> assert_attrs_equal(nn.Linear(2, 3), {"in_features": 2, "out_features": 3})
    True
    """
    return all(hasattr(obj, name) and _are_equal(getattr(obj, name), value) for name, value in expected_attrs.items())


def assert_dict_has_keys(obj: Mapping[str, Any], expected_keys: Iterable[str]) -> bool:
    """Return whether a dict has these keys, and perhaps others."""
    return set(expected_keys) <= set(obj)


def assert_keys_equal(result_keys: Iterable[str], target_keys: Iterable[str]) -> bool:
    """Return whether these keys are those, in any order."""
    return set(result_keys) == set(target_keys)


def assert_is_norm_layer(module: Any) -> bool:
    """Return whether a module is a batch, group, instance or layer normalisation."""
    kinds = nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.LayerNorm
    return isinstance(module, kinds)


def assert_params_all_zeros(module: nn.Module) -> bool:
    """Return whether all parameters of a module are zero.

    >>> with torch.no_grad():
    ...     layer = nn.Linear(1, 1).requires_grad_(False)
    ...     assert_params_all_zeros(layer), assert_params_all_zeros(nn.ReLU())
    (False, True)
    """
    return not any(parameter.detach().any() for parameter in module.parameters())


def _are_equal(one: Any, other: Any) -> bool:
    if tuple(getattr(one, "shape", ())) != tuple(getattr(other, "shape", ())):
        return False
    equal = one == other
    return equal if isinstance(equal, bool) else bool(equal.all())
