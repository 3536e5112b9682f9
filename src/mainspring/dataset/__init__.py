"""Data sets in batches: samplers, collate functions, and loaders that begin anywhere."""

from .build import build_dataloader
from .collate import default_collate, pseudo_collate
from .epochs import is_endless, place_of
from .passes import cannot_seek, load_loader_state, loader_state, pass_over, set_epoch
from .resumable import ResumableLoader, resumable
from .samplers import DefaultSampler, InfiniteSampler
from .worker import worker_init_fn

__all__ = [
    "DefaultSampler",
    "InfiniteSampler",
    "ResumableLoader",
    "build_dataloader",
    "cannot_seek",
    "default_collate",
    "is_endless",
    "load_loader_state",
    "loader_state",
    "pass_over",
    "place_of",
    "pseudo_collate",
    "resumable",
    "set_epoch",
    "worker_init_fn",
]
