"""A pass over any loader, from any position on."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from itertools import count
from typing import Any

from torch._C._autograd import _profiler_enabled
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from ..utils import Stream, mix, seed_generators
from .epochs import tell_epoch
from .owned import owned_generators
from .resumable import ResumableLoader
from .sample_seeds import Origin
from .worker_processes import end_workers, workers_end

__all__ = ["cannot_seek", "load_loader_state", "loader_state", "pass_over", "set_epoch"]


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell a loader and its samplers, which may be anybody's, which pass begins."""
    if isinstance(loader, ResumableLoader):
        loader.set_epoch(epoch)
    else:
        tell_epoch(loader, epoch)


def pass_over(
    loader: DataLoader[Any],
    number: int,
    done: int = 0,
    *,
    seed: int,
    sample_seeding: bool = True,
    restored: bool = False,
) -> Generator[Any]:
    """Return the batches of a pass but the first ``done``.

    A :class:`ResumableLoader` begins there. Of any other, the batches up to there are read and dropped, unless its
    state was restored. Its workers end with the pass, at once where it is left before its end. Workers that are to
    persist stay, unless reading has failed.

    Args:
        loader: A loader.
        number: The number of the pass.
        done: How many of its batches are used up.
        seed: From which the generators are set, for a loader that does not do so itself.
        sample_seeding: Whether that loader's generators are set before each batch, and not only before the pass.
        restored: Whether the loader was brought to where it stood by :func:`load_loader_state`.
    """
    if isinstance(loader, ResumableLoader):
        return _sought(loader, number, done)
    return _replayed(loader, number, done, seed, sample_seeding, restored)


def _sought(loader: ResumableLoader, number: int, done: int) -> Generator[Any]:
    loader.seek(number, done)
    batches = iter(loader)
    # torch marks each batch for profilers, which takes longer than to make a small one.
    draw = batches._next_data if type(batches).__next__ is _BaseDataLoaderIter.__next__ else None
    try:
        while True:
            try:
                if draw is None or _profiler_enabled():
                    batch = next(batches)
                else:
                    batch = draw()
                    batches._num_yielded += 1
            except StopIteration:
                return
            yield batch
    except GeneratorExit:
        if not loader.persistent_workers:
            end_workers(batches)
        raise
    except RuntimeError as error:
        end_workers(batches)
        _explain(loader, error)
        raise
    except BaseException:
        end_workers(batches)
        raise


def _explain(loader: DataLoader[Any], error: RuntimeError) -> None:
    """Say what was waited for, if a loader's timeout has passed, and what may have ended a worker that is dead."""
    if str(error).startswith("DataLoader worker"):
        error.add_note(
            f"A worker of the data loader of {type(loader.dataset).__name__} is dead. Most often the memory was used"
            " up (the system's log tells of it): take fewer workers, or a smaller prefetch_factor. num_workers=0 shows"
            " whether reading a sample ends the program."
        )
    if loader.timeout and str(error).startswith("DataLoader timed out"):
        kind = type(loader.dataset).__name__
        raise TimeoutError(
            f"No batch came from the {loader.num_workers} worker(s) of the data loader of {kind} within its timeout of"
            f" {loader.timeout:g} seconds: {kind}.__getitem__, or what it calls, waits for something, such as a file"
            " system, a network or a lock; or a batch takes longer. num_workers=0 shows where it stands after Ctrl-C."
            " Give the loader a longer timeout, or timeout=0 to wait for ever."
        ) from error


def _replayed(
    loader: DataLoader[Any], number: int, done: int, seed: int, sample_seeding: bool, restored: bool
) -> Generator[Any]:
    with workers_end(loader):
        tell_epoch(loader, number)
        owned = owned_generators(loader.dataset) if sample_seeding else []
        key = mix(Stream.ORDER, seed, number)
        seed_generators(key)
        for place, reseed in enumerate(owned):
            reseed(mix(key, place))
        batches = iter(loader)
        # So that data that is read in this process draws as before; workers have taken their own copies.
        seed_batch = Origin(seed, number, owned if loader.num_workers == 0 else []).seeder()
        for place in count(done if restored else 0):
            if sample_seeding:
                seed_batch(place)
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                _explain(loader, error)
                raise
            if place >= done:
                yield batch


def loader_state(loader: DataLoader[Any]) -> dict[str, Any] | None:
    """Return what must survive a stop beside the position, or None where there is nothing."""
    owner = _owner_of_state(loader)
    return None if owner is None else owner.state_dict()


def load_loader_state(loader: DataLoader[Any], state_dict: Mapping[str, Any] | None) -> bool:
    """Bring a loader to where :func:`loader_state` was asked.

    Returns:
        Whether the loader begins there by itself now.
    """
    owner = _owner_of_state(loader)
    if owner is None or state_dict is None:
        return False
    owner.load_state_dict(state_dict)
    return owner is not loader or not isinstance(loader, ResumableLoader)


def cannot_seek(loader: DataLoader[Any]) -> str | None:
    """Return why a run that stops within a pass over the loader reads the pass from its beginning again, or None."""
    if _owner_of_state(loader) is not None:
        return None
    kind = type(loader.dataset).__name__
    if not isinstance(loader.dataset, IterableDataset):
        return (
            f"{type(loader).__name__} iterates in a way of its own and is used as it is. A plain DataLoader, or"
            " state_dict and load_state_dict in it, would spare that"
        )
    if not _has_state(loader.dataset):
        return f"{kind} is iterable and has no state_dict and load_state_dict, which would spare that"
    return (
        f"{kind} is iterable, and with num_workers={loader.num_workers} its state is that of the workers. num_workers=0"
        " or torchdata's StatefulDataLoader would spare that"
    )


def _owner_of_state(loader: DataLoader[Any]) -> Any:
    if _has_state(loader):
        return loader
    iterable = isinstance(loader.dataset, IterableDataset)
    return loader.dataset if iterable and loader.num_workers == 0 and _has_state(loader.dataset) else None


def _has_state(owner: Any) -> bool:
    # Loaders and data sets are anybody's.
    return all(callable(getattr(owner, name, None)) for name in ("state_dict", "load_state_dict"))
