"""Parameters, FLOPs and activations of a model, by module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..utils import generator_states, set_generator_states
from .counting import ActivationAnalyzer, FlopAnalyzer
from .figures import as_text, short, table
from .parameters import indented, ordered, parameter_count, parameter_shapes
from .trial_run import device_of

__all__ = ["get_model_complexity_info"]


def get_model_complexity_info(
    model: nn.Module,
    input_shape: Sequence[Any] | None = None,
    inputs: Any = None,
    show_table: bool = True,
    show_arch: bool = True,
) -> dict[str, Any]:
    """Return how large a model is, and how much it computes for one input.

    One of ``input_shape`` and ``inputs`` is given. The model is called with these alone, a
    :class:`~mainspring.BaseModel` thus in its mode ``tensor``; :class:`~mainspring.analysis.FlopAnalyzer` says what is
    counted, and how the model is left as it was.

    Args:
        model: The model.
        input_shape: The shape of an input without the batch, ``(3, 224, 224)``; of several inputs, a tuple of shapes.
            The model is called with a batch of one, drawn from a normal distribution.
        inputs: What the model is called with: one tensor, a tuple of arguments, or a dict of arguments by name. All
            numbers but those of parameters are for the whole batch.
        show_table: Make the table.
        show_arch: Make the structure.

    Returns:
        =================  ==================================================================================
        key                holds
        =================  ==================================================================================
        ``params``         the numbers in parameters, trained or not
        ``flops``          multiply-adds, each counted once, as MMEngine and papers do
        ``torch_flops``    the same with multiplications and additions counted apart, as
                           ``torch.utils.flop_counter`` does: twice ``flops``
        ``activations``    elements that matrix products, convolutions and attention return
        ``<key>_str``      each of these as a person reads it: ``'4.1G'``
        ``out_table``      all of them by module and parameter, as text; empty without ``show_table``
        ``out_arch``       the structure of the model with these numbers; empty without ``show_arch``
        =================  ==================================================================================

    Raises:
        ValueError: Both or none of ``input_shape`` and ``inputs`` are given, or ``input_shape`` is no shape.

    >>> info = get_model_complexity_info(nn.Conv2d(3, 8, 3, padding=1), (3, 32, 32))
    >>> info["params_str"], info["flops_str"], info["torch_flops_str"], info["activations_str"]
    ('224', '221.184K', '442.368K', '8.192K')
    """
    if (input_shape is None) == (inputs is None):
        raise ValueError(
            "get_model_complexity_info needs either input_shape, such as (3, 224, 224), or inputs, what the model is"
            f" called with, but {'neither' if inputs is None else 'both'} of them is given."
        )
    if input_shape is not None:
        inputs = _drawn(model, input_shape)
    flops, activations = FlopAnalyzer(model, inputs), ActivationAnalyzer(model, inputs)
    parameters = parameter_count(model)
    totals = {
        "params": parameters[""],
        "flops": flops.total(),
        "torch_flops": 2 * flops.total(),
        "activations": activations.total(),
    }
    info: dict[str, Any] = {}
    for name, number in totals.items():
        info |= {name: number, f"{name}_str": short(number)}
    figures = _Figures(model, parameters, flops, activations)
    info["out_table"] = figures.table() if show_table else ""
    info["out_arch"] = figures.structure() if show_arch else ""
    return info


def _drawn(model: nn.Module, input_shape: Sequence[Any]) -> tuple[torch.Tensor, ...]:
    several = bool(input_shape) and all(_is_shape(shape) for shape in input_shape)
    if not several and not _is_shape(input_shape):
        raise ValueError(
            "input_shape must be the shape of one input without the batch, such as (3, 224, 224), or a tuple of such"
            f" shapes, but it is {input_shape!r}."
        )
    device = device_of(model)
    dtype = next((one.dtype for one in model.parameters() if one.is_floating_point()), torch.float32)
    states = generator_states(device)
    drawn = [
        torch.randn(1, *shape, device=device, dtype=dtype) for shape in (input_shape if several else [input_shape])
    ]
    set_generator_states(states, device)
    return tuple(drawn)


def _is_shape(given: Any) -> bool:
    return isinstance(given, (tuple, list)) and all(type(size) is int and size >= 0 for size in given) and bool(given)


class _Figures:
    """What is known of each module, as text."""

    def __init__(
        self, model: nn.Module, parameters: dict[str, int], flops: FlopAnalyzer, activations: ActivationAnalyzer
    ) -> None:
        self._model = model
        self._parameters = parameters
        self._flops = flops.by_module()
        self._activations = activations.by_module()
        self._uncalled = {name for name in flops.uncalled_modules() if not self._flops[name]}

    def table(self) -> str:
        """Return a row for each module and parameter; modules that are never called have none but their parameters."""
        shapes = parameter_shapes(self._model)
        shown = table("module", "class", "parameters", "multiply-adds", "FLOPs of torch", "activations")
        shown.columns[1].justify = "left"
        modules = dict(self._model.named_modules())
        for name in ("", *ordered(self._model)):
            if name in modules and (name not in self._uncalled or self._parameters[name]):
                numbers = self._numbers(name)
                shown.add_row(indented(name), type(modules[name]).__name__, *(short(number) for number in numbers))
            elif name in shapes:
                shown.add_row(indented(name), "", str(shapes[name]))
        return as_text(shown)

    def _numbers(self, name: str) -> list[int]:
        numbers = [self._parameters[name]]
        if name not in self._uncalled:
            numbers += [self._flops[name], 2 * self._flops[name], self._activations[name]]
        return numbers

    def structure(self) -> str:
        """Return the model as ``print(model)`` shows it, with the numbers of each module."""
        return "\n".join(self._lines(self._model, "", ""))

    def _lines(self, module: nn.Module, name: str, label: str) -> list[str]:
        if name not in self._flops:  # it stands there by its first name already
            return [f"{label}{type(module).__name__}(...)  # as above"]
        names = ("parameters", "multiply-adds", "FLOPs of torch", "activations")
        numbers = [f"{short(number)} {what}" for what, number in zip(names, self._numbers(name), strict=False)]
        note = "  # " + ", ".join(numbers) + ("" if len(numbers) > 1 else ", not called")
        inner: list[str] = []
        for key, child in module.named_children():
            inner += [f"  {line}" for line in self._lines(child, f"{name}.{key}" if name else key, f"({key}): ")]
        extra = module.extra_repr().splitlines()
        if not inner and len(extra) <= 1:
            return [f"{label}{type(module).__name__}({''.join(extra)}){note}"]
        return [f"{label}{type(module).__name__}({note}", *(f"  {line}" for line in extra), *inner, ")"]
