"""What a model computes for given inputs: counted by torch while it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from ..utils import check_type, did_you_mean
from .trial_run import Others, left_as_it_was, noted_calls, single_operations

__all__ = ["ActivationAnalyzer", "Analyzer", "FlopAnalyzer", "activation_count", "flop_count"]

Formulas = Mapping[Any, Callable[..., int]]


class Analyzer(ABC):
    """Counts something while a model runs once, by module and by operator; the base of the analyzers here.

    The model runs in evaluation mode and without gradients, when a number is first asked for. It is left as it was, and
    so are the global generators. Kernels that do several operations at once, as those for attention and recurrent
    layers, are replaced by the single operations meanwhile, so that each is counted, and every device counts the same.

    Modules are named as in ``model.named_modules()``, the model itself ``''``. What is computed in a module that is
    never called, because another one calls its ``forward`` or uses its weights, counts in that other one.

    Args:
        model: The model.
        inputs: What it is called with: one tensor, a tuple or list of arguments, or a dict of arguments by name.
        supported_ops: How further operators are counted, by operator, such as ``torch.ops.aten.gelu``. Each is called
            with the operator's arguments, shapes in place of tensors, and the shape of the result as ``out_shape``.
    """

    def __init__(self, model: nn.Module, inputs: Any, supported_ops: Formulas | None = None) -> None:
        check_type(model, nn.Module, f"{type(self).__name__}: model")
        check_type(supported_ops, Mapping | None, f"{type(self).__name__}: supported_ops")
        self.model = model
        self.inputs = inputs
        self._formulas = self._counted_by(dict(supported_ops or {}))
        self._counts: dict[str, Counter[str]] | None = None
        self._others: dict[str, Counter[str]] = {}
        self._called: set[str] = set()

    @abstractmethod
    def _counted_by(self, given: dict[Any, Callable[..., int]]) -> dict[Any, Callable[..., int]]:
        """Return the formulas for torch's counter, which has its own for what is not among them."""

    def total(self, module_name: str = "") -> int:
        """Return the count of a module, that of the whole model by default."""
        return self.by_operator(module_name).total()

    def by_module(self) -> Counter[str]:
        """Return the count of each module, what it calls included."""
        return Counter({name: counts.total() for name, counts in self.by_module_and_operator().items()})

    def by_operator(self, module_name: str = "") -> Counter[str]:
        """Return the count of each operator within a module, by the operator's name in torch.

        Raises:
            KeyError: The model has no module of that name.
        """
        return self._of(self.by_module_and_operator(), module_name)

    def by_module_and_operator(self) -> dict[str, Counter[str]]:
        """Return the counts of each module by operator."""
        if self._counts is None:
            self._counts = self._run()
        return self._counts

    def unsupported_ops(self, module_name: str = "") -> Counter[str]:
        """Return how often operators ran that are not counted, most of which work on single elements."""
        self.by_module_and_operator()
        return self._of(self._others, module_name)

    def uncalled_modules(self) -> set[str]:
        """Return the names of the modules that were not called."""
        return set(self.by_module_and_operator()) - self._called

    def _of(self, counts: dict[str, Counter[str]], module_name: str) -> Counter[str]:
        if module_name not in counts:
            raise KeyError(
                f"{type(self.model).__name__} has no module {module_name!r}.{did_you_mean(module_name, counts)} The"
                " names are those of model.named_modules()."
            )
        return counts[module_name]

    def _run(self) -> dict[str, Counter[str]]:
        args, kwargs = _arguments(self.inputs)
        counter = FlopCounterMode(display=False, custom_mapping=self._formulas)
        others = Others(counter)
        called: set[str] = set()
        with ExitStack() as stack:
            for context in (
                left_as_it_was(self.model),
                single_operations(),
                noted_calls(self.model, called),
                others,
                counter,
            ):
                stack.enter_context(context)
            try:
                self.model(*args, **kwargs)
            except Exception as error:
                error.add_note(f"(raised while {type(self).__name__} called {type(self.model).__name__} to count)")
                raise
        self._called = called
        self._others = self._by_module(others.counts)
        return self._by_module(counter.get_flop_counts())

    def _by_module(self, found: Mapping[str, Mapping[Any, int]]) -> dict[str, Counter[str]]:
        """Return counts by the names of modules, from those by the names that torch's counter gives them."""
        # It calls the model by its class. A module with several names has one of them there.
        names: defaultdict[int, list[str]] = defaultdict(list)
        for name, module in self.model.named_modules(remove_duplicate=False):
            names[id(module)].append(f"{type(self.model).__name__}.{name}" if name else "Global")
        counts: dict[str, Counter[str]] = {}
        for name, module in self.model.named_modules():
            counts[name] = Counter()
            for other in names[id(module)]:
                counts[name].update({str(op.__name__): number for op, number in found.get(other, {}).items()})
        return counts


class FlopAnalyzer(Analyzer):
    """Counts the multiply-adds of a model: one multiplication with the addition that follows it is one.

    This is what papers and MMEngine call FLOPs. ``torch.utils.flop_counter``, with whose formulas it is counted, and
    makers of hardware count the two apart: their number is twice as large.

    Matrix products, convolutions and attention are counted, all else is not: normalisations, activation functions and
    additions are a few percent of most models.

    Args:
        model: As for :class:`Analyzer`.
        inputs: As for :class:`Analyzer`.
        supported_ops: As for :class:`Analyzer`; they return multiply-adds.

    >>> FlopAnalyzer(nn.Linear(3, 4), torch.zeros(2, 3)).total()
    24
    """

    def _counted_by(self, given: dict[Any, Callable[..., int]]) -> dict[Any, Callable[..., int]]:
        return {op: _doubled(formula) for op, formula in given.items()}

    def _run(self) -> dict[str, Counter[str]]:
        halves = {}
        for name, counts in super()._run().items():
            halves[name] = Counter({op: number // 2 for op, number in counts.items()})
        return halves


class ActivationAnalyzer(Analyzer):
    """Counts the activations of a model: the elements of what its matrix products, convolutions and attention return.

    They tell more of its time and memory on accelerators than FLOPs do: Radosavovic et al., "Designing network design
    spaces", CVPR 2020.

    Args:
        model: As for :class:`Analyzer`.
        inputs: As for :class:`Analyzer`.
        supported_ops: As for :class:`Analyzer`; they return numbers of elements.

    >>> ActivationAnalyzer(nn.Linear(3, 4), torch.zeros(2, 3)).total()
    8
    """

    def _counted_by(self, given: dict[Any, Callable[..., int]]) -> dict[Any, Callable[..., int]]:
        return {**dict.fromkeys(flop_registry, _elements), **given}


def flop_count(
    model: nn.Module, inputs: Any, supported_ops: Formulas | None = None
) -> tuple[defaultdict[str, float], Counter[str]]:
    """Return the multiply-adds of a model by operator, in units of 10^9, and how often other operators ran.

    Args:
        model: As for :class:`FlopAnalyzer`.
        inputs: As for :class:`FlopAnalyzer`.
        supported_ops: As for :class:`FlopAnalyzer`.

    >>> flops, others = flop_count(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.zeros(2, 3))
    >>> dict(flops), dict(others)
    ({'addmm': 2.4e-08}, {'relu': 1})
    """
    return _scaled(FlopAnalyzer(model, inputs, supported_ops), 1e9)


def activation_count(
    model: nn.Module, inputs: Any, supported_ops: Formulas | None = None
) -> tuple[defaultdict[str, float], Counter[str]]:
    """Return the activations of a model by operator, in units of 10^6, and how often other operators ran.

    Args:
        model: As for :class:`ActivationAnalyzer`.
        inputs: As for :class:`ActivationAnalyzer`.
        supported_ops: As for :class:`ActivationAnalyzer`.
    """
    return _scaled(ActivationAnalyzer(model, inputs, supported_ops), 1e6)


def _scaled(analyzer: Analyzer, unit: float) -> tuple[defaultdict[str, float], Counter[str]]:
    counts: defaultdict[str, float] = defaultdict(float)
    counts.update({op: number / unit for op, number in analyzer.by_operator().items()})
    return counts, analyzer.unsupported_ops()


def _arguments(inputs: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), inputs
    return (inputs, {}) if isinstance(inputs, (tuple, list)) else ((inputs,), {})


def _elements(*args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Return how many elements a result has; of several, the first: the others are kept for the backward pass."""
    shape = out_shape if isinstance(out_shape, torch.Size) else out_shape[0]
    return shape.numel()


def _doubled(formula: Callable[..., int]) -> Callable[..., int]:
    return lambda *args, **kwargs: 2 * formula(*args, **kwargs)
