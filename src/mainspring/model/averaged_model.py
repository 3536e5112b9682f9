"""A model whose weights are an average of another's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ..utils import check_count, check_type
from .correspondence import Correspondence
from .counterparts import Pairs, copied, copy_tensors

__all__ = ["BaseAveragedModel"]


class BaseAveragedModel(nn.Module, ABC):
    """A model whose weights are an average of those that another model has had.

    It begins as a copy of that model; :meth:`update_parameters`, called after each step, takes the model's weights into
    the average. Buffers, such as the statistics of batch normalisation, are copied at each call, unless
    ``update_buffers`` has them averaged too; integers are always copied. Calling it calls the copy.

    A subclass says in :meth:`avg_func` how it averages.

    Args:
        model: The model. It is copied, and must be one that ``copy.deepcopy`` can copy.
        interval: Only each ``interval``-th call of :meth:`update_parameters` changes the average, the first one, at
            which it becomes a copy of the model, included.
        device: Where the average is kept; by default where the model is. On another device it takes no memory of the
            model's, but each update takes the time of a transfer, for which the host waits if that device is the CPU.
        update_buffers: Average the buffers of floating point too, except those that are not saved with the model.

    Attributes:
        module: The copy, whose parameters are the average and need no gradients.
        steps: How often :meth:`update_parameters` was called, a tensor without dimensions (``int64``).
        interval: As given.
        update_buffers: As given.

    Raises:
        TypeError: An argument has the wrong type, or the model cannot be copied.
        ValueError: ``interval`` is below 1.

    >>> class Largest(BaseAveragedModel):
    ...     def avg_func(self, averaged_param, source_param, steps):
    ...         averaged_param.copy_(torch.maximum(averaged_param, source_param))
    >>> model = nn.Linear(1, 1, bias=False)
    >>> largest = Largest(model)
    >>> for weight in (1.0, 3.0, 2.0):
    ...     _ = nn.init.constant_(model.weight, weight)
    ...     largest.update_parameters(model)
    >>> largest.module.weight.item(), largest.steps.item()
    (3.0, 3)
    """

    steps: Tensor

    def __init__(
        self,
        model: nn.Module,
        interval: int = 1,
        device: torch.device | str | None = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_type(model, nn.Module, f"{name}: model")
        check_count(interval, f"{name}: interval")
        check_type(update_buffers, bool, f"{name}: update_buffers")
        self.module = copied(model).to(device)
        self.interval = interval
        self.update_buffers = update_buffers
        self.register_buffer("steps", torch.tensor(0, dtype=torch.long, device=device))
        self._counted = (self.steps, self.steps._version, 0)
        self._found: Correspondence | None = None

    @abstractmethod
    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """Take one tensor of the model into its average, in place.

        Args:
            averaged_param: The average.
            source_param: The model's tensor, of the same shape, type and device.
            steps: How often :meth:`update_parameters` was called before; at least 1, since the first call copies.
        """

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the averaged model."""
        return self.module(*args, **kwargs)

    @property
    def updates(self) -> int:
        """The value of :attr:`steps`, for which no device is waited."""
        counted, version, number = self._counted
        # Who loads a state, moves the module or sets the tensor leaves another tensor, or this one in a new version.
        if counted is not self.steps or version != self.steps._version:
            number = int(self.steps)
            self._counted = (self.steps, self.steps._version, number)
        return number

    def pairs(self, model: nn.Module) -> Pairs:
        """Return the tensors that are averaged, each with the model's own.

        Raises:
            ValueError: The model is not the one of which this average was made, or has changed since.
        """
        return self._counterparts(model).averaged

    def copy_from(self, model: nn.Module) -> None:
        """Make the average a copy of the model as it is; :attr:`steps` stays.

        Raises:
            ValueError: As for :meth:`pairs`.
        """
        found = self._counterparts(model)
        copy_tensors(found.averaged)
        copy_tensors(found.followed)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take the weights of the model, as they are after a step, into the average.

        Args:
            model: The model of which the average was made.

        Raises:
            ValueError: As for :meth:`pairs`.
        """
        number = self.updates
        found = self._counterparts(model)
        if number == 0:
            copy_tensors(found.averaged)
        elif number % self.interval == 0:
            self._average_all(found, number)
        for own, theirs in found.followed_lists:
            torch._foreach_copy_(own, theirs)
        self.steps.add_(1)
        self._counted = (self.steps, self.steps._version, number + 1)

    def _counterparts(self, model: nn.Module) -> Correspondence:
        found = self._found
        if found is None or not found.holds(self.module, model, self.update_buffers):
            found = self._found = Correspondence(self.module, model, self.update_buffers)
        return found

    def _average_all(self, found: Correspondence, steps: int) -> None:
        """Take all tensors of the model into their averages."""
        for own, theirs in found.lists:
            self._average(own, [tensor.to(own[0]) for tensor in theirs] if _differ(own, theirs) else theirs, steps)

    def _average(self, averaged: list[Tensor], sources: list[Tensor], steps: int) -> None:
        """Take tensors of one device and type into their averages."""
        for own, theirs in zip(averaged, sources, strict=True):
            self.avg_func(own, theirs, steps)


def _differ(averaged: list[Tensor], sources: list[Tensor]) -> bool:
    return averaged[0].device != sources[0].device or averaged[0].dtype != sources[0].dtype
