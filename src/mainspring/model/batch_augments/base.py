"""What the augmentations of a batch have in common: finding images and labels, and making labels soft."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ...registry import MODELS, build
from ..batch_layout import Slot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["BatchAugment", "build_augments", "soft_labels"]


class BatchAugment(nn.Module, ABC):
    """An augmentation that puts the images of a batch together, and their labels with them.

    It takes a batch and returns one of the same layout; the tensors given are never changed. Images and
    labels are the first two elements of a tuple or list, or lie under two keys of a dict; everything else in
    the batch is handed on.

    Chance comes from the global generators: NumPy's for numbers that the host needs, torch's of the device
    for permutations. So the same seeds give the same result, and the host never waits for the device.

    A class of your own implements :meth:`augment`.

    Args:
        num_classes: How many classes there are; needed where labels are class indices.
        probability: How often a batch is augmented. Otherwise it is handed on as it is, labels included:
            indices stay indices (``cross_entropy`` takes both).
        inputs: The key of the images in a batch that is a dict.
        labels: The key of the labels.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        probability: float = 1.0,
        *,
        inputs: str = "inputs",
        labels: str = "labels",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if num_classes is not None and (
            isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1
        ):
            raise ValueError(f"num_classes of {name} must be a positive integer, but it is {num_classes!r}.")
        if not 0 <= probability <= 1:
            raise ValueError(f"probability of {name} must lie between 0 and 1, but it is {probability!r}.")
        self.num_classes = num_classes
        self.probability = probability
        self._images = Slot(0, inputs)
        self._labels = Slot(1, labels)

    def forward(self, data: Any) -> Any:
        """Return the batch augmented.

        Raises:
            KeyError: A batch that is a dict lacks the images or the labels.
            TypeError: The batch has no such layout, or images or labels are not tensors.
            ValueError: Their shapes do not fit together, or labels are indices and ``num_classes`` is
                missing.
        """
        if self.probability < 1 and np.random.random() >= self.probability:
            return data
        name = type(self).__name__
        images = self._images.read(data, name)
        labels = self._labels.read(data, name)
        self._check(images, labels)
        images, labels = self.augment(images, soft_labels(labels, self.num_classes, name))
        return self._labels.written(self._images.written(data, images), labels)

    @abstractmethod
    def augment(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return new images and labels; the given tensors may not be changed.

        Args:
            images: Shape (N, ..., H, W).
            labels: Floating, shape (N, C), a row for each image; or whatever floating labels the batch had.
        """

    def extra_repr(self) -> str:
        """Show the options in the model's print-out."""
        return f"num_classes={self.num_classes}, probability={self.probability}"

    def _check(self, images: Any, labels: Any) -> None:
        name = type(self).__name__
        if isinstance(images, (list, tuple)):
            raise TypeError(
                f"{name} takes images in one tensor, but got a {type(images).__name__} of {len(images)}."
                " Images of different sizes are stacked by ImgDataPreprocessor: hand the augmentation to"
                f" it, as in ImgDataPreprocessor(augments=[{name}(...)])."
            )
        if not isinstance(images, torch.Tensor):
            raise TypeError(f"{name} takes images in one tensor, but got {type(images).__name__}.")
        if images.dim() < 4:
            raise ValueError(
                f"{name} takes images of shape (N, C, H, W), but got a tensor of shape {tuple(images.shape)}."
            )
        if not isinstance(labels, torch.Tensor):
            raise TypeError(
                f"{name} takes labels in one tensor, but got {type(labels).__name__}. Let the collate"
                " function make a tensor of them, as default_collate does."
            )
        if labels.dim() == 0 or len(labels) != len(images):
            raise ValueError(
                f"{name} takes a label for each image, but got images of shape {tuple(images.shape)} and"
                f" labels of shape {tuple(labels.shape)}."
            )


def soft_labels(labels: torch.Tensor, num_classes: int | None, user: str = "soft_labels") -> torch.Tensor:
    """Return labels as a distribution over classes for each image.

    Whether an index is in range cannot be asked without waiting for the device. So a negative one (such as
    ``cross_entropy``'s ``ignore_index``) becomes a row of zeros, which adds nothing to the loss; one of
    ``num_classes`` or more becomes a row of NaN, and so does the loss, rather than learn something wrong.

    Args:
        labels: Class indices of shape (N,); or one-hot of shape (N, C); or floating, which is soft already.
        num_classes: How many classes there are; may be None unless labels are indices.
        user: Who asks; begins the messages.

    Returns:
        Floating labels; those that were floating are handed on as they are, others become float32 of shape
        (N, C). ``torch.nn.functional.cross_entropy`` takes them.

    Raises:
        ValueError: ``num_classes`` is missing or is not C, or the shape is another one.

    >>> import torch
    >>> soft_labels(torch.tensor([2, 0]), num_classes=3)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    shape = tuple(labels.shape)
    if labels.dim() == 1 and not labels.is_floating_point():
        if num_classes is None:
            raise ValueError(
                f"{user} got labels that are class indices (dtype {_name(labels.dtype)}, shape {shape}), and"
                " must know how many classes there are. Pass num_classes, or one-hot labels of shape (N,"
                " C)."
            )
        column = labels.unsqueeze(1)
        soft = (column == torch.arange(num_classes, device=labels.device)).to(torch.float32)
        return soft.masked_fill_(column >= num_classes, math.nan)
    if num_classes is not None and (labels.dim() != 2 or shape[1] != num_classes):
        raise ValueError(
            f"{user} got labels of dtype {_name(labels.dtype)} and shape {shape}, but with"
            f" num_classes={num_classes} they must be class indices of shape (N,), or one-hot or soft of"
            f" shape (N, {num_classes})."
        )
    if labels.is_floating_point():
        return labels
    if labels.dim() != 2:
        raise ValueError(
            f"{user} got labels of dtype {_name(labels.dtype)} and shape {shape}, but integers must be class"
            " indices of shape (N,) or one-hot of shape (N, C)."
        )
    return labels.to(torch.float32)


def build_augments(
    augments: Sequence[nn.Module | Mapping[str, Any]] | nn.Module | Mapping[str, Any] | None, path: str
) -> nn.ModuleList:
    """Return modules, or their configs, in a list that follows the device; one alone needs no list.

    Args:
        augments: What the user gave.
        path: Where; begins the message.

    Raises:
        TypeError: One of them is no module.
    """
    given: Any = [] if augments is None else augments
    if not isinstance(given, (list, tuple, nn.ModuleList)):
        given = [given]
    parts = nn.ModuleList()
    for index, augment in enumerate(given):
        part = build(augment, MODELS)
        if not isinstance(part, nn.Module):
            raise TypeError(
                f"{path}[{index}] must be an nn.Module whose forward takes a batch and returns one, or its"
                f" config dict, but it is {part!r} ({type(part).__name__})."
            )
        parts.append(part)
    return parts


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
