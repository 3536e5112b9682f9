"""Which classes are taken for which, and what follows from it for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..registry import METRICS
from ..utils import describe, did_you_mean
from .class_counts import ClassCounts, class_names, share
from .samples import find_pair
from .streaming import StreamingMetric

__all__ = ["ConfusionMatrix"]

_ITEMS = ("precision", "recall", "f1", "matrix")


@METRICS.register_module()
class ConfusionMatrix(StreamingMetric):
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
        super().__init__(prefix)
        self.items = (items,) if isinstance(items, str) else tuple(items)
        for item in self.items:
            if item not in _ITEMS:
                raise ValueError(
                    f"ConfusionMatrix has no item {item!r}.{did_you_mean(str(item), _ITEMS)} There are:"
                    f" {', '.join(_ITEMS)}."
                )
        check_classes(num_classes, "ConfusionMatrix")
        self.num_classes = num_classes
        self.per_class = per_class
        self.pred_key = pred_key
        self.target_key = target_key
        self.reset()

    def reset(self) -> None:
        """Set the counts to zero."""
        self._counts: ClassCounts | None = None

    def update(self, data_batch: Any, data_samples: Any) -> None:
        """Count one batch, on its device."""
        predictions, labels = find_pair(data_samples, self.pred_key, self.target_key, "ConfusionMatrix")
        classes = self.num_classes
        if isinstance(predictions, torch.Tensor) and predictions.ndim == 2 and predictions.is_floating_point():
            classes = classes or predictions.shape[1]
            predictions = predictions.max(1)[1]
        check_integers(predictions, labels, 1, "ConfusionMatrix")
        if self._counts is None:
            self._counts = ClassCounts(
                known_classes(classes, self.dataset_meta, "ConfusionMatrix"), None, "ConfusionMatrix"
            )
        self._counts.add(predictions, labels)

    def merge(self, others: Sequence[ConfusionMatrix]) -> None:
        """Add the counts of others."""
        self._counts = merged(self._counts, [other._counts for other in others])

    def compute(self) -> dict[str, Any]:
        """Return what was asked for."""
        if self._counts is None:
            raise ValueError("ConfusionMatrix has seen no sample: the data loader gave no batch.")
        matrix = self._counts.matrix()
        right, labels, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        occurs = (labels + predicted) > 0
        of_classes = {
            "precision": share(right, predicted.clamp(min=1)),
            "recall": share(right, labels.clamp(min=1)),
            "f1": share(2 * right, labels + predicted),
        }
        names = class_names(self.dataset_meta, self._counts.classes)
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


def check_classes(classes: Any, owner: str) -> None:
    """Raise a ``ValueError`` unless this is None or a positive integer."""
    if classes is not None and (type(classes) is not int or classes < 1):
        raise ValueError(f"{owner}: num_classes must be a positive integer, but it is {classes!r}.")


def known_classes(classes: int | None, dataset_meta: Any, owner: str) -> int:
    """Return the number of classes, that of the data set's ``metainfo`` where it is not given."""
    found = classes or len((dataset_meta or {}).get("classes", ()))
    if not found:
        raise ValueError(
            f"{owner} cannot tell how many classes there are: give num_classes, or let the data set's metainfo name its"
            " 'classes'."
        )
    return found


def check_integers(predictions: Any, labels: Any, dimensions: int, owner: str) -> None:
    """Raise an error unless both are integers of one shape, with as many dimensions."""
    shape = f"[N{', H, W' * (dimensions == 3)}]"
    for name, value in (("predictions", predictions), ("labels", labels)):
        if not isinstance(value, torch.Tensor) or value.is_floating_point() or value.is_complex():
            scores = f", or scores [N, classes{', H, W' * (dimensions == 3)}]" if name == "predictions" else ""
            raise TypeError(
                f"{owner}: the {name} must be integers of shape {shape}{scores}, but they are {describe(value)}."
            )
    if predictions.shape != labels.shape or predictions.ndim != dimensions:
        raise ValueError(
            f"{owner}: predictions and labels must be of one shape {shape}, but they are {describe(predictions)} and"
            f" {describe(labels)}."
        )


def merged(one: ClassCounts | None, others: Sequence[ClassCounts | None]) -> ClassCounts | None:
    """Return the sum of the counts of several ranks, some of which may have had no sample."""
    for other in others:
        if one is None:
            one = other
        elif other is not None:
            one.merge(other)
    return one
