"""One of several."""

from __future__ import annotations

import math
import random
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from torch import nn

from ...registry import MODELS
from .base import build_augments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["RandomChoice"]


@MODELS.register_module()
class RandomChoice(nn.Module):
    """Chooses one of several augmentations for each batch.

    Args:
        augments: Modules that take a batch and return one, or their configs. ``torch.nn.Identity()`` among
            them leaves the batch alone.
        weights: How often each is chosen, relative to the others; by default all equally often.

    >>> import torch
    >>> either = RandomChoice([dict(type="MixUp", num_classes=3), dict(type="CutMix", num_classes=3)], [1, 2])
    >>> images, labels = either((torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 1])))
    >>> labels.shape
    torch.Size([4, 3])
    """

    def __init__(
        self, augments: Sequence[nn.Module | Mapping[str, Any]], weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.augments = build_augments(augments, "augments of RandomChoice")
        if not self.augments:
            raise ValueError("RandomChoice needs at least one augmentation to choose, but augments is empty.")
        shares = [1.0] * len(self.augments) if weights is None else [float(weight) for weight in weights]
        if len(shares) != len(self.augments):
            raise ValueError(
                f"RandomChoice has {len(self.augments)} augments but {len(shares)} weights; each needs one."
            )
        if not all(0 <= share < math.inf for share in shares) or sum(shares) == 0:
            raise ValueError(
                f"weights of RandomChoice must be numbers of at least zero, not all of them zero, but are {weights!r}."
            )
        self.weights = tuple(shares)
        self._cumulative = list(accumulate(shares))

    def forward(self, data: Any) -> Any:
        """Return the batch as one of the augmentations leaves it."""
        (chosen,) = random.choices(range(len(self.weights)), cum_weights=self._cumulative)
        return self.augments[chosen](data)

    def extra_repr(self) -> str:
        """Show the weights in the model's print-out."""
        return f"weights={self.weights}"
