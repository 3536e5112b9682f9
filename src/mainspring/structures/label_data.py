"""The labels of a sample, as class numbers or as a vector of zeros and ones."""

from __future__ import annotations

import torch

from .base_data_element import BaseDataElement

__all__ = ["LabelData"]


class LabelData(BaseDataElement):
    """Data of labels, and the way from class numbers to a vector of zeros and ones and back.

    >>> onehot = LabelData.label_to_onehot(torch.tensor([1, 3]), num_classes=5)
    >>> onehot, LabelData.onehot_to_label(onehot)
    (tensor([0, 1, 0, 1, 0]), tensor([1, 3]))
    """

    __slots__ = ()

    @staticmethod
    def onehot_to_label(onehot: torch.Tensor) -> torch.Tensor:
        """Return the class numbers, in order, at which a vector is 1.

        Args:
            onehot: Shape (classes,), of zeros and ones.

        Returns:
            Shape (labels,), int64. On a device this waits for it, since the shape depends on the values.

        Raises:
            TypeError: It is no tensor.
            ValueError: It has another shape, or other values.
        """
        _require_tensor("onehot", onehot)
        if onehot.ndim != 1 or not bool(((onehot == 0) | (onehot == 1)).all()):
            found = f"it has the shape {tuple(onehot.shape)}" if onehot.ndim != 1 else "it holds other values"
            raise ValueError(f"onehot must be a vector of zeros and ones, shape (classes,), but {found}.")
        return onehot.nonzero().squeeze(1)

    @staticmethod
    def label_to_onehot(label: torch.Tensor, num_classes: int) -> torch.Tensor:
        """Return a vector that is 1 at the given classes and 0 elsewhere.

        Args:
            label: Class numbers from 0 on, shape (labels,) or ().
            num_classes: Length of the vector.

        Returns:
            Shape (classes,), with the dtype and device of ``label``.

        Raises:
            TypeError: It is no tensor of whole numbers.
            ValueError: It has more dimensions, or a number is none of a class. The numbers are looked at only in host
                memory; a device has checks of its own.
        """
        _require_tensor("label", label)
        if label.is_floating_point() or label.is_complex() or label.dtype == torch.bool:
            raise TypeError(f"label must hold class numbers, but it is of {str(label.dtype).removeprefix('torch.')}.")
        if label.ndim > 1:
            raise ValueError(f"label must have the shape (labels,), but it has the shape {tuple(label.shape)}.")
        if label.device.type == "cpu" and label.numel():
            lowest, highest = (int(bound) for bound in torch.aminmax(label))
            if lowest < 0 or highest >= num_classes:
                raise ValueError(
                    f"label must hold numbers from 0 to {num_classes - 1}, since num_classes is {num_classes}, but it"
                    f" holds {lowest if lowest < 0 else highest}."
                )
        return label.new_zeros(num_classes).index_fill_(0, label.long(), 1)


def _require_tensor(name: str, given: object) -> None:
    if not isinstance(given, torch.Tensor):
        raise TypeError(f"{name} must be a tensor, but it is of type {type(given).__name__}.")
