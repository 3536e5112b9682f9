"""Data sets in batches: samplers, collate functions, and loaders that begin anywhere."""

from typing import TYPE_CHECKING

from ..utils import lazy_names
from .base_dataset import BaseDataset
from .build import build_dataloader
from .collate import default_collate, pseudo_collate
from .compose import Compose
from .epochs import is_endless, place_of
from .full_init import force_full_init
from .passes import cannot_seek, load_loader_state, loader_state, pass_over, set_epoch
from .resumable import ResumableLoader, resumable
from .samplers import DefaultSampler, InfiniteSampler
from .worker import worker_init_fn
from .wrappers import ClassBalancedDataset, ConcatDataset, RepeatDataset

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__)

__all__ = [
    "BaseDataset",
    "ClassBalancedDataset",
    "Compose",
    "ConcatDataset",
    "DefaultSampler",
    "InfiniteSampler",
    "RepeatDataset",
    "ResumableLoader",
    "build_dataloader",
    "cannot_seek",
    "default_collate",
    "force_full_init",
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
