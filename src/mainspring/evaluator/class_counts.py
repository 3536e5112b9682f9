"""How often each class was taken for which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..device import may_run_ahead

__all__ = ["ClassCounts", "class_names", "share"]


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


def share(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Return how many percent one count is of another, in float64; of nothing, not a number."""
    return 100 * part.double() / whole.double()


def class_names(dataset_meta: Mapping[str, Any] | None, classes: int) -> list[Any]:
    """Return the names of the classes, where the data set's ``metainfo`` has as many, or else their numbers."""
    names = list((dataset_meta or {}).get("classes", ()))
    return names if len(names) == classes else list(range(classes))
