"""Schedulers that only know how to go on from their last value."""

from __future__ import annotations

import copy
import numbers
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .chain import Chain
    from .param_scheduler import _ParamScheduler

__all__ = ["Recursion"]


class Recursion:
    """What is remembered of a scheduler whose class defines ``_get_value()``.

    Such a scheduler reads the groups and returns their next values, so its effect follows from no formula.
    What entered at its last step and what left are remembered: as long as the same enters, exactly the same
    leaves; if something else does (an earlier scheduler went on, or the base value was changed), the effect
    is the factor between the two, or where 0 entered, the value that left.

    Attributes that its steps changed are part of its state; those that they did not are settings.

    Args:
        scheduler: It has its settings, and has made no step.
        settings: The attributes that its class set before it called the base class's constructor.
    """

    def __init__(self, scheduler: _ParamScheduler, settings: dict[str, Any]) -> None:
        self._scheduler = scheduler
        self._settings = {name: copy.deepcopy(value) for name, value in settings.items() if _is_plain(value)}
        self._of_base_class = frozenset(vars(scheduler)) - frozenset(settings)
        self._entered: list[float] = []
        self._left: list[float] = []

    def output(self, entering: float, index: int) -> float:
        """Return what leaves when ``entering`` enters for a group."""
        if index >= len(self._left):  # no step yet, or a group added since
            return entering
        entered, left = self._entered[index], self._left[index]
        if entering == entered:
            return left
        if entered == 0:
            return left or entering
        return entering * (left / entered)

    def advance(self, chain: Chain) -> None:
        """Let the scheduler compute its next values, from groups that hold its present ones."""
        entering = chain.entering(self._scheduler)
        present = [self.output(value, index) for index, value in enumerate(entering)]
        values = chain.while_showing(present, self._scheduler._get_value)
        self._left = _checked(values, len(entering), type(self._scheduler).__name__)
        self._entered = entering

    def replay(self, chain: Chain, last_step: int) -> None:
        """Bring the scheduler to a step, by making the steps that it has not made yet."""
        if self._scheduler.last_step > last_step:  # it is further on: all of them, once more
            self._entered, self._left = [], []
            self._scheduler.last_step = -1
        while self._scheduler.last_step < last_step:
            self._scheduler.last_step += 1
            self.advance(chain)

    def state_dict(self) -> dict[str, Any]:
        """Return the remembered values, and the scheduler's attributes that its steps changed or made."""
        changed = {
            name: copy.deepcopy(value)
            for name, value in vars(self._scheduler).items()
            if name not in self._of_base_class and name != "_recursion" and _is_plain(value)
            if name not in self._settings or self._settings[name] != value
        }
        return {"entered": list(self._entered), "left": list(self._left), "attributes": changed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`state_dict` returned."""
        self._entered, self._left = list(state["entered"]), list(state["left"])
        # The first step was made at construction; what the state does not name was then as its setting is.
        for name, value in {**self._settings, **state["attributes"]}.items():
            setattr(self._scheduler, name, copy.deepcopy(value))


def _checked(values: Any, count: int, owner: str) -> list[float]:
    if not isinstance(values, (list, tuple)):
        raise TypeError(
            f"{owner}._get_value() must return a list with one number for each parameter group, but it"
            f" returned {values!r} ({type(values).__name__})."
        )
    if len(values) != count:
        raise ValueError(
            f"{owner}._get_value() must return one number for each of the {count} parameter groups, but it"
            f" returned {len(values)}: {values!r}."
        )
    return [float(value) for value in values]


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (str, numbers.Number))
