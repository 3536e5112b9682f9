"""The largest batch that fits."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import torch
from torch.utils.data import IterableDataset

from ..runner import Runner
from ..runner.keeping import trial
from ..utils import Stream, check_type, step_seeder

__all__ = ["find_batch_size"]

_SAMPLES = 64
"""How many samples are read; larger batches have copies of them."""


def find_batch_size(
    runner: Runner,
    start: int | None = None,
    max_batch_size: int | None = None,
    *,
    fits: Callable[[int], bool] | None = None,
    samples: Sequence[Any] | None = None,
    num_updates: int = 2,
) -> int:
    """Return the largest batch size with which the model can be trained on its device.

    Sizes are doubled until one does not fit, and then halved between. One fits if ``num_updates`` updates with it do
    not run out of memory. They go through the model's own ``train_step``, with AMP and accumulation as configured. The
    run is left as it was: model, optimizer, scaler, generators and scalars; its loader is not used.

    What else takes memory later, such as a validation with another batch size or an average of the weights, is not in
    it, and samples may be larger than those that are tried: leave some room.

    Args:
        runner: The run, before or after its training.
        start: The size to begin with; that of ``train_dataloader`` by default.
        max_batch_size: The largest that is tried, by default as many as the data set has samples. A CPU does not run
            out of memory as a device does, it begins to swap: there, this or ``fits`` is needed.
        fits: Called with the batch size after its updates; False is too large, as if memory had run out:
            ``lambda size: torch.cuda.max_memory_allocated() < 20e9``.
        samples: What batches are made of, the largest samples best; by default the first 64 of the training data.
        num_updates: Updates with each size; the optimizer may take its memory at the first one.

    Raises:
        ValueError: Not even one sample fits, or an argument is out of its range.
        TypeError: The loader makes no batches of samples, or an argument has the wrong type.
        RuntimeError: The runner was given nothing to train with.
    """
    check_type(runner, Runner, "find_batch_size: runner")
    if fits is not None and not callable(fits):
        raise TypeError(f"find_batch_size: fits must be a function of the batch size, but it is {fits!r}.")
    loader = runner.train_dataloader
    configured = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 1
    begin = configured if start is None else start
    if loader.batch_size is None and loader.batch_sampler is None:
        raise TypeError(
            "find_batch_size needs a train_dataloader that makes batches of samples, but its batch_size is None: the"
            " data set makes them itself."
        )
    if max_batch_size is None and fits is None and runner.device.type == "cpu":
        raise ValueError(
            "find_batch_size on the CPU needs an end: max_batch_size=..., or fits=..., such as a bound on the memory of"
            " the process. A CPU does not say when memory runs out, it becomes slow."
        )
    for name, value in (("start", begin), ("max_batch_size", max_batch_size), ("num_updates", num_updates)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"find_batch_size: {name} must be a whole number of at least 1, but it is {value!r}.")
    with trial(runner) as tried:
        chosen = list(islice(_read(loader.dataset), _SAMPLES)) if samples is None else list(samples)
        if not chosen:
            raise ValueError("find_batch_size: there are no samples to make a batch of.")

        def works(size: int) -> bool:
            fitted = _runs_through(runner, chosen, size, num_updates) and (fits is None or bool(fits(size)))
            tried.put_back()  # an update that broke off leaves anything
            tried.begin()
            return fitted

        return _largest(works, begin, _most(loader.dataset) if max_batch_size is None else max_batch_size)


def _largest(works: Callable[[int], bool], begin: int, most: int | None) -> int:
    """Return the largest number up to ``most`` that works, where all smaller ones do too."""
    good, size = 0, begin if most is None else min(begin, most)
    while works(size):
        good = size
        if good == most:
            return good
        size = 2 * good if most is None else min(2 * good, most)
    bad = size
    while bad - good > 1:
        size = (good + bad) // 2
        if works(size):
            good = size
        else:
            bad = size
    if good == 0:
        raise ValueError("find_batch_size: not even a batch of one sample fits. Take a smaller model, or AMP.")
    return good


def _runs_through(runner: Runner, samples: Sequence[Any], size: int, num_updates: int) -> bool:
    """Train with batches of a size, and return whether memory was enough."""
    memory: Any = torch.get_device_module(runner.device) if runner.device.type not in ("cpu", "meta") else None
    if memory is not None and runner.device.type != "mps":
        memory.reset_peak_memory_stats()
    try:
        _train(runner, samples, size, num_updates)
        if memory is not None:
            memory.synchronize()
        return True
    except Exception as error:
        if not _is_out_of_memory(error):
            error.add_note(f"(raised in a training step with {size} samples, which find_batch_size has tried)")
            raise
    # Only here are the error, and with it the tensors of the step, given up.
    gc.collect()
    if memory is not None:
        memory.empty_cache()
    return False


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()  # MPS, the CPU's allocator and cuBLAS have no class for it
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        sign in text for sign in ("out of memory", "can't allocate memory", "cublas_status_alloc_failed")
    )


def _train(runner: Runner, samples: Sequence[Any], size: int, num_updates: int) -> None:
    wrapper = runner.optim_wrapper
    parts = getattr(wrapper, "parts", {"": wrapper})  # a wrapper may be anybody's
    group = max(getattr(part, "accumulative_counts", 1) for part in parts.values())
    seed_step = step_seeder(Stream.STEP, runner.seed, runner.rank, runner.device)
    for number in range(num_updates * group):
        batch = [copy.deepcopy(samples[index % len(samples)]) for index in range(size)]
        seed_step(number)
        runner.model.train_step(runner.train_dataloader.collate_fn(batch), optim_wrapper=wrapper)


def _most(dataset: Any) -> int | None:
    """Return the length of a data set, or None where it has none."""
    try:
        return len(dataset)
    except TypeError:
        return None


def _read(dataset: Any) -> Any:
    if isinstance(dataset, IterableDataset):
        return iter(dataset)
    return (dataset[index] for index in range(len(dataset)))
