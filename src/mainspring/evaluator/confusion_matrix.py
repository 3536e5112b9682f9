"""Which classes are taken for which, and what follows from it for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..registry import METRICS
from ..utils import did_you_mean
from .class_counts import ClassCountsMetric, class_names, share
from .samples import find_pair

__all__ = ["ConfusionMatrix"]

_ITEMS = ("precision", "recall", "f1", "matrix")


@METRICS.register_module()
class ConfusionMatrix(ClassCountsMetric):
    r"""Precision, recall and F1 score of a classification, and the matrix of labels and predictions.

    With :math:`n_{ij}` samples of class :math:`i` that were taken for class :math:`j`, in percent,

    .. math:: p_i = n_{ii} / \sum_j n_{ji}, \quad r_i = n_{ii} / \sum_j n_{ij}, \quad
        f_i = 2 n_{ii} / (\sum_j n_{ji} + \sum_j n_{ij})

    A precision without predictions, or a recall without labels, counts as 0. The results are means over the classes
    that have either: ``confusion/precision`` and so on.

    Args:
        num_classes: The number of classes; by default that of the scores, or of the ``classes`` in the data set's
            ``metainfo``.
        items: What is reported, of ``'precision'``, ``'recall'``, ``'f1'`` and ``'matrix'``: the last as a list of
            rows of counts, a row for each label.
        per_class: Report precision, recall and F1 of each class too: ``confusion/recall/cat``, or its number where the
            data set's ``metainfo`` has no names. Those of a class without labels and predictions are NaN.
        pred_key: See :class:`Accuracy`.
        target_key: See :class:`Accuracy`.
        prefix: Put before the names of the results, with a slash.

    Raises:
        ValueError: ``items`` or ``num_classes`` is invalid; the number of classes is unknown; shapes do not fit; or,
            when computed, there was no sample, or a label or prediction that is no class.
        TypeError: Predictions or labels have a type that cannot be used.

    >>> metric = ConfusionMatrix(num_classes=2, items=("recall", "matrix"), per_class=True)
    >>> metric.process(None, (torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0])))
    >>> for name, value in metric.evaluate(size=3).items():
    ...     print(name, value)
    confusion/recall 75.0
    confusion/recall/0 50.0
    confusion/recall/1 100.0
    confusion/matrix [[1, 1], [0, 1]]
    """

    default_prefix = "confusion"

    def __init__(
        self,
        num_classes: int | None = None,
        items: Sequence[str] = ("precision", "recall", "f1"),
        per_class: bool = False,
        pred_key: str | int | None = None,
        target_key: str | int | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(num_classes, per_class, pred_key, target_key, prefix)
        self.items = (items,) if isinstance(items, str) else tuple(items)
        for item in self.items:
            if item not in _ITEMS:
                raise ValueError(
                    f"ConfusionMatrix has no item {item!r}.{did_you_mean(str(item), _ITEMS)} There are:"
                    f" {', '.join(_ITEMS)}."
                )

    def update(self, data_batch: Any, data_samples: Any) -> None:
        """Count one batch, on its device."""
        predictions, labels = find_pair(data_samples, self.pred_key, self.target_key, "ConfusionMatrix")
        classes = self.num_classes
        if isinstance(predictions, torch.Tensor) and predictions.ndim == 2 and predictions.is_floating_point():
            classes = classes or predictions.shape[1]
            predictions = predictions.max(1)[1]
        self.count(predictions, labels, 1, classes)

    def compute(self) -> dict[str, Any]:
        """Return what was asked for."""
        matrix = self.counted()
        right, labels, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        occurs = (labels + predicted) > 0
        of_classes = {
            "precision": share(right, predicted.clamp(min=1)),
            "recall": share(right, labels.clamp(min=1)),
            "f1": share(2 * right, labels + predicted),
        }
        names = class_names(self.dataset_meta, len(matrix))
        results: dict[str, Any] = {}
        for item in self.items:
            if item == "matrix":
                results[item] = matrix.tolist()
                continue
            values = of_classes[item]
            results[item] = values[occurs].mean().item()
            if self.per_class:
                each = values.where(occurs, torch.nan).tolist()
                results |= {f"{item}/{name}": value for name, value in zip(names, each, strict=True)}
        return results
