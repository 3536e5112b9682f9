"""Metrics whose memory does not grow with the data."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

from ..dist import gather_object, get_world_size
from .held_back import HeldBack
from .metric import on_main, to_cpu, with_prefix

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["StreamingMetric"]


class StreamingMetric(ABC):
    """A metric that keeps a state of fixed size: counters, sums, a confusion matrix.

    A subclass writes :meth:`reset`, :meth:`update`, :meth:`merge` and :meth:`compute`, keeps its state in
    attributes, and calls ``reset`` at the end of its constructor. The state is best kept in tensors on the
    device of the predictions: then no update waits for the device. At the end of an evaluation the ranks'
    states are gathered once and merged on rank 0.

    With several ranks, the last batch is held back until the size of the data set is known, and samples that
    the sampler has repeated are cut off; of ``data_batch`` too, where its columns or lists are as long.

    Args:
        prefix: Put before the names of the results, with a slash; by default the class's ``default_prefix``.

    >>> class Mean(StreamingMetric):
    ...     default_prefix = "mean"
    ...     def __init__(self, prefix=None):
    ...         super().__init__(prefix)
    ...         self.reset()
    ...     def reset(self):
    ...         self.total, self.count = torch.zeros(()), 0
    ...     def update(self, data_batch, data_samples):
    ...         (values,) = data_samples
    ...         self.total = self.total.to(values.device) + values.sum()
    ...         self.count += len(values)
    ...     def merge(self, others):
    ...         self.total += sum(other.total for other in others)
    ...         self.count += sum(other.count for other in others)
    ...     def compute(self):
    ...         return {"value": (self.total / self.count).item()}
    >>> import torch
    >>> metric = Mean()
    >>> metric.process(None, (torch.tensor([1.0, 2.0]),))
    >>> metric.process(None, (torch.tensor([6.0]),))
    >>> metric.evaluate(size=3)
    {'mean/value': 3.0}
    """

    default_prefix: str | None = None

    def __init__(self, prefix: str | None = None) -> None:
        self.prefix = prefix or self.default_prefix
        self.dataset_meta: dict[str, Any] | None = None
        self._held = HeldBack()

    @abstractmethod
    def reset(self) -> None:
        """Set the state to that of no data."""

    @abstractmethod
    def update(self, data_batch: Any, data_samples: Any) -> None:
        """Take one batch into the state, without reading tensors on the host.

        Args:
            data_batch: The batch, as it came from the loader.
            data_samples: What the model's predict mode returned; each ``BaseDataElement`` in it is a dict
                here.
        """

    @abstractmethod
    def merge(self, others: Sequence[Self]) -> None:
        """Take the states of other ranks' metrics into this one; tensors of all are on the CPU."""

    @abstractmethod
    def compute(self) -> dict[str, Any]:
        """Compute the results from the state."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Take in what the model predicted for one batch."""
        for batch in self._held.push(data_batch, data_samples):
            self.update(*batch)

    def discard(self) -> None:
        """Forget the state of an evaluation that was abandoned."""
        self._held.clear()
        self.reset()

    def evaluate(self, size: int) -> dict[str, Any]:
        """Compute over all ranks, hand the results to all, and begin anew.

        Args:
            size: Number of samples in the data set.
        """
        try:
            for batch in self._held.finish(size):
                self.update(*batch)
            answers = self.compute() if get_world_size() == 1 else self._compute_over_ranks()
        finally:
            self._held.clear()
            self.reset()
        return with_prefix(self.prefix, answers)

    def _compute_over_ranks(self) -> Any:
        on_cpu = copy.copy(self)
        on_cpu.__dict__.update(to_cpu(vars(self)))
        states = gather_object(on_cpu)

        def merge_and_compute() -> Any:
            first, *others = states or []
            first.merge(others)
            return first.compute()

        return on_main(merge_and_compute, type(self).__name__)
