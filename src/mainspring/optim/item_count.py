"""The mean over items, such as tokens, of losses that have different numbers of them."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ..dist import all_reduce, get_world_size

__all__ = ["ItemCount"]


class ItemCount:
    r"""Weighs each loss of an accumulation group by its items, so that the gradient is that of the mean over all items.

    With :math:`n_{ri}` items behind loss :math:`i` of process :math:`r`, which is a mean over them, the gradient is

    .. math:: g = \sum_{r,i} n_{ri} \nabla l_{ri} \Big/ \sum_{r,i} n_{ri}

    The gradients of processes are taken to be averaged, as DistributedDataParallel does it. Weights are counted in a
    unit, a power of two that the first loss of a run gives, so that gradients keep their usual size until they are
    divided: float16 would overflow otherwise. Nothing is read from a device.

    Args:
        unit: That of the same run before it was stopped.

    >>> weight = torch.nn.Parameter(torch.tensor(0.0))
    >>> items = ItemCount()
    >>> for value, number in ((1.0, 1), (5.0, 3)):
    ...     items.weigh(value * weight, number, losses=2).backward()
    >>> items.average([weight])
    >>> weight.grad
    tensor(4.)
    """

    def __init__(self, unit: float | torch.Tensor | None = None) -> None:
        self.unit = unit
        """In what weights are counted; None before the first loss."""
        self.total: int | torch.Tensor | None = None
        """The items of the losses that have gathered; None where none have."""

    def weigh(self, loss: torch.Tensor, num_items: int | torch.Tensor, losses: int) -> torch.Tensor:
        """Return a loss times its items, in units, and count these.

        Args:
            loss: The mean over the items.
            num_items: How many these are: an integer, or a tensor of one element on any device.
            losses: How many losses a group has.

        Raises:
            TypeError: ``num_items`` is neither of these.
            ValueError: It is negative, or a tensor with more than one element.
        """
        number = _checked(num_items, loss.device)
        if self.unit is None:
            self.unit = _unit_for(number, losses, loss.device)
        self.total = number if self.total is None else self.total + number
        weight = number / self.unit
        return loss * (weight.to(loss.dtype) if isinstance(weight, torch.Tensor) else weight)

    def average(self, parameters: Iterable[torch.Tensor]) -> None:
        """Divide the gradients of parameters by the items of all processes; without losses, do nothing."""
        if self.total is None or self.unit is None:
            return
        total: int | torch.Tensor = self.total
        self.total = None
        alike: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = {}
        for parameter in parameters:
            gradient = parameter.grad
            if gradient is not None:
                values = gradient._values() if gradient.is_sparse else gradient
                alike.setdefault((values.device, values.dtype), []).append(values)
        processes = get_world_size()
        if processes > 1:
            device = next((device for device, _ in alike), torch.device("cpu"))
            total = torch.as_tensor(total, dtype=_widest(device), device=device).clone()
            all_reduce(total)
        # Without any item all weights were 0, and so is every gradient.
        there = torch.where(total == 0, 1, total) if isinstance(total, torch.Tensor) else total or 1
        factor = self.unit * processes / there
        for (device, dtype), gradients in alike.items():
            own = factor.to(device, dtype, non_blocking=True) if isinstance(factor, torch.Tensor) else factor
            torch._foreach_mul_(gradients, own)

    def reset(self) -> None:
        """Forget the losses that have gathered, whose gradients are dropped."""
        self.total = None


def _checked(num_items: int | torch.Tensor, device: torch.device) -> int | torch.Tensor:
    if isinstance(num_items, torch.Tensor):
        if num_items.numel() != 1:
            raise ValueError(
                f"num_items must be one number, but it is a tensor of shape {tuple(num_items.shape)}. Sum it up:"
                " num_items=mask.sum(), for instance."
            )
        return num_items.detach().reshape(()).to(device, _widest(device), non_blocking=True, copy=True)
    if not isinstance(num_items, int) or isinstance(num_items, bool):
        raise TypeError(
            f"num_items must be an integer or a tensor of one element, but it is {num_items!r}"
            f" ({type(num_items).__name__})."
        )
    if num_items < 0:
        raise ValueError(f"num_items must not be negative, but it is {num_items}.")
    return num_items


def _widest(device: torch.device) -> torch.dtype:
    """Return a dtype that counts items exactly; where there is no float64, up to 16 million."""
    return torch.float32 if device.type == "mps" else torch.float64


def _unit_for(number: int | torch.Tensor, losses: int, device: torch.device) -> float | torch.Tensor:
    """Return the power of two next to the items of a whole group, the same on all processes."""
    if isinstance(number, int) and get_world_size() == 1:
        return float(2 ** (max(number * losses, 1) - 1).bit_length())
    counted = torch.as_tensor(number, dtype=_widest(device), device=device) * losses
    all_reduce(counted, "max")
    return torch.exp2(torch.ceil(torch.log2(counted.clamp(min=1.0))))
