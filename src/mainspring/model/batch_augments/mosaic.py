"""Four images in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ...registry import MODELS
from .base import BatchAugment

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Mosaic"]


@MODELS.register_module()
class Mosaic(BatchAugment):
    r"""Puts each image together of parts of four images of the batch, and mixes the labels by area.

    The four parts meet at a random point, the same for the whole batch. The part at the upper left comes from
    the image itself, the others from images that random permutations :math:`\pi_k` of the batch choose. Each
    part is a crop, of the size that its place has and from a random position, so images keep their scale.
    With :math:`w_k` the share of pixels of part :math:`k`:

    .. math:: \tilde y_i = \sum_{k=1}^{4} w_k \, y_{\pi_k(i)}, \qquad \sum_k w_k = 1

    Labels that sum to one still do.

    Source: the mosaic of Bochkovskiy, Wang, Liao: "YOLOv4", 2020, arXiv:2004.10934, in the form for
    classification of Takahashi, Matsubara, Uehara: "Data Augmentation using Random Image Cropping and
    Patching for Deep CNNs" (RICAP), 2018, arXiv:1811.09030; the meeting point is uniform here, as in the
    former.

    Args:
        num_classes: How many classes there are; needed where labels are class indices.
        probability: How often a batch is augmented.
        center_range: Between which fractions of height and width the parts meet.
        inputs: The key of the images in a batch that is a dict.
        labels: The key of the labels.

    Shapes:
        Images (N, C, H, W) of any dtype, since pixels are copied. Labels: indices (N,), or one-hot or soft
        (N, C); see :func:`soft_labels`. Out come images of the same shape, dtype and memory format, and
        floating labels (N, C).
    """

    def __init__(
        self,
        num_classes: int | None = None,
        probability: float = 1.0,
        center_range: Sequence[float] = (0.25, 0.75),
        *,
        inputs: str = "inputs",
        labels: str = "labels",
    ) -> None:
        super().__init__(num_classes, probability, inputs=inputs, labels=labels)
        low, high = center_range
        if not 0 <= low <= high <= 1:
            raise ValueError(
                "center_range of Mosaic must be two fractions of the image in ascending order, such as"
                f" (0.25, 0.75), but it is {center_range!r}."
            )
        self.center_range = (float(low), float(high))

    def augment(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the images put together, and their labels."""
        height, width = images.shape[-2:]
        y = round(height * np.random.uniform(*self.center_range))
        x = round(width * np.random.uniform(*self.center_range))
        mosaic = torch.empty_like(images)
        mixed = torch.zeros_like(labels)
        spans = [(0, y, 0, x), (0, y, x, width), (y, height, 0, x), (y, height, x, width)]
        for part, (top, bottom, left, right) in enumerate(spans):
            from_y = int(np.random.randint(height - (bottom - top) + 1))
            from_x = int(np.random.randint(width - (right - left) + 1))
            crop = images[..., from_y : from_y + bottom - top, from_x : from_x + right - left]
            source = labels
            if part > 0:
                order = torch.randperm(len(images), device=images.device)
                crop = crop.index_select(0, order)
                source = labels.index_select(0, order)
            mosaic[..., top:bottom, left:right] = crop
            mixed = mixed.add(source, alpha=(bottom - top) * (right - left) / (height * width))
        return mosaic, mixed

    def extra_repr(self) -> str:
        """Show the options in the model's print-out."""
        return f"{super().extra_repr()}, center_range={self.center_range}"
