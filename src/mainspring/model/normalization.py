"""``(image - mean) / std`` in one pass over the pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Normalization"]

_BLOCK = 1 << 20
"""Pixels of one channel that a processor does at a time: as float32 they stay in its cache, and in memory at hand."""


class Normalization:
    """Writes images into a batch: converted, normalised, and with the channels in their final order.

    The arithmetic is that of float32: ``x / std - mean / std``, which differs from ``(x - mean) / std`` by
    rounding, a few parts in 10^7 of ``mean / std``.

    Args:
        mean: One number for all channels or one for each, in the final order; None, with ``std``: no
            normalisation.
        std: The same; positive.
        reverse: Whether the three channels change their order.

    Attributes:
        mean, std: Equally many numbers each; none without normalisation.

    Raises:
        TypeError: ``mean`` or ``std`` is no list of numbers.
        ValueError: Only one of them is given, their lengths do not fit, or ``std`` is not positive.

    >>> images = torch.tensor([255, 0, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    >>> batch = torch.empty(1, 3, 1, 1)
    >>> Normalization([0, 0, 0], [255, 255, 255], reverse=True).write(images, batch)
    >>> batch.flatten()
    tensor([0.2000, 0.0000, 1.0000])
    """

    def __init__(self, mean: Any, std: Any, *, reverse: bool = False) -> None:
        if (mean is None) != (std is None):
            raise ValueError(
                f"mean and std go together, but mean is {mean!r} and std is {std!r}. Give both, or neither"
                " to leave the values of the images as they are."
            )
        means = [] if mean is None else _numbers(mean, "mean")
        deviations = [] if std is None else _numbers(std, "std")
        count = max(len(means), len(deviations))
        if mean is not None and not {len(means), len(deviations)} <= {1, count} - {0}:
            raise ValueError(
                "mean and std must have one number for each channel, or one for all, but mean has"
                f" {len(means)} and std {len(deviations)}."
            )
        if not all(map(math.isfinite, means)) or not all(0 < number < math.inf for number in deviations):
            raise ValueError(f"mean must be finite and std positive, but mean is {mean!r} and std is {std!r}.")
        self.mean = means * (count // len(means)) if means else []
        self.std = deviations * (count // len(deviations)) if deviations else []
        self._reverse = reverse
        self._affine = [(1 / s, -m / s) for m, s in zip(self.mean, self.std, strict=True)]

    @property
    def does_nothing(self) -> bool:
        """Whether images would be written as they are, but for their dtype."""
        return not self._affine and not self._reverse

    def check(self, images: torch.Tensor, user: str) -> None:
        """Raise a ``ValueError`` that begins with ``user`` unless the channels of (..., C, H, W) fit."""
        channels = images.shape[-3]
        if len(self._affine) > 1 and channels != len(self._affine):
            raise ValueError(
                f"{user} has a mean and std for {len(self._affine)} channels, but the images have {channels}"
                f" (shape {tuple(images.shape)}). Give one number for each channel, or one for all."
            )
        if self._reverse and channels != 3:
            raise ValueError(
                f"{user} reverses three channels (bgr_to_rgb or rgb_to_bgr), but the images have {channels}"
                f" (shape {tuple(images.shape)}). Leave both options False."
            )

    def write(self, images: torch.Tensor | Sequence[torch.Tensor], target: torch.Tensor) -> None:
        """Write images into a floating target of the shape (..., C, H, W).

        Args:
            images: A tensor of the target's shape and of any real dtype; or a list of such, for a target with a
                dimension more.
            target: Where they are written to.
        """
        count = len(target)
        if target.device.type == "cpu":
            # An operation on numbers of two dtypes converts all of its input first, into memory of its own.
            count = _BLOCK // (target.shape[-2] * target.shape[-1] + 1) + 1
        if count >= len(target) or target.dim() != 4:
            self._write(images if isinstance(images, torch.Tensor) else torch.stack(list(images)), target)
            return
        for first in range(0, len(target), count):
            part = images[first : first + count]
            self._write(part if isinstance(part, torch.Tensor) else torch.stack(list(part)), target[first:][:count])

    def _write(self, images: torch.Tensor, target: torch.Tensor) -> None:
        if not self._reverse and len(self._affine) <= 1:
            _write_part(images, target, self._affine[0] if self._affine else None)
            return
        channels = images.shape[-3]
        for channel in range(channels):
            source = channels - 1 - channel if self._reverse else channel
            affine = self._affine[channel % len(self._affine)] if self._affine else None
            _write_part(images.select(-3, source), target.select(-3, channel), affine)


def _write_part(images: torch.Tensor, target: torch.Tensor, affine: tuple[float, float] | None) -> None:
    if affine is None:
        target.copy_(images)
        return
    scale, shift = affine
    if images.is_floating_point():
        images = images.float()
    if images.requires_grad:
        target.copy_(torch.add(shift, images, alpha=scale))
    else:
        # Conversion, arithmetic and layout in one. The numbers are arguments of the kernel: nothing is copied
        # to the device for them, and the host does not wait.
        torch.add(shift, images, alpha=scale, out=target)


def _numbers(given: Any, name: str) -> list[float]:
    try:
        if isinstance(given, (str, bytes)):
            raise TypeError("a string is no list of numbers")
        return [float(number) for number in given]
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must be a list of numbers, one for each channel or one for all, but it is {given!r}."
        ) from error
