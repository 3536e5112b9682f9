"""The promise of a step: an optimizer updates with gradients that are averaged over all processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
import torch.distributed as torch_dist

from .processes import get_world_size
from .tensors import all_reduce, all_reduce_params

__all__ = ["GradientSync", "Reducer", "average_gradients", "broadcast_tensors"]

_NONE, _DENSE, _SPARSE = 0, 1, 2


class Reducer(Protocol):
    """What averages gradients while the backward pass computes them, as ``DistributedDataParallel`` does."""

    def covers(self, parameter: torch.Tensor) -> bool:
        """Whether it averages the gradient of this parameter."""

    def take(self) -> bool:
        """Return whether the backward pass that is just over was averaged; to be asked once after each."""

    def paused(self) -> AbstractContextManager[None]:
        """Return the context of a forward pass whose gradients only gather in each process."""


class GradientSync:
    """Sees to it that the gradients of one optimizer are averaged when it makes its step, however they were computed.

    A backward pass that a reducer has averaged needs nothing more. Where there was another one, as when a step calls a
    part of the model instead of the model itself, all gradients of the optimizer are averaged before the step, by one
    collective for each dtype. What was averaged before is the same on all processes, and stays what it is.

    Args:
        reducer: Averages in the backward pass; None where nothing does.
        tell: Called once, when gradients were averaged that the reducer could have averaged.
    """

    def __init__(self, reducer: Reducer | None = None, tell: Callable[[], None] | None = None) -> None:
        self._reducer = reducer
        self._tell = tell
        self._averaged = False
        self._foreign = False
        self._seen = 0

    def before_backward(self, parameters: Sequence[torch.Tensor]) -> None:
        """See whether gradients have come up that no backward pass of the optimizer has left."""
        self._foreign = _version(parameters) not in (0, self._seen)

    def after_backward(self, parameters: Sequence[torch.Tensor]) -> None:
        """See whether the pass was averaged."""
        reduced = self._reducer is not None and self._reducer.take()
        self._averaged = reduced and not self._foreign
        self.accept(parameters)

    def accept(self, parameters: Sequence[torch.Tensor]) -> None:
        """Take the gradients as they are for those that the optimizer's own passes have left."""
        self._seen = _version(parameters)

    def finish(self, parameters: Sequence[torch.Tensor]) -> None:
        """Average what is not averaged yet, before a step; all processes call it together."""
        if self._averaged and self._reducer is not None and _version(parameters) == self._seen:
            rest = [parameter for parameter in parameters if not self._reducer.covers(parameter)]
            if not rest:
                return
            average_gradients(rest)
        else:
            average_gradients(parameters)
            if self._tell is not None:
                self._tell()
                self._tell = None
        self._averaged = True
        self.accept(parameters)

    def share(self, parameters: Sequence[torch.Tensor]) -> None:
        """Average gradients that are still gathering, so that one process can save them for all."""
        average_gradients(parameters)
        self.accept(parameters)

    def paused(self) -> AbstractContextManager[None] | None:
        """Return the context of a forward pass that no update follows; None where it needs none."""
        return None if self._reducer is None else self._reducer.paused()


def average_gradients(parameters: Sequence[torch.Tensor]) -> None:
    """Replace the gradients of parameters by their means over all processes.

    A gradient that only some processes have is zero in the others; one that none has stays None.

    Args:
        parameters: The same in every process, in the same order.
    """
    size = get_world_size()
    if size <= 1 or not parameters:
        return
    # On the CPU, so that no process waits for its device to know what the others have.
    kinds = torch.tensor([_kind(parameter.grad) for parameter in parameters], dtype=torch.uint8)
    all_reduce(kinds, "max")
    dense = []
    for parameter, kind in zip(parameters, kinds.tolist(), strict=True):
        if kind == _DENSE:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dense.append(parameter.grad)
        elif kind == _SPARSE:
            _average_sparse(parameter, size)
    all_reduce_params(dense, op="mean")


def broadcast_tensors(tensors: Sequence[torch.Tensor]) -> None:
    """Overwrite tensors with those of rank 0, in place, many at a time.

    Args:
        tensors: Of the same shapes and dtypes in every process, in the same order.
    """
    if get_world_size() <= 1:
        return
    group: Any = torch_dist.group.WORLD
    broadcast_coalesced: Any = torch_dist._broadcast_coalesced  # type: ignore[attr-defined]  # as torch's own DDP does
    alike: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
    for tensor in tensors:
        alike.setdefault((tensor.dtype, tensor.device), []).append(tensor.detach())
    for some in alike.values():
        broadcast_coalesced(group, some, 250 << 20, 0)


def _kind(gradient: torch.Tensor | None) -> int:
    return _NONE if gradient is None else _SPARSE if gradient.is_sparse else _DENSE


def _average_sparse(parameter: torch.Tensor, size: int) -> None:
    gradient = parameter.grad
    if gradient is None:
        gradient = torch.zeros_like(parameter).to_sparse()
    gradient = gradient.coalesce()
    torch_dist.all_reduce(gradient)
    parameter.grad = gradient / size


def _version(parameters: Sequence[torch.Tensor]) -> int:
    """Return a number that changes with each pass that adds to a gradient; 0 where there is none."""
    return sum(1 + parameter.grad._version for parameter in parameters if parameter.grad is not None)
