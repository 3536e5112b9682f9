"""The model's own losses, over a set of data on which it is not trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ..device import may_run_ahead
from .samples import count_samples
from .streaming import StreamingMetric

__all__ = ["ModelLoss"]


class ModelLoss(StreamingMetric):
    """The mean of each loss over the samples: that of a batch counts by the number of its samples.

    It is what the model would be trained on, where its losses are means over samples.

    Args:
        losses: Called with a batch as it came from the loader; returns the losses by name, scalars on any device.

    >>> metric = ModelLoss(lambda batch: {"loss": batch["error"].mean()})
    >>> for errors in (torch.tensor([1.0, 3.0]), torch.tensor([5.0])):
    ...     metric.process({"error": errors}, (errors,))
    >>> metric.evaluate(size=3)
    {'loss': 3.0}
    """

    def __init__(self, losses: Callable[[Any], Mapping[str, torch.Tensor]]) -> None:
        super().__init__()
        self._losses = losses
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self.sums: dict[str, torch.Tensor] = {}
        self.samples: dict[str, int] = {}

    def update(self, data_batch: Any, data_samples: Any) -> None:
        """Compute the losses of a batch, and add them up."""
        number = count_samples(data_samples)
        for name, loss in self._losses(data_batch).items():
            precise = loss.detach().to(torch.float32 if loss.device.type == "mps" else torch.float64) * number
            so_far = self.sums.get(name)
            if so_far is not None:
                precise = so_far.to(precise.device, non_blocking=may_run_ahead(precise.device)) + precise
            self.sums[name] = precise
            self.samples[name] = self.samples.get(name, 0) + number

    def merge(self, others: Sequence[ModelLoss]) -> None:
        """Add what other ranks have summed."""
        for other in others:
            for name, total in other.sums.items():
                self.sums[name] = self.sums[name] + total if name in self.sums else total
                self.samples[name] = self.samples.get(name, 0) + other.samples[name]

    def compute(self) -> dict[str, float]:
        """Return the means."""
        return {name: total.item() / self.samples[name] for name, total in self.sums.items()}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model out of what the ranks send each other."""
        return {**vars(self), "_losses": None}
