"""How well regions of classes are covered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..registry import METRICS
from .class_counts import ClassCountsMetric, class_names, share
from .samples import as_rows, find_pair

__all__ = ["MeanIoU"]


@METRICS.register_module()
class MeanIoU(ClassCountsMetric):
    r"""Intersection over union for semantic segmentation, in percent.

    With :math:`n_{ij}` pixels of class :math:`i` in the whole data set that were taken for class :math:`j`,

    .. math:: \mathrm{IoU}_i = n_{ii} / (\sum_j n_{ij} + \sum_j n_{ji} - n_{ii})

    ``mIoU`` is its mean over the classes that occur in labels or predictions, ``mAcc`` the mean share of a class's
    pixels that are right, and ``aAcc`` the share of all pixels.
    Everingham et al., "The Pascal Visual Object Classes (VOC) Challenge", IJCV 2010.

    Predictions are maps of classes, integers of shape ``[N, H, W]``, or scores, ``[N, classes, H, W]``. Where each
    sample has its own, as in a list of dicts, maps are ``[H, W]`` or ``[1, H, W]``, and sizes may differ.

    Args:
        num_classes: The number of classes; by default that of the scores, or of the ``classes`` in the data set's
            ``metainfo``.
        ignore_index: The label of pixels that do not count.
        per_class: Report the IoU of each class too: ``IoU/cat``, or its number where the data set's ``metainfo`` has no
            names. That of a class which does not occur is NaN.
        pred_key: Name or position of the predictions; by default as in :class:`Accuracy`, or ``pred_sem_seg``. Of a
            ``PixelData`` the field ``data`` or ``sem_seg`` is taken.
        target_key: The same for the labels: ``gt_sem_seg``.
        prefix: Put before the names of the results, with a slash.

    Raises:
        ValueError: ``num_classes`` is invalid; the number of classes is unknown; shapes do not fit; or, when computed,
            there was no pixel, or a label or prediction that is no class.
        TypeError: Predictions or labels have a type that cannot be used.

    >>> metric = MeanIoU(num_classes=2)
    >>> metric.process(None, (torch.tensor([[[0, 1], [1, 1]]]), torch.tensor([[[0, 1], [0, 255]]])))
    >>> metric.evaluate(size=1)
    {'mIoU': 50.0, 'mAcc': 75.0, 'aAcc': 66.66666666666667}
    """

    def __init__(
        self,
        num_classes: int | None = None,
        ignore_index: int | None = 255,
        per_class: bool = False,
        pred_key: str | int | None = None,
        target_key: str | int | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(num_classes, per_class, pred_key, target_key, prefix, ignore_index)

    def update(self, data_batch: Any, data_samples: Any) -> None:
        """Count the pixels of one batch, on their device."""
        predictions, labels = self._maps(as_rows(data_samples))
        if isinstance(predictions, list):  # of different sizes
            for prediction, label in zip(predictions, labels, strict=True):
                self._add(prediction, label)
        else:
            self._add(predictions, labels)

    def _maps(self, samples: Any) -> tuple[Any, Any]:
        first = samples[0] if isinstance(samples, list) and samples else samples
        named = isinstance(first, Mapping)
        pred_key = "pred_sem_seg" if named and self.pred_key is None and "pred_sem_seg" in first else self.pred_key
        target_key = "gt_sem_seg" if named and self.target_key is None and "gt_sem_seg" in first else self.target_key
        if isinstance(samples, list):
            samples = [{key: _data(value) for key, value in sample.items()} for sample in samples] if named else samples
        predictions, labels = find_pair(samples, pred_key, target_key, "MeanIoU")
        one_list = isinstance(predictions, (list, tuple)) or isinstance(labels, (list, tuple))
        return (list(predictions), list(labels)) if one_list else (predictions, labels)

    def _add(self, predictions: Any, labels: Any) -> None:
        classes = self.num_classes
        labels = _stacked(labels)
        if isinstance(predictions, torch.Tensor) and predictions.is_floating_point():
            scores = predictions[None] if predictions.ndim == 3 else predictions
            classes = classes or (scores.shape[1] if scores.ndim == 4 else None)
            predictions = scores.max(1)[1]
        self.count(_stacked(predictions), labels, 3, classes)

    def compute(self) -> dict[str, Any]:
        """Return the means, and the IoU of each class where asked to."""
        matrix = self.counted()
        right, labels, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        iou = share(right, labels + predicted - right)
        results = {
            "mIoU": iou.nanmean().item(),
            "mAcc": share(right, labels).nanmean().item(),
            "aAcc": share(right.sum(), labels.sum()).item(),
        }
        if self.per_class:
            names = class_names(self.dataset_meta, len(matrix))
            results |= {f"IoU/{name}": value for name, value in zip(names, iou.tolist(), strict=True)}
        return results


def _data(value: Any) -> Any:
    """Return the map of what was a ``PixelData``, and anything else as it is."""
    if isinstance(value, Mapping):
        return next((value[name] for name in ("data", "sem_seg") if name in value), value)
    return value


def _stacked(maps: Any) -> Any:
    """Return maps as [N, H, W]: those of a single sample, and those with a channel, too."""
    if isinstance(maps, torch.Tensor):
        if maps.ndim == 2:
            return maps[None]
        if maps.ndim == 4 and maps.shape[1] == 1:
            return maps[:, 0]
    return maps
