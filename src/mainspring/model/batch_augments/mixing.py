"""Two images in one."""

from __future__ import annotations

import math

import numpy as np
import torch

from ...registry import MODELS
from .base import BatchAugment

__all__ = ["CutMix", "MixUp"]


@MODELS.register_module()
class MixUp(BatchAugment):
    r"""Blends each image, and its label, with another one of the batch.

    With :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)`, drawn once for the batch, and a random
    permutation :math:`\pi` of it:

    .. math::
        \tilde x_i = \lambda x_i + (1 - \lambda) x_{\pi(i)}, \qquad
        \tilde y_i = \lambda y_i + (1 - \lambda) y_{\pi(i)}

    Labels that sum to one still do, and :math:`E[\lambda] = 1/2`.

    Source: Zhang, Cissé, Dauphin, Lopez-Paz: "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
    arXiv:1710.09412.

    Args:
        alpha: Shape of the Beta distribution. Near zero one of the two images prevails; at 1 all shares are
            equally likely.
        num_classes: How many classes there are; needed where labels are class indices.
        probability: How often a batch is mixed.
        inputs: The key of the images in a batch that is a dict.
        labels: The key of the labels.

    Shapes:
        Images (N, C, H, W), floating: what has been normalised, by :class:`ImgDataPreprocessor` for instance.
        Labels: indices (N,), or one-hot or soft (N, C); see :func:`soft_labels`. Out come images of the same
        shape, dtype and memory format, and floating labels (N, C).

    >>> import torch
    >>> images, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 1])
    >>> images, labels = MixUp(alpha=0.2, num_classes=3)((images, labels))
    >>> images.shape, labels.shape
    (torch.Size([4, 3, 8, 8]), torch.Size([4, 3]))
    """

    def __init__(
        self,
        alpha: float = 1.0,
        num_classes: int | None = None,
        probability: float = 1.0,
        *,
        inputs: str = "inputs",
        labels: str = "labels",
    ) -> None:
        super().__init__(num_classes, probability, inputs=inputs, labels=labels)
        self.alpha = _checked_alpha(alpha, "MixUp")

    def augment(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mixed images and labels.

        Raises:
            TypeError: The images are not floating.
        """
        if not images.is_floating_point():
            raise TypeError(
                f"MixUp blends images of a floating dtype, but got {images.dtype}. Let ImgDataPreprocessor"
                " convert and normalise them first, as in ImgDataPreprocessor(mean, std,"
                " augments=[MixUp(...)])."
            )
        share = 1 - np.random.beta(self.alpha, self.alpha)
        order = torch.randperm(len(images), device=images.device)
        return (
            # The image comes first, since the result takes the memory format of the first operand.
            torch.lerp(images, images.index_select(0, order), share),
            torch.lerp(labels, labels.index_select(0, order), share),
        )

    def extra_repr(self) -> str:
        """Show the options in the model's print-out."""
        return f"alpha={self.alpha}, {super().extra_repr()}"


@MODELS.register_module()
class CutMix(BatchAugment):
    r"""Puts a rectangle of another image of the batch into each image, and mixes the labels by area.

    With :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)`, drawn once for the batch, the rectangle has the
    sides :math:`r_w = W \sqrt{1 - \lambda}` and :math:`r_h = H \sqrt{1 - \lambda}` around a centre that is
    uniform in the image. What lies outside is cut off, and :math:`\lambda` becomes the share of pixels that
    is really left of the image itself. With a random permutation :math:`\pi` of the batch:

    .. math:: \tilde y_i = \lambda y_i + (1 - \lambda) y_{\pi(i)}

    Labels that sum to one still do.

    Source: Yun, Han, Oh, Chun, Choe, Yoo: "CutMix: Regularization Strategy to Train Strong Classifiers with
    Localizable Features", ICCV 2019, arXiv:1905.04899.

    Args:
        alpha: Shape of the Beta distribution.
        num_classes: How many classes there are; needed where labels are class indices.
        probability: How often a batch is mixed.
        inputs: The key of the images in a batch that is a dict.
        labels: The key of the labels.

    Shapes:
        Images (N, C, H, W) of any dtype, since pixels are copied. Labels: indices (N,), or one-hot or soft
        (N, C); see :func:`soft_labels`. Out come images of the same shape, dtype and memory format, and
        floating labels (N, C).
    """

    def __init__(
        self,
        alpha: float = 1.0,
        num_classes: int | None = None,
        probability: float = 1.0,
        *,
        inputs: str = "inputs",
        labels: str = "labels",
    ) -> None:
        super().__init__(num_classes, probability, inputs=inputs, labels=labels)
        self.alpha = _checked_alpha(alpha, "CutMix")

    def augment(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mixed images and labels."""
        height, width = images.shape[-2:]
        side = math.sqrt(1 - np.random.beta(self.alpha, self.alpha))
        top, bottom = _span(height, side)
        left, right = _span(width, side)
        order = torch.randperm(len(images), device=images.device)
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = images[..., top:bottom, left:right].index_select(0, order)
        share = (bottom - top) * (right - left) / (height * width)
        return mixed, torch.lerp(labels, labels.index_select(0, order), share)

    def extra_repr(self) -> str:
        """Show the options in the model's print-out."""
        return f"alpha={self.alpha}, {super().extra_repr()}"


def _span(size: int, side: float) -> tuple[int, int]:
    """Return begin and end of a span of ``side * size`` around a random centre, clipped to the image."""
    length = int(size * side)
    begin = int(np.random.randint(size)) - length // 2
    return max(begin, 0), min(begin + length, size)


def _checked_alpha(alpha: float, name: str) -> float:
    if not 0 < alpha < math.inf:
        raise ValueError(
            f"alpha of {name} must be a positive number, but it is {alpha!r}. To leave batches alone, leave"
            f" {name} out or lower its probability."
        )
    return float(alpha)
