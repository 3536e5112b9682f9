"""Data sets in batches: samplers, collate functions, and the building of loaders."""

from .build import build_dataloader
from .collate import default_collate, pseudo_collate
from .epochs import is_endless, seek, set_epoch
from .samplers import DefaultSampler, InfiniteSampler
from .worker import worker_init_fn

__all__ = [
    "DefaultSampler",
    "InfiniteSampler",
    "build_dataloader",
    "default_collate",
    "is_endless",
    "pseudo_collate",
    "seek",
    "set_epoch",
    "worker_init_fn",
]
