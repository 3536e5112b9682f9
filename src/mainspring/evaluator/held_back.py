"""Exact results over ranks for metrics that see the data as a stream."""

from __future__ import annotations

from typing import Any

import torch

from ..dist import all_gather_object, get_dist_info, get_world_size
from ..utils import apply_to
from .samples import as_rows, count_samples, first_of_batch, first_samples

__all__ = ["HeldBack"]


class HeldBack:
    """Leaves out the samples that a sampler repeats, for metrics that cannot take them out again.

    With several ranks, the last batch waits here until the size of the data set is known; position ``k`` of
    rank ``r`` among ``w`` ranks is then sample ``k * w + r``, and those at or beyond the size are cut off, as
    ``collect_results`` does. With one rank, batches pass through.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[Any, Any]] = []
        self._seen = 0

    def __eq__(self, other: object) -> bool:
        """Whether both wait for a first batch, as those of two metrics that are set up alike do."""
        return isinstance(other, HeldBack) and not (self._seen or other._seen)

    __hash__ = None  # type: ignore[assignment]

    def push(self, data_batch: Any, data_samples: Any) -> list[tuple[Any, Any]]:
        """Take a batch in; return those that can be processed now."""
        samples = as_rows(data_samples)
        if get_world_size() == 1:
            return [(data_batch, samples)]
        self._seen += count_samples(samples)
        # A copy, because the model may write its next outputs into the same memory, as CUDA graphs do.
        copied = apply_to(samples, lambda value: isinstance(value, torch.Tensor), torch.clone)
        ready, self._batches = self._batches, [(data_batch, copied)]
        return ready

    def finish(self, size: int) -> list[tuple[Any, Any]]:
        """Return what remains, without repeated samples, and begin anew. All ranks call it together."""
        waiting, seen = self._batches, self._seen
        self.clear()
        rank, world_size = get_dist_info()
        if world_size == 1:
            return []
        in_last = sum(count_samples(samples) for _, samples in waiting)
        ranks: list[tuple[int, int]] = all_gather_object((seen, in_last))
        if sum(total for total, _ in ranks) <= size:
            return waiting
        surplus = [total - len(range(r, size, world_size)) for r, (total, _) in enumerate(ranks)]
        if any(extra > last for extra, (_, last) in zip(surplus, ranks, strict=True)):
            raise ValueError(
                f"The data set has {size} samples, but the ranks have processed {[t for t, _ in ranks]}, "
                "more than a sampler repeats. A list counts as one element for each sample; return whole "
                "columns as a tuple."
            )
        if surplus[rank] <= 0:
            return waiting
        keep = in_last - surplus[rank]
        if not keep:
            return []
        return [
            (first_of_batch(data_batch, keep, in_last), first_samples(samples, keep)) for data_batch, samples in waiting
        ]

    def clear(self) -> None:
        """Forget everything."""
        self._batches, self._seen = [], 0
