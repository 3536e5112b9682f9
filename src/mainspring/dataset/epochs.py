"""What the samplers of a loader say about its passes."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader

from .samplers import FirstOnly, InfiniteSampler

__all__ = ["is_endless", "place_of", "samplers_of", "tell_epoch"]


def samplers_of(loader: Any) -> list[Any]:
    """Return the sampler that makes a loader's order, and those inside it that it takes its indices from."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    sampler = getattr(loader, "sampler", None) if batch_sampler is None else batch_sampler
    chain: list[Any] = []
    while sampler is not None and not any(sampler is other for other in chain):
        chain.append(sampler)
        sampler = getattr(sampler, "sampler", None)
    return chain


def tell_epoch(loader: Any, epoch: int) -> None:
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
    """Whether a pass over the loader never ends, because its order is that of an :class:`InfiniteSampler`."""
    chain = samplers_of(loader)
    endless = any(isinstance(sampler, InfiniteSampler) for sampler in chain)
    return endless and not any(isinstance(sampler, FirstOnly) for sampler in chain)


def place_of(loader: DataLoader[Any], batches: int) -> tuple[int, int]:
    """Return in which pass over a loader so many batches end, and how many of them belong to that pass."""
    if is_endless(loader):
        return 0, batches
    try:
        return divmod(batches, len(loader))
    except TypeError:  # iterable data of unknown length
        return 0, batches
