"""Bad numbers, NaN and infinity: seen without waiting for the device, and steps that are left out for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from ..device import number_at_hand
from ..dist import all_reduce
from . import bare
from .kept_buffers import KeptBuffers

__all__ = ["BadNumber", "GradientWatch", "NumberWatch", "SkipWatch", "takes_flag"]


@dataclass(frozen=True, slots=True)
class BadNumber:
    """A value that is not finite.

    Args:
        value: NaN, or plus or minus infinity.
        what: What it is: ``'loss'``, ``'gradient'``, ``'weights'`` or ``'step'``.
        iteration: The iteration in which it came up, counted from 0.
    """

    value: float
    what: str
    iteration: int


class NumberWatch:
    """Notes what a step computes, and tells when asked what of it was not finite.

    What lies on the CPU is looked at right away. A tensor on a device stays there until :meth:`take` brings all of them
    to the host at once.

    Args:
        iteration: The iteration that comes next, from 0.
    """

    follows_steps: ClassVar[bool] = False
    """Whether it must hear of each step, of dropped gradients, and of the end of each iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration
        """The iteration that is running, or comes next; whoever runs the steps counts it."""
        self._found: list[BadNumber] = []
        self._losses: list[torch.Tensor] = []
        self._iterations: list[int] = []
        self._others: list[tuple[torch.Tensor, str, int]] = []

    def note_loss(self, loss: torch.Tensor) -> None:
        """Note a loss whose gradients are computed next."""
        number = number_at_hand(loss)
        if number is None:
            self._losses.append(loss.detach())
            self._iterations.append(self.iteration)
        elif not isfinite(number):
            self._found.append(BadNumber(number, "loss", self.iteration))

    def step(self, optimizer: Optimizer, norm: torch.Tensor | None, **kwargs: Any) -> None:
        """Note the norm of the gradients, and update the parameters; ``kwargs`` go to the optimizer's step."""
        if norm is not None:
            self._note(norm, "gradient", self.iteration)
        bare.step(optimizer, **kwargs)

    def refuses_losses(self) -> bool:
        """Whether the step that these losses lead to is to be left out, where a scaler looks after the gradients."""
        return False

    def end_group(self) -> None:
        """Say that the gradients that have gathered are used up, or dropped."""

    def end_iteration(self) -> None:
        """Say that the iteration is over; before the next one is counted."""

    def left_out(self) -> bool:
        """Whether a step of the newest iteration was left out."""
        return False

    def note_state(self, optimizer: Optimizer, iteration: int, gathered: bool) -> None:
        """Note the weights of an optimizer, which are about to be saved, and the gradients that have gathered so far.

        Args:
            optimizer: Holds them.
            iteration: The newest iteration that has changed them.
            gathered: Whether to look at the gradients too.
        """
        weights = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        gradients = [weight.grad for weight in weights if gathered and weight.grad is not None]
        for what, tensors in (("gradient", gradients), ("weights", weights)):
            if tensors:
                self._note(_sum_of(tensors), what, iteration)

    def take(self) -> list[BadNumber]:
        """Return what was not finite since the last call, in the order in which it came up.

        The host waits for the device here, and reads everything with one transfer from each device.
        """
        found, self._found = self._found, []
        losses, self._losses = self._losses, []
        iterations, self._iterations = self._iterations, []
        others, self._others = self._others, []
        values = [*losses, *(value for value, _, _ in others)]
        read = _read(values) if values else []
        if not isfinite(sum(read)):
            origins = [*(("loss", iteration) for iteration in iterations), *((what, when) for _, what, when in others)]
            found += [BadNumber(x, *origin) for x, origin in zip(read, origins, strict=True) if not isfinite(x)]
        return sorted(found, key=lambda bad: bad.iteration)  # in one iteration the losses come first

    def _note(self, value: torch.Tensor, what: str, iteration: int) -> None:
        self._others.append((value, what, iteration))


class GradientWatch(NumberWatch):
    """Notes the norm of the gradients too, after each iteration: of those that gather, where they are gathering.

    So the batch is found that has made them bad, and not only its accumulation group.

    Args:
        iteration: See :class:`NumberWatch`.
        optimizer: Whose gradients.
    """

    follows_steps = True

    def __init__(self, iteration: int, optimizer: Optimizer) -> None:
        super().__init__(iteration)
        self._optimizer = optimizer

    def step(self, optimizer: Optimizer, norm: torch.Tensor | None, **kwargs: Any) -> None:
        """Note the norm of the gradients, and update the parameters; ``kwargs`` go to the optimizer's step."""
        super().step(optimizer, _gradient_norm(optimizer) if norm is None else norm, **kwargs)

    def end_iteration(self) -> None:
        """Say that the iteration is over; before the next one is counted."""
        gradients = _gradients(self._optimizer)
        if gradients:
            self._note(nn.utils.get_total_norm(gradients), "gradient", self.iteration)


class SkipWatch(NumberWatch):
    """Leaves out each step whose losses or gradients are not finite, and takes back what led to it.

    Weights, optimizer state and buffers are then bit for bit as they were before the step's accumulation group began.
    A step that one process leaves out is left out by all.

    An optimizer that takes a flag on the device (see :func:`takes_flag`) leaves out the step by itself, and nobody
    waits for the flag. It is read in the first step, which makes the optimizer's state, and with any other optimizer.

    Args:
        iteration: See :class:`NumberWatch`.
        model: Its buffers are kept.
    """

    follows_steps = True

    def __init__(self, iteration: int, model: nn.Module) -> None:
        super().__init__(iteration)
        self._buffers = KeptBuffers(model)
        self._group: list[torch.Tensor] = []  # the losses whose gradients are gathering
        self._skipped = False  # in the newest iteration, as far as is known on the host
        self._unread: torch.Tensor | None = None  # not zero if a step was left out in the newest iteration

    def begin_iteration(self) -> None:
        """Keep the buffers, unless gradients are gathering; before the forward pass."""
        self._skipped, self._unread = False, None
        if not self._group:
            self._buffers.keep()

    def note_loss(self, loss: torch.Tensor) -> None:
        """Note a loss whose gradients are computed next."""
        self._group.append(loss.detach())

    def step(self, optimizer: Optimizer, norm: torch.Tensor | None, **kwargs: Any) -> None:
        """Update the parameters, unless a loss or a gradient is not finite."""
        norm = _gradient_norm(optimizer) if norm is None else norm
        flag = self._flag([*self._group, norm])
        self.end_group()
        if takes_flag(optimizer) and not kwargs and _has_begun(optimizer):
            self._unread = flag if self._unread is None else torch.maximum(self._unread, flag)
            optimizer.found_inf = flag  # type: ignore[attr-defined]  # as torch.amp.GradScaler hands it over
            try:
                bare.step(optimizer)
            finally:
                del optimizer.found_inf  # type: ignore[attr-defined]
        elif bool(flag):
            self._skipped = True
        else:
            bare.step(optimizer, **kwargs)

    def refuses_losses(self) -> bool:
        """Whether a loss of this step is not finite; the step is then to be left out."""
        refused = bool(self._group) and bool(self._flag(self._group))
        self._skipped = self._skipped or refused
        self.end_group()
        return refused

    def end_group(self) -> None:
        """Say that the gradients that have gathered are used up, or dropped."""
        self._group.clear()

    def end_iteration(self) -> None:
        """Say that the iteration is over, and put the buffers back if a step of it was left out."""
        if self._skipped:
            self._buffers.restore()
        elif self._unread is not None:
            self._buffers.restore_where(self._unread)

    def left_out(self) -> bool:
        """Whether a step of the newest iteration was left out; the host waits for the device where it must."""
        if self._unread is not None:
            self._skipped = self._skipped or bool(self._unread)
            self._unread = None
        return self._skipped

    def state_dict(self) -> dict[str, Any]:
        """Return what must survive a stop within an accumulation group: its losses, and the buffers before it."""
        if not self._group:
            return {}
        return {"losses": [loss.clone() for loss in self._group], "buffers": self._buffers.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on within an accumulation group."""
        if state_dict:
            self._buffers.load_state_dict(state_dict["buffers"])
            self._group = list(state_dict["losses"])

    def _flag(self, values: list[torch.Tensor]) -> torch.Tensor:
        """Return 1.0 if a value is not finite, on any process, and 0.0 otherwise; and note it."""
        joined = _joined([value.to(values[0].device, non_blocking=True) for value in values])
        total = joined.sum(dtype=torch.promote_types(joined.dtype, torch.float32))  # a sum of halves might overflow
        flag = (total - total).ne(0).float()  # NaN minus NaN and infinity minus infinity are NaN, which equals nothing
        all_reduce(flag, "max")
        self._note(total / (1 - flag), "step", self.iteration)  # on all processes not finite
        return flag


def takes_flag(optimizer: Optimizer) -> bool:
    """Whether an optimizer leaves out a step by itself where a flag on the device, its ``found_inf``, is not zero.

    The fused ones of torch do: ``Adam``, ``AdamW``, ``SGD`` and ``Adagrad`` with ``fused=True``.
    """
    marked = getattr(optimizer, "_step_supports_amp_scaling", False)  # what torch.amp.GradScaler goes by
    return bool(marked) and all(group.get("fused") for group in optimizer.param_groups)


def _has_begun(optimizer: Optimizer) -> bool:
    """Whether each parameter with a gradient has its state, which a first step makes and does not take back."""
    for group in optimizer.param_groups:
        if group.get("momentum") != 0:  # SGD without momentum keeps none
            for parameter in group["params"]:
                if parameter.grad is not None and not optimizer.state.get(parameter):
                    return False
    return True


def _gradient_norm(optimizer: Optimizer) -> torch.Tensor:
    return nn.utils.get_total_norm(_gradients(optimizer))


def _gradients(optimizer: Optimizer) -> list[torch.Tensor]:
    return [
        parameter.grad._values() if parameter.grad.is_sparse else parameter.grad
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]


def _sum_of(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return a sum that is not finite if an element is not; in at least float32, so that it does not overflow."""
    sums = [tensor.detach().sum(dtype=torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors]
    return _joined([one.to(sums[0].device, non_blocking=True) for one in sums]).sum()


def _joined(values: list[torch.Tensor]) -> torch.Tensor:
    """Return a value for each tensor: the only one of it, or the sum of its elements."""
    return torch.stack([value if value.dim() == 0 else value.sum() for value in values])


def _read(values: list[torch.Tensor]) -> list[float]:
    """Bring a value of each tensor to the host, with one transfer from each device."""
    try:
        joined = torch.stack(values)
    except RuntimeError:  # they differ in shape or device
        by_device: dict[torch.device, list[torch.Tensor]] = {}
        for value in values:
            by_device.setdefault(value.device, []).append(value)
        arrived = {device: iter(_joined(some).tolist()) for device, some in by_device.items()}
        return [next(arrived[value.device]) for value in values]
    read: list[float] = (joined if joined.dim() == 1 else joined.flatten(1).sum(1)).tolist()
    return read
