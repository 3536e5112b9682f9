"""Augmentation of whole batches, on the device."""

from .base import BatchAugment, build_augments, soft_labels
from .mixing import CutMix, MixUp
from .mosaic import Mosaic
from .random_choice import RandomChoice

__all__ = [
    "BatchAugment",
    "CutMix",
    "MixUp",
    "Mosaic",
    "RandomChoice",
    "build_augments",
    "soft_labels",
]
