"""How often each class was taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..device import may_run_ahead
from ..utils import describe
from .streaming import StreamingMetric

__all__ = ["ClassCounts", "ClassCountsMetric", "class_names", "share"]


class ClassCounts:
    """Counts pairs of a label and a prediction, on the device of the predictions, without reading them.

    Args:
        classes: The number of classes.
        ignore_index: A label that is not counted.
        owner: Begins the messages.

    >>> counts = ClassCounts(2, ignore_index=255, owner="Doc")
    >>> counts.add(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 255]))
    >>> counts.matrix().tolist()
    [[1, 1], [0, 1]]
    """

    def __init__(self, classes: int, ignore_index: int | None, owner: str) -> None:
        self.classes = classes
        self._ignore_index = ignore_index
        self._owner = owner
        # Behind the pairs: what is out of range, and what is ignored.
        self._cells = torch.zeros(classes * classes + 2, dtype=torch.int64)

    def add(self, predictions: torch.Tensor, labels: torch.Tensor) -> None:
        """Count integers; both have the same number of elements."""
        number = self.classes
        predicted, label = predictions.reshape(-1).long(), labels.reshape(-1).long()
        fits = (label >= 0) & (label < number) & (predicted >= 0) & (predicted < number)
        cell = torch.where(fits, label * number + predicted, number * number)
        if self._ignore_index is not None:
            cell = torch.where(label == self._ignore_index, number * number + 1, cell)
        size = self._cells.shape[0]
        if may_run_ahead(cell.device):  # to make its result, bincount would wait for the device
            new = self._cells.new_zeros(size, device=cell.device).scatter_add_(0, cell, torch.ones_like(cell))
        else:
            new = torch.bincount(cell, minlength=size)
        self._cells = self._cells.to(cell.device, non_blocking=may_run_ahead(cell.device)) + new

    def __getstate__(self) -> dict[str, Any]:
        """Let what ranks send each other lie on the CPU."""
        return {**vars(self), "_cells": self._cells.cpu()}

    def merge(self, other: ClassCounts) -> None:
        """Add what another has counted.

        Raises:
            ValueError: It has another number of classes.
        """
        if other.classes != self.classes:
            raise ValueError(f"{self._owner}: one rank has {self.classes} classes and another {other.classes}.")
        self._cells = self._cells + other._cells

    def matrix(self) -> torch.Tensor:
        """Return the counts on the CPU: integers of shape ``[classes, classes]``, labels in rows.

        Raises:
            ValueError: Nothing was counted; or a label or prediction is out of range.
        """
        *_, outside, _ = cells = self._cells.cpu().tolist()
        if outside:
            spared = "" if self._ignore_index is None else f", {self._ignore_index} apart,"
            raise ValueError(
                f"{self._owner}: {outside} labels or predictions{spared} are below 0, or not below the number of"
                f" classes, {self.classes}. Classes are counted from 0; make the model's classes and those of the data"
                " set agree."
            )
        if not any(cells[:-2]):
            raise ValueError(f"{self._owner} has seen no label that counts: the data loader gave none.")
        return self._cells[:-2].cpu().reshape(self.classes, self.classes)


class ClassCountsMetric(StreamingMetric):
    """What metrics share that follow from how often each class was taken for which.

    Args:
        num_classes: The number of classes, or None where the data tell.
        per_class: Whether each class is reported too.
        pred_key: See :class:`Accuracy`.
        target_key: See :class:`Accuracy`.
        prefix: Put before the names of the results, with a slash.
        ignore_index: A label that is not counted.

    Raises:
        ValueError: ``num_classes`` is no positive integer.
    """

    def __init__(
        self,
        num_classes: int | None,
        per_class: bool,
        pred_key: str | int | None,
        target_key: str | int | None,
        prefix: str | None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(prefix)
        self._owner = type(self).__name__
        _check_classes(num_classes, self._owner)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.per_class = per_class
        self.pred_key = pred_key
        self.target_key = target_key
        self.reset()

    def reset(self) -> None:
        """Set the counts to zero."""
        self._counts: ClassCounts | None = None

    def merge(self, others: Sequence[ClassCountsMetric]) -> None:
        """Add the counts of others, some of which may have had no sample."""
        for other in others:
            if self._counts is None:
                self._counts = other._counts
            elif other._counts is not None:
                self._counts.merge(other._counts)

    def count(self, predictions: Any, labels: Any, dimensions: int, classes: int | None) -> None:
        """Count integers, of so many dimensions; ``classes`` is their number where it is known."""
        _check_integers(predictions, labels, dimensions, self._owner)
        if self._counts is None:
            number = _known_classes(classes, self.dataset_meta, self._owner)
            self._counts = ClassCounts(number, self.ignore_index, self._owner)
        self._counts.add(predictions, labels)

    def counted(self) -> torch.Tensor:
        """Return the counts; see :meth:`ClassCounts.matrix`.

        Raises:
            ValueError: There was no sample.
        """
        if self._counts is None:
            raise ValueError(f"{self._owner} has seen no sample: the data loader gave no batch.")
        return self._counts.matrix()


def share(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Return how many percent one count is of another, in float64; of nothing, not a number."""
    return 100 * part.double() / whole.double()


def class_names(dataset_meta: Mapping[str, Any] | None, classes: int) -> list[Any]:
    """Return the names of the classes, where the data set's ``metainfo`` has as many, or else their numbers."""
    names = list((dataset_meta or {}).get("classes", ()))
    return names if len(names) == classes else list(range(classes))


def _check_classes(classes: Any, owner: str) -> None:
    """Raise a ``ValueError`` unless this is None or a positive integer."""
    if classes is not None and (type(classes) is not int or classes < 1):
        raise ValueError(f"{owner}: num_classes must be a positive integer, but it is {classes!r}.")


def _known_classes(classes: int | None, dataset_meta: Any, owner: str) -> int:
    """Return the number of classes, that of the data set's ``metainfo`` where it is not given."""
    found = classes or len((dataset_meta or {}).get("classes", ()))
    if not found:
        raise ValueError(
            f"{owner} cannot tell how many classes there are: give num_classes, or let the data set's metainfo name its"
            " 'classes'."
        )
    return found


def _check_integers(predictions: Any, labels: Any, dimensions: int, owner: str) -> None:
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
