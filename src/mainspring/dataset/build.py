"""From a config dict to a ``DataLoader``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from ..dist import get_rank, get_world_size
from ..registry import DATA_SAMPLERS, DATASETS, FUNCTIONS, build
from ..utils import check_type, did_you_mean
from .collate import pseudo_collate
from .samplers import DefaultSampler, FirstOnly, first_with
from .shares import shared_over_ranks
from .worker import worker_init_fn

__all__ = ["build_dataloader", "check_loader_options", "function_named"]

_TYPES = {
    "batch_size": int | None,
    "shuffle": bool | None,
    "num_workers": int,
    "drop_last": bool,
    "pin_memory": bool,
    "persistent_workers": bool,
    "prefetch_factor": int | None,
    "timeout": float,
    "num_batch_per_epoch": int | None,
    "disable_subprocess_warning": bool,
}
_OWN_KEYS = ("num_batch_per_epoch", "disable_subprocess_warning")
_KEYS = (*[key for key in inspect.signature(DataLoader).parameters if key != "self"], *_OWN_KEYS)


def build_dataloader(
    cfg: DataLoader[Any] | Mapping[str, Any],
    seed: int | None,
    *,
    name: str = "dataloader",
) -> DataLoader[Any]:
    """Build a data loader from a dict; a ``DataLoader`` is returned as it is, but divided among several processes.

    The keys are the arguments of ``torch.utils.data.DataLoader``, of which these may be configs too:

    - ``dataset``: an object, or a dict for ``DATASETS``. Its ``full_init()`` is called where it has one.
    - ``sampler``: an object, or a dict for ``DATA_SAMPLERS``, which gets ``dataset`` and ``seed``. Without
      one it is ``DefaultSampler(shuffle=False)``; ``shuffle=True`` turns its shuffling on. An
      ``IterableDataset`` has none.
    - ``batch_sampler``: an object, or a dict for ``DATA_SAMPLERS``, which gets ``sampler`` and
      ``batch_size``.
    - ``batch_size``: samples in a batch of one rank; needed unless there is a ``batch_sampler``.
    - ``collate_fn``: a function, a name in ``FUNCTIONS``, or a dict with the name as ``type`` and further
      arguments; by default :func:`pseudo_collate`, which keeps lists.
    - ``worker_init_fn``: the same; by default our :func:`worker_init_fn` with ``seed`` and the rank.

    Two are our own: ``num_batch_per_epoch`` ends each epoch after so many batches, and
    ``disable_subprocess_warning`` silences the workers but the first.

    Args:
        cfg: The dict; it is not changed.
        seed: Seed of the order and of the workers, the same on all ranks. With None the order has a seed of
            its own, and torch seeds the workers.
        name: What the user calls it, such as ``"train_dataloader"``; begins every message.

    Raises:
        TypeError: ``cfg`` is neither a dict nor a DataLoader, or lacks ``dataset`` or ``batch_size``.
        ValueError: A key is unknown, two keys exclude each other, or there would be no batch at all.

    >>> loader = build_dataloader(dict(dataset=list("abcde"), batch_size=2, num_batch_per_epoch=2), seed=0)
    >>> list(loader)
    [['a', 'b'], ['c', 'd']]
    """
    if isinstance(cfg, DataLoader):
        _refuse_no_batches(cfg, name)
        return shared_over_ranks(cfg, name)
    if not isinstance(cfg, Mapping):
        raise TypeError(f"{name} must be a DataLoader or a dict, but it is {cfg!r} ({type(cfg).__name__}).")
    options = {key: cfg[key] for key in cfg}
    check_loader_options(options, name)

    dataset = options["dataset"] = build(options["dataset"], DATASETS)
    _check_dataset(dataset, name)
    full_init = getattr(dataset, "full_init", None)
    if full_init is not None:
        full_init()

    limit = options.pop("num_batch_per_epoch", None)
    if limit is not None and limit < 1:
        raise ValueError(f"{name}.num_batch_per_epoch must be 1 or more, but it is {limit}.")
    quiet = options.pop("disable_subprocess_warning", False)
    if isinstance(dataset, IterableDataset):
        _refuse_order(options, limit, name)
    else:
        _refuse_empty(dataset, name)
        _build_order(options, limit, seed, name)

    if options.get("collate_fn") is not None:
        options["collate_fn"] = function_named(options["collate_fn"], f"{name}.collate_fn")
    elif options.get("batch_size", 1) is not None:  # with None, the data set makes the batches itself
        options["collate_fn"] = pseudo_collate
    if options.get("worker_init_fn") is not None:
        options["worker_init_fn"] = function_named(options["worker_init_fn"], f"{name}.worker_init_fn")
    elif seed is not None:
        options["worker_init_fn"] = partial(
            worker_init_fn,
            num_workers=options.get("num_workers", 0),
            rank=get_rank(),
            seed=seed,
            disable_subprocess_warning=quiet,
            sampler=first_with("epoch", options.get("batch_sampler", options.get("sampler"))),
        )
    try:
        loader: DataLoader[Any] = DataLoader(**options)
    except Exception as error:
        error.add_note(f"Raised while building {name}.")
        raise
    _refuse_no_batches(loader, name)
    return loader


def check_loader_options(options: Mapping[str, Any], name: str) -> None:
    """Check the keys of a loader's config and the types of its plain values; ``name`` begins the messages.

    Raises:
        TypeError: A value has the wrong type, or ``dataset`` or ``batch_size`` is missing.
        ValueError: There is no such key.
    """
    for key in options:
        if key not in _KEYS:
            raise ValueError(
                f"{name}.{key}: there is no such key.{did_you_mean(str(key), _KEYS)} The keys are: {', '.join(_KEYS)}."
            )
    if "dataset" not in options:
        raise TypeError(f"{name}.dataset is missing: give the data set, or a dict with its type.")
    if "batch_size" not in options and options.get("batch_sampler") is None:
        raise TypeError(f"{name}.batch_size is missing: give the number of samples in a batch of one rank.")
    for key, kind in _TYPES.items():
        if key in options:
            check_type(options[key], kind, f"{name}.{key}")


def _check_dataset(dataset: Any, name: str) -> None:
    if isinstance(dataset, (str, type)) or not (
        isinstance(dataset, IterableDataset) or callable(getattr(dataset, "__getitem__", None))
    ):
        raise TypeError(
            f"{name}.dataset must be a data set (an object with __getitem__ and __len__, or an IterableDataset) or a"
            f" config dict of one, but it is {dataset!r} ({type(dataset).__name__})."
        )


def _check_iterable(sampler: Any, path: str, example: str) -> None:
    if isinstance(sampler, (str, type)) or not isinstance(sampler, Iterable):
        raise TypeError(
            f"{path} must be a sampler or a config dict of one, such as {example}, but it is {sampler!r}"
            f" ({type(sampler).__name__})."
        )


def _build_order(options: dict[str, Any], limit: int | None, seed: int | None, name: str) -> None:
    """Replace what ``options`` say about the order by a sampler or a batch sampler."""
    dataset = options["dataset"]
    shuffle = options.pop("shuffle", None)
    sampler = options.pop("sampler", None)
    batch_sampler = options.pop("batch_sampler", None)
    if shuffle and (sampler is not None or batch_sampler is not None):
        raise ValueError(f"{name}.shuffle: the sampler makes the order, so give shuffle=True to the sampler.")
    if batch_sampler is not None and options.get("drop_last"):
        raise ValueError(
            f"{name}.drop_last: the batch sampler makes the batches, so give drop_last=True to the batch sampler."
        )
    if batch_sampler is not None and not isinstance(batch_sampler, Mapping):
        for key, value in (("sampler", sampler), ("batch_size", options.pop("batch_size", None))):
            if value is not None:
                raise ValueError(f"{name}.{key}: the batch sampler is built already, so leave {key} out.")
    else:
        if sampler is None:
            sampler = DefaultSampler(dataset, shuffle=bool(shuffle), seed=seed)
        sampler = build(sampler, DATA_SAMPLERS, dataset=dataset, seed=seed)
        _check_iterable(sampler, f"{name}.sampler", "dict(type='DefaultSampler', shuffle=True)")

    if batch_sampler is not None:
        parts = {"sampler": sampler}
        if "batch_size" in options:
            parts["batch_size"] = options.pop("batch_size")
        batch_sampler = build(batch_sampler, DATA_SAMPLERS, **parts)
        _check_iterable(batch_sampler, f"{name}.batch_sampler", "torch's BatchSampler")
        options["batch_sampler"] = batch_sampler if limit is None else FirstOnly(batch_sampler, limit)
    else:
        # The sampler is cut, not the batches, so that the loader still knows its batch_size.
        count = None if limit is None else limit * (options["batch_size"] or 1)
        options["sampler"] = sampler if count is None else FirstOnly(sampler, count)


def function_named(given: Any, path: str) -> Callable[..., Any]:
    """Return a function, or the one of a name in ``FUNCTIONS``, or of a dict with it as ``type`` and arguments.

    Raises:
        TypeError: It is none of these.
        ValueError: There is no function of this name.
    """
    if callable(given):
        return given  # type: ignore[no-any-return]
    further = dict(given) if isinstance(given, Mapping) else {"type": given}
    target = further.pop("type", None)
    if isinstance(target, str):
        with FUNCTIONS.switch_scope_and_registry(None) as registry:
            found = registry.get(target)
            if found is None:
                raise ValueError(
                    f"{path}: {target!r} is not registered in "
                    f"FUNCTIONS.{did_you_mean(target, registry.module_dict)} Decorate the function with "
                    "@FUNCTIONS.register_module(), or give the function itself."
                )
        target = found
    if not callable(target):
        raise TypeError(
            f"{path} must be a function, a name in FUNCTIONS, or a dict with one of these as type; got {given!r}."
        )
    return partial(target, **further) if further else target


def _refuse_order(options: dict[str, Any], limit: int | None, name: str) -> None:
    """Check that no order is asked of an ``IterableDataset``, which has its own."""
    order = {key: options.pop(key, None) for key in ("sampler", "batch_sampler", "shuffle")}
    for key, value in {**order, "num_batch_per_epoch": limit}.items():
        if value is not None and value is not False:
            raise ValueError(
                f"{name}.{key}: the data set is an IterableDataset ({type(options['dataset']).__name__}), "
                f"which decides itself what comes and when it ends. Leave {key} out."
            )


def _length(sized: Any) -> int | None:
    try:
        return len(sized)
    except (TypeError, NotImplementedError):  # data without a length
        return None


def _refuse_empty(dataset: Any, name: str) -> None:
    if _length(dataset) == 0:
        raise ValueError(
            f"{name}.dataset is empty: len({type(dataset).__name__}) is 0. "
            "Check the path of its files and what its filters leave over."
        )


def _refuse_no_batches(loader: DataLoader[Any], name: str) -> None:
    if _length(loader) == 0:
        raise ValueError(
            f"{name} gives no batch: {_length(loader.dataset)} samples, {get_world_size()} rank(s), "
            f"batch_size={loader.batch_size}, drop_last={loader.drop_last}. "
            "Add data, make the batch smaller, or keep the last incomplete batch with drop_last=False."
        )
