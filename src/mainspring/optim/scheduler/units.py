"""What a schedule counts: epochs, iterations, or updates of its optimizer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .arguments import whole_number

__all__ = ["accumulative_counts", "check_unit", "chosen_unit", "in_updates", "times"]

_UNITS = {"epoch": "epochs", "iter": "iterations", "update": "updates"}
_HOW = {"epoch": "by_epoch=True", "iter": "by_epoch=False", "update": "unit='update'"}


def chosen_unit(owner: str, unit: str | None, by_epoch: bool) -> str:
    """Return what a schedule counts.

    Args:
        owner: The schedule's class, for messages.
        unit: What was said by name, or None.
        by_epoch: What holds otherwise.

    Raises:
        ValueError: There is no such unit, or ``by_epoch`` says otherwise.
    """
    if unit is None:
        return "epoch" if by_epoch else "iter"
    if unit not in _UNITS:
        raise ValueError(f"{owner}.unit must be {', '.join(map(repr, _UNITS))} or None, but it is {unit!r}.")
    if unit == "epoch" and not by_epoch:
        raise ValueError(f"{owner}.unit is 'epoch', but by_epoch is False. Leave out one of the two.")
    return unit


def check_unit(owner: str, state: Mapping[str, Any], unit: str) -> None:
    """Raise a ``ValueError`` if a state counts something else than a schedule does."""
    known = {True: "epoch", False: "iter", None: unit}
    saved = state.get("unit", known[state.get("by_epoch")])
    if saved != unit:
        raise ValueError(
            f"The state counts {_UNITS.get(saved, saved)}, but this {owner} counts {_UNITS[unit]}, so its progress"
            f" means nothing here. Set {_HOW.get(saved, 'the unit of the state')}, or do not load this state."
        )


def accumulative_counts(optimizer: Any) -> int:
    """Return how many iterations make one update of an optimizer, which is 1 where it is not in a wrapper."""
    counts = getattr(optimizer, "accumulative_counts", 1)  # a wrapper may be anybody's
    return whole_number("optim_wrapper.accumulative_counts", counts, low=1)


def in_updates(iterations: Any, group: int) -> Any:
    """Return how many updates so many iterations make, the last one perhaps of fewer; of a list, of each."""
    if isinstance(iterations, (list, tuple)):
        return [in_updates(item, group) for item in iterations]
    return None if iterations is None else math.ceil(iterations / group)


def times(setting: Any, length: int) -> Any:
    """Return a setting, or each of a list, that counts epochs of so many iterations, in iterations."""
    if isinstance(setting, (list, tuple)):
        return [item * length for item in setting]
    return None if setting is None else setting * length
