"""Classification accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..device import may_run_ahead
from ..registry import METRICS
from ..utils import describe
from .samples import find_pair
from .streaming import StreamingMetric

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Accuracy"]

# What waits to be counted: at most so many batches, and no more samples than this before the last of them.
_MANY, _ENOUGH = 64, 4096


@METRICS.register_module()
class Accuracy(StreamingMetric):
    """The share of samples whose label is among the ``k`` highest scores, in percent.

    The results are ``accuracy/top1``, ``accuracy/top5`` and so on. What predict mode returns may be a tuple
    ``(scores, labels)``, a dict of such columns, or a list with a dict or ``BaseDataElement`` for each
    sample.

    Args:
        topk: One ``k`` or several.
        pred_key: Name or position of the predictions: scores (floating point, shape ``[N, classes]``) or
            predicted labels (integers, shape ``[N]``), the latter for ``topk=1`` only. By default the first
            of a tuple of two; in a dict ``pred_score``, ``pred_scores``, ``scores``, ``pred_label`` or
            ``pred_labels``.
        target_key: Name or position of the labels: integers from 0, shape ``[N]``. By default the second; in
            a dict ``gt_label``, ``gt_labels``, ``label``, ``labels``, ``target`` or ``targets``.
        prefix: Put before the names of the results, with a slash.

    Raises:
        ValueError: ``topk`` is no positive number; a key is missing; shapes do not fit; or, when computed,
            there was no sample, or there were labels that no class has.
        TypeError: Predictions or labels have a type that cannot be used.

    >>> metric = Accuracy(topk=(1, 2))
    >>> scores = torch.tensor([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1]])
    >>> metric.process(None, (scores, torch.tensor([1, 1])))
    >>> metric.evaluate(size=2)
    {'accuracy/top1': 50.0, 'accuracy/top2': 100.0}
    """

    default_prefix = "accuracy"

    def __init__(
        self,
        topk: int | Sequence[int] = 1,
        pred_key: str | int | None = None,
        target_key: str | int | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(prefix)
        self.topk = tuple(topk) if isinstance(topk, (list, tuple)) else (topk,)
        if not self.topk or not all(type(k) is int and k > 0 for k in self.topk):
            raise ValueError(f"topk must be a positive integer or several, such as (1, 5), but it is {topk!r}.")
        self.pred_key = pred_key
        self.target_key = target_key
        self.reset()

    def reset(self) -> None:
        """Set the counters to zero."""
        self.samples = 0
        self._correct = torch.zeros(len(self.topk), dtype=torch.int64)
        self._out_of_range = torch.zeros((), dtype=torch.int64)
        self._forget_waiting()

    def _forget_waiting(self) -> None:
        self._waiting: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._waiting_samples = 0
        self._classes: int | None = None

    @property
    def correct(self) -> torch.Tensor:
        """For each ``k`` the number of correct predictions: integers of shape ``[len(topk)]``."""
        self._count()
        return self._correct

    @property
    def out_of_range(self) -> torch.Tensor:
        """The number of labels that no class has: an integer of shape ``[]``."""
        self._count()
        return self._out_of_range

    def update(self, data_batch: Any, data_samples: Any) -> None:
        """Take in one batch, on its device; what is to be counted is counted for several together."""
        predictions, labels = find_pair(data_samples, self.pred_key, self.target_key, "Accuracy")
        labels = _as_labels(labels, "the labels")
        classes: int | None = None
        if _are_scores(predictions):
            classes = predictions.shape[1]
            ranked = self._rank(predictions)
        else:
            # A copy, as of the labels below: the model may write its next ones into the same memory.
            ranked = _as_labels(predictions, "the predictions").clone()[:, None]
            if self.topk != (1,):
                raise ValueError(
                    f"Accuracy with topk={self.topk} needs scores of shape [N, classes], but the predictions "
                    f"are labels: {describe(predictions)}."
                )
        count = labels.shape[0]
        if ranked.shape[0] != count:
            raise ValueError(
                f"Accuracy got {len(ranked)} predictions and {len(labels)} labels: "
                f"{describe(predictions)} and {describe(labels)}."
            )
        if self._waiting and (classes != self._classes or ranked.device != self._waiting[0][0].device):
            self._count()
        self._classes = classes
        self._waiting.append((ranked, labels.clone()))
        self._waiting_samples += count
        self.samples += count
        if self._waiting_samples >= _ENOUGH or len(self._waiting) >= _MANY:
            self._count()

    def _rank(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the classes by descending score, as many as the largest ``k``."""
        largest = max(self.topk)
        if largest > scores.shape[1]:
            raise ValueError(
                f"Accuracy with topk={self.topk} needs {largest} classes, but there are only "
                f"{scores.shape[1]}: the scores are {describe(scores)}."
            )
        return scores.max(1, keepdim=True)[1] if largest == 1 else scores.topk(largest, dim=1)[1]

    def _count(self) -> None:
        """Count what waits, with the same few operations however many batches it is."""
        if not self._waiting:
            return
        ranked = torch.cat([one for one, _ in self._waiting])
        labels = torch.cat([one for _, one in self._waiting])
        hits = ranked == labels[:, None]
        wrong = labels < 0 if self._classes is None else (labels < 0) | (labels >= self._classes)
        device, ahead = hits.device, may_run_ahead(hits.device)
        correct = torch.stack([hits[:, :k].sum() for k in self.topk])
        self._correct = self._correct.to(device, non_blocking=ahead) + correct
        self._out_of_range = self._out_of_range.to(device, non_blocking=ahead) + wrong.sum()
        self._forget_waiting()

    def merge(self, others: Sequence[Accuracy]) -> None:
        """Add the counters of others."""
        self._count()
        for other in others:
            self.samples += other.samples
            self._correct = self._correct + other.correct
            self._out_of_range = self._out_of_range + other.out_of_range

    def compute(self) -> dict[str, float]:
        """Return the accuracy for each ``k``, in percent."""
        if self.samples == 0:
            raise ValueError("Accuracy has seen no sample: the data loader gave no batch.")
        *correct, out_of_range = torch.cat([self.correct, self.out_of_range[None]]).tolist()
        if out_of_range:
            raise ValueError(
                f"Accuracy: {out_of_range} of {self.samples} labels are below 0, or not below the number of "
                "classes. Labels are counted from 0; make the model's classes and the data set's agree."
            )
        return {f"top{k}": 100 * hits / self.samples for k, hits in zip(self.topk, correct, strict=True)}


def _are_scores(predictions: Any) -> bool:
    return isinstance(predictions, torch.Tensor) and predictions.ndim == 2 and predictions.is_floating_point()


def _as_labels(labels: Any, name: str) -> torch.Tensor:
    """Return integers of shape [N]; a last dimension of size 1 is taken away."""
    if isinstance(labels, torch.Tensor):
        flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        integers = not (flat.is_floating_point() or flat.is_complex() or flat.dtype == torch.bool)
        if flat.ndim == 1 and integers:
            return flat
    wanted = "integers of shape [N]"
    if name == "the predictions":
        wanted = f"scores (floating point, shape [N, classes]) or labels ({wanted})"
    raise TypeError(f"Accuracy: {name} must be {wanted}, but they are {describe(labels)}.")
