"""Where the schedules of one parameter meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

from ...utils import did_you_mean
from .arguments import number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .param_scheduler import _ParamScheduler

__all__ = ["Chain", "HasParamGroups", "chain_of", "scale_parameter"]

T = TypeVar("T")


class HasParamGroups(Protocol):
    """An optimizer, or a wrapper around one."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups, as :class:`torch.optim.Optimizer` has them."""


class Chain:
    """The schedulers of one parameter of one optimizer, in the order in which they were made.

    The value of a group is its base value, sent through the schedulers one after the other. So each of them
    is a formula that needs no history, and those that overlap multiply.

    Args:
        optimizer: Whose groups are written to. Their dicts are looked up each time, since loading a state
            replaces them.
        param_name: The key in the groups. The momentum of a group with ``betas`` is the first of these,
            unless it has a momentum of its own; it is kept under ``momentum`` too, where a scheduler that
            reads the groups looks for it.
    """

    def __init__(self, optimizer: HasParamGroups, param_name: str) -> None:
        self.optimizer = optimizer
        self.param_name = param_name
        self.schedulers: list[_ParamScheduler] = []
        self.base_values: list[float] = []
        self._in_betas: list[bool] = []  # of each group, whether it is the first of its betas
        self.groups()
        self.values: list[float] = list(self.base_values)
        self._alike = True

    def add(self, scheduler: _ParamScheduler, resumes: bool) -> None:
        """Put a scheduler at the end, or, if it resumes, in the place of the one that it goes on from."""
        schedulers = list(self.schedulers)
        place = len(schedulers)
        for index, old in enumerate(schedulers):
            if resumes and _kind(old) == _kind(scheduler):
                place = index
        schedulers[place : place + 1] = [scheduler]
        self.take(schedulers)

    def take(self, schedulers: list[_ParamScheduler]) -> None:
        """Let these be the schedulers."""
        self.schedulers = schedulers
        self._alike = all(scheduler._recursion is None for scheduler in schedulers)

    def groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups; one that was added since takes part, from its own value."""
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_values):
            self._admit(groups)
        return groups

    def entering(self, scheduler: _ParamScheduler) -> list[float]:
        """Return the value of each group that those before ``scheduler`` hand to it."""
        self.groups()
        return self._through(self.schedulers[: self.schedulers.index(scheduler)])

    def write(self) -> list[float]:
        """Bring the groups up to date, and return the value of each."""
        groups = self.groups()
        self.values = self._through(self.schedulers)
        for group, value, in_betas in zip(groups, self.values, self._in_betas, strict=True):
            _put(group, self.param_name, value)
            if in_betas:
                _put_first(group, value)
        return self.values

    def record_base_values(self) -> None:
        """Write the base values into the groups, where loading a state may have put older ones."""
        for group, base in zip(self.groups(), self.base_values, strict=True):
            group[f"initial_{self.param_name}"] = base

    def scale(self, ratio: float) -> None:
        """Multiply the base values, and bring the groups up to date."""
        self.groups()
        self.base_values[:] = [base * ratio for base in self.base_values]  # in place: the schedulers share the list
        self.record_base_values()
        self.write()

    def while_showing(self, values: Sequence[float], function: Callable[[], T]) -> T:
        """Return ``function()``, during which the groups hold ``values`` as plain floats."""
        groups = self.groups()
        kept = [group.get(self.param_name) for group in groups]
        for group, value in zip(groups, values, strict=True):
            group[self.param_name] = value
        try:
            return function()
        finally:
            for group, present in zip(groups, kept, strict=True):
                group[self.param_name] = present

    def _through(self, schedulers: Sequence[_ParamScheduler]) -> list[float]:
        # An optimizer with a group for each parameter has hundreds, and few different base values.
        known: dict[float, float] = {}
        values = []
        for index, base in enumerate(self.base_values):
            if base in known:
                values.append(known[base])
                continue
            value = base
            for scheduler in schedulers:
                value = scheduler._output(value, base, index)
            values.append(value)
            if self._alike:
                known[base] = value
        return values

    def _admit(self, groups: list[dict[str, Any]]) -> None:
        known = len(self.base_values)
        if len(groups) < known:
            raise ValueError(
                f"The optimizer has {len(groups)} parameter groups, but the schedule of {self.param_name!r}"
                f" began with {known}, and cannot tell which one is gone. Remove groups before the first"
                " scheduler is made."
            )
        for index, group in enumerate(groups[known:], start=known):
            in_betas = self._is_in_betas(group)
            self.base_values.append(self._base_value(group, index, in_betas))
            self._in_betas.append(in_betas)

    def _is_in_betas(self, group: Mapping[str, Any]) -> bool:
        if self.param_name != "momentum" or "betas" not in group:
            return False
        if "momentum" not in group or "momentum" not in getattr(self.optimizer, "defaults", ()):
            return True
        # A copy of the first beta, if other groups, as those of MuonWithAdamW, have a momentum instead of betas.
        return any("momentum" in other and "betas" not in other for other in self.optimizer.param_groups)

    def _base_value(self, group: dict[str, Any], index: int, in_betas: bool) -> float:
        name = self.param_name
        if in_betas:
            group.setdefault(name, _as_float(group["betas"][0], f"The first of betas in group {index}"))
        if name not in group:
            keys = [key for key in group if key != "params"]
            message = (
                f"Group {index} of {type(self.optimizer).__name__} has no {name!r} to schedule."
                f"{did_you_mean(name, keys)} It has: {', '.join(keys)}."
            )
            raise ValueError(message) if name == "momentum" else KeyError(message)
        present = _as_float(group[name], f"{name!r} of group {index}")
        return _as_float(group.setdefault(f"initial_{name}", present), f"'initial_{name}' of group {index}")


def chain_of(optimizer: HasParamGroups, param_name: str) -> Chain:
    """Return the chain of a parameter of an optimizer, which lives as long as the optimizer does.

    It is kept in an attribute of the optimizer: a table of our own would keep alive what it lists, since the
    schedulers in a chain hold their optimizer. A wrapper leads to the chain of the optimizer in it.
    """
    owner = _owner(optimizer)
    chains: dict[str, Chain] = owner.__dict__.setdefault("_schedules", {})
    if param_name not in chains:
        chains[param_name] = Chain(owner, param_name)
    return chains[param_name]


def scale_parameter(optimizer: HasParamGroups, param_name: str, ratio: float) -> None:
    """Multiply a parameter of each group, and what its schedulers, if any were made already, begin from."""
    chain = _owner(optimizer).__dict__.get("_schedules", {}).get(param_name)
    if chain is not None:
        chain.scale(ratio)
        return
    for group in optimizer.param_groups:
        for key in (param_name, f"initial_{param_name}"):
            if key in group:
                group[key] *= ratio


def _owner(optimizer: HasParamGroups) -> HasParamGroups:
    inner = getattr(optimizer, "optimizer", None)
    groups = getattr(inner, "param_groups", None)
    if inner is None or not groups or groups[0] is not optimizer.param_groups[0]:
        return optimizer
    return _owner(inner)


def _put(group: dict[str, Any], name: str, value: float) -> None:
    present = group.get(name)
    if isinstance(present, torch.Tensor):
        present.fill_(value)  # a captured or compiled step reads this very tensor
    else:
        group[name] = value


def _put_first(group: dict[str, Any], value: float) -> None:
    first, *rest = group["betas"]
    if isinstance(first, torch.Tensor):
        first.fill_(value)
    else:
        group["betas"] = (value, *rest)


def _kind(scheduler: _ParamScheduler) -> tuple[Any, ...]:
    return type(scheduler), scheduler.begin, scheduler.end, scheduler.by_epoch


def _as_float(value: Any, what: str) -> float:
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return float(value)  # once, at construction
    return number(what, value, cure="Only a number can be scheduled; of betas the first, as 'momentum'.")
