"""How many parameters a model has, and where."""

from __future__ import annotations

from collections import defaultdict

from torch import nn

from ..utils import check_type
from .figures import as_text, short, table

__all__ = ["parameter_count", "parameter_count_table"]


def parameter_count(model: nn.Module) -> defaultdict[str, int]:
    """Return how many numbers the parameters of a model hold, of each module and of each parameter.

    Args:
        model: The model. A parameter that several of its modules share counts in each of these, and once in all that
            hold them.

    Returns:
        By the names of modules and parameters; ``''`` is the model. Of a name that is not there, 0.

    >>> parameter_count(nn.Sequential(nn.Linear(3, 4), nn.ReLU()))[""]
    16
    """
    counts: defaultdict[str, int] = defaultdict(int)
    for name, module in model.named_modules():
        counts[name] = sum(parameter.numel() for parameter in module.parameters())
        for own, parameter in module.named_parameters(name, recurse=False):
            counts[own] = parameter.numel()
    return counts


def parameter_count_table(model: nn.Module, max_depth: int = 3) -> str:
    """Return a table of the parameters of a model, by module; with the shapes of the parameters themselves.

    Args:
        model: The model.
        max_depth: How many levels of modules and parameters are shown below the model; 0 shows the model alone.

    >>> print(parameter_count_table(nn.Sequential(nn.Linear(3, 4))))
     module       parameters
    ─────────────────────────
     (model)              16
       0                  16
         weight       (4, 3)
         bias           (4,)
    """
    check_type(max_depth, int, "max_depth")
    counts = parameter_count(model)
    shapes = parameter_shapes(model)
    shown = table("module", "parameters")
    for name in ("", *ordered(model)):
        if name.count(".") + bool(name) <= max_depth:
            shown.add_row(indented(name), str(shapes[name]) if name in shapes else short(counts[name]))
    return as_text(shown)


def parameter_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter; one that several modules share has several names."""
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters(remove_duplicate=False)}


def ordered(model: nn.Module) -> list[str]:
    """Return the names of all modules and parameters, each behind the module that has it."""
    found: list[str] = []
    for name, module in model.named_modules():
        if name:
            found.append(name)
        found += [own for own, _ in module.named_parameters(name, recurse=False)]
    return found


def indented(name: str) -> str:
    """Return the last part of a dotted name, moved to the right by the number of the others."""
    return f"{'  ' * (name.count('.') + 1)}{name.rpartition('.')[2]}" if name else "(model)"
