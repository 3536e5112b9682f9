"""Schedules that multiply: the value that enters times a factor of the step."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from ...registry import PARAM_SCHEDULERS
from .arguments import number, whole_number
from .param_scheduler import INF, _ParamScheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .chain import HasParamGroups

__all__ = [
    "ConstantParamScheduler",
    "ExponentialParamScheduler",
    "LinearParamScheduler",
    "MultiStepParamScheduler",
    "StepParamScheduler",
]


@PARAM_SCHEDULERS.register_module()
class ConstantParamScheduler(_ParamScheduler):
    """Multiplies by ``factor``, and by 1 from the last step, ``end - 1``, on.

    So does torch's ``ConstantLR``. As a warm-up: He et al., "Deep residual learning for image recognition", CVPR 2016,
    section 4.2.

    Args:
        optimizer: See :class:`_ParamScheduler`, also for the arguments not listed here.
        param_name: The key in ``param_groups``.
        factor: Between 0 and 1.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = ConstantParamScheduler(optimizer, "lr", factor=0.5, end=3)
    >>> values = []
    >>> for _ in range(4):
    ...     values += scheduler.get_last_value()
    ...     scheduler.step()
    >>> values
    [0.5, 0.5, 1.0, 1.0]
    """

    def __init__(
        self,
        optimizer: HasParamGroups,
        param_name: str,
        factor: float = 1.0 / 3,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str | None = None,
    ) -> None:
        self.factor = number(f"{type(self).__name__}.factor", factor, 0, 1, cure="1 changes nothing.")
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit)

    def _value_at(self, entering: float, base: float, step: int) -> float:
        # A range of one step has no room for the return to 1.
        return entering if 0 < step == self.end - self.begin - 1 else entering * self.factor


@PARAM_SCHEDULERS.register_module()
class LinearParamScheduler(_ParamScheduler):
    """Multiplies by a factor that goes in a straight line from ``start_factor`` to ``end_factor``.

    It is ``start_factor`` at ``begin``, and ``end_factor`` at the last step, ``end - 1``, and after. So is that of
    torch's ``LinearLR``. As a warm-up: Goyal et al., "Accurate, large minibatch SGD", 2017.

    Args:
        optimizer: See :class:`_ParamScheduler`, also for the arguments not listed here.
        param_name: The key in ``param_groups``.
        start_factor: Between 0 and 1.
        end_factor: Between 0 and 1.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = LinearParamScheduler(optimizer, "lr", start_factor=0.5, end=3)
    >>> values = []
    >>> for _ in range(4):
    ...     values += scheduler.get_last_value()
    ...     scheduler.step()
    >>> values
    [0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self,
        optimizer: HasParamGroups,
        param_name: str,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str | None = None,
    ) -> None:
        self.start_factor = number(f"{type(self).__name__}.start_factor", start_factor, 0, 1, cure="1 changes nothing.")
        self.end_factor = number(f"{type(self).__name__}.end_factor", end_factor, 0, 1, cure="1 changes nothing.")
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit)

    def _value_at(self, entering: float, base: float, step: int) -> float:
        done = step / max(1, self.end - self.begin - 1)
        return entering * (self.start_factor * (1 - done) + self.end_factor * done)


@PARAM_SCHEDULERS.register_module()
class MultiStepParamScheduler(_ParamScheduler):
    """Multiplies by ``gamma`` at each of the ``milestones``.

    So does torch's ``MultiStepLR``. The usual schedule of residual networks: He et al., "Deep residual learning for
    image recognition", CVPR 2016.

    Args:
        optimizer: See :class:`_ParamScheduler`, also for the arguments not listed here.
        param_name: The key in ``param_groups``.
        milestones: Steps, counted from ``begin``, in ascending order; one that is named twice counts twice.
        gamma: Not negative.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = MultiStepParamScheduler(optimizer, "lr", milestones=[1, 3], gamma=0.5)
    >>> values = []
    >>> for _ in range(4):
    ...     values += scheduler.get_last_value()
    ...     scheduler.step()
    >>> values
    [1.0, 0.5, 0.5, 0.25]
    """

    _lengths = ("milestones",)

    def __init__(
        self,
        optimizer: HasParamGroups,
        param_name: str,
        milestones: Sequence[int],
        gamma: float = 0.1,
        last_step: int = -1,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str | None = None,
    ) -> None:
        owner = type(self).__name__
        if not isinstance(milestones, (list, tuple)):
            raise TypeError(
                f"{owner}.milestones must be a list of steps, but it is {milestones!r}"
                f" ({type(milestones).__name__}). Write milestones=[8, 11], for example."
            )
        self.milestones = [
            whole_number(f"{owner}.milestones[{index}]", milestone, low=0, cure="Steps are counted from begin.")
            for index, milestone in enumerate(milestones)
        ]
        if self.milestones != sorted(self.milestones):
            raise ValueError(
                f"{owner}.milestones must ascend, but they are {list(milestones)}."
                f" Write milestones={sorted(self.milestones)}."
            )
        self.gamma = number(f"{owner}.gamma", gamma, low=0)
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit)

    def _value_at(self, entering: float, base: float, step: int) -> float:
        return entering * self.gamma ** bisect_right(self.milestones, step)


@PARAM_SCHEDULERS.register_module()
class StepParamScheduler(_ParamScheduler):
    """Multiplies by ``gamma`` every ``step_size`` steps: by ``gamma ** (t // step_size)`` at step ``t``.

    So does torch's ``StepLR``.

    Args:
        optimizer: See :class:`_ParamScheduler`, also for the arguments not listed here.
        param_name: The key in ``param_groups``.
        step_size: At least 1.
        gamma: Not negative.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = StepParamScheduler(optimizer, "lr", step_size=2, gamma=0.5)
    >>> values = []
    >>> for _ in range(5):
    ...     values += scheduler.get_last_value()
    ...     scheduler.step()
    >>> values
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    _lengths = ("step_size",)

    def __init__(
        self,
        optimizer: HasParamGroups,
        param_name: str,
        step_size: int,
        gamma: float = 0.1,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str | None = None,
    ) -> None:
        cure = "It is the number of steps between two changes."
        self.step_size = whole_number(f"{type(self).__name__}.step_size", step_size, low=1, cure=cure)
        self.gamma = number(f"{type(self).__name__}.gamma", gamma, low=0)
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit)

    def _value_at(self, entering: float, base: float, step: int) -> float:
        return entering * self.gamma ** (step // self.step_size)


@PARAM_SCHEDULERS.register_module()
class ExponentialParamScheduler(_ParamScheduler):
    """Multiplies by ``gamma`` at every step but the first: by ``gamma ** t`` at step ``t``.

    So does torch's ``ExponentialLR``.

    Args:
        optimizer: See :class:`_ParamScheduler`, also for the arguments not listed here.
        param_name: The key in ``param_groups``.
        gamma: Not negative.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = ExponentialParamScheduler(optimizer, "lr", gamma=0.5)
    >>> values = []
    >>> for _ in range(3):
    ...     values += scheduler.get_last_value()
    ...     scheduler.step()
    >>> values
    [1.0, 0.5, 0.25]
    """

    def __init__(
        self,
        optimizer: HasParamGroups,
        param_name: str,
        gamma: float,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        unit: str | None = None,
    ) -> None:
        self.gamma = number(f"{type(self).__name__}.gamma", gamma, low=0)
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose, unit)

    def _value_at(self, entering: float, base: float, step: int) -> float:
        return entering * self.gamma**step
