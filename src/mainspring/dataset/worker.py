"""What a loader's worker does first."""

from __future__ import annotations

import warnings
from typing import Any

from torch.utils.data import get_worker_info

from ..registry import FUNCTIONS
from ..utils import Stream, mix, seed_generators

__all__ = ["worker_init_fn"]


@FUNCTIONS.register_module()
def worker_init_fn(
    worker_id: int,
    num_workers: int,
    rank: int,
    seed: int,
    disable_subprocess_warning: bool = False,
    sampler: Any = None,
) -> None:
    """Seed the generators of Python, NumPy and torch in a loader's worker.

    Two workers never share a stream, on one rank or on several. Nor do two epochs, where workers start anew
    in each.

    Args:
        worker_id: From 0 to ``num_workers - 1``.
        num_workers: How many workers the loader has.
        rank: Rank of the process that the loader belongs to.
        seed: Seed of the run.
        disable_subprocess_warning: Show no warnings of workers other than the first.
        sampler: The loader's sampler. The epoch that was last set in it becomes part of the seed. Where it
            has none, the number that torch draws for each ``iter()`` of the loader, from the global
            generator, does.
    """
    epoch = getattr(sampler, "epoch", None)  # the sampler may be anyone's
    if epoch is None:
        worker = get_worker_info()
        epoch = 0 if worker is None else worker.seed - worker.id
    seed_generators(mix(Stream.SAMPLE, seed, rank, worker_id, epoch))
    if disable_subprocess_warning and worker_id != 0:
        warnings.simplefilter("ignore")
