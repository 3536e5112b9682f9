"""Where a loader begins its next pass."""

from __future__ import annotations

from typing import Any

from .samplers import InfiniteSampler

__all__ = ["is_endless", "seek", "set_epoch"]


def set_epoch(loader: Any, epoch: int) -> None:
    """Call ``set_epoch`` of a loader's sampler, or of its batch sampler, or of that one's sampler.

    Samplers are anybody's; the first that has the method gets the call, and none need have it.
    """
    batch_sampler = getattr(loader, "batch_sampler", None)
    for sampler in (getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None)):
        method = getattr(sampler, "set_epoch", None)
        if method is not None:
            method(epoch)
            return


def is_endless(loader: Any) -> bool:
    """Whether a pass over the loader never ends, because its sampler is an :class:`InfiniteSampler`."""
    return isinstance(getattr(loader, "sampler", None), InfiniteSampler)


def seek(loader: Any, batches: int) -> tuple[int, int]:
    """Let a loader of which so many batches are used up begin as near to there as it can.

    Args:
        loader: It is gone over again and again.
        batches: Batches that were drawn from it since the beginning of the run.

    Returns:
        The number of the pass that begins, and how many of its batches are used up and must be dropped.
    """
    if is_endless(loader) and loader.batch_size is not None:
        loader.sampler.seek(batches * loader.batch_size)
        return 0, 0
    try:
        return divmod(batches, len(loader))
    except TypeError:  # iterable data of unknown length
        return 0, batches
