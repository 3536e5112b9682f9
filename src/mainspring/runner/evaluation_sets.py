"""What is evaluated: one set of data, or several by name, each with its evaluator and its interval."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from ..utils import check_count, check_type, did_you_mean
from .base_loop import BaseTrainLoop

if TYPE_CHECKING:
    from ..evaluator import Evaluator
    from .runner import Runner

__all__ = ["EvaluationSet", "checked_intervals", "evaluators_by_name", "loaders_by_name"]

_OF_A_LOADER = frozenset(("dataset", "batch_size", "sampler", "batch_sampler", "num_workers", "collate_fn", "type"))


@dataclass(frozen=True)
class EvaluationSet:
    """A set of data, and what judges the predictions for it."""

    name: str
    """Begins the names of its results; empty where it is the only set."""
    dataloader: DataLoader[Any]
    evaluator: Evaluator
    interval: int
    """From one of its evaluations in a training to the next, in epochs or iterations; 1 is every validation."""

    def is_due(self, runner: Runner) -> bool:
        """Whether an evaluation that begins now includes this set; outside of a training it always does."""
        if not runner.is_training or self.interval == 1:
            return True
        done, last = (runner.epoch, runner.max_epochs) if runner.by_epoch else (runner.iter, runner.max_iters)
        return done % self.interval == 0 or done >= last


def loaders_by_name(dataloader: Any, mode: str) -> dict[str, Any]:
    """Return loaders, or their configs, by the names of their sets; a single one has the empty name.

    Raises:
        TypeError: A name is no string.
        ValueError: A name is empty, or has a slash.

    >>> list(loaders_by_name({"clean": {"dataset": "ab", "batch_size": 1}, "noisy": {"dataset": "cd"}}, "val"))
    ['clean', 'noisy']
    >>> list(loaders_by_name({"dataset": "ab", "batch_size": 1}, "val"))
    ['']
    """
    is_config = isinstance(dataloader, Mapping) and not _OF_A_LOADER.isdisjoint(dataloader)
    if is_config or not isinstance(dataloader, Mapping) or not any(map(_is_loader, dataloader.values())):
        return {"": dataloader}
    for name in dataloader:
        check_type(name, str, f"A name in {mode}_dataloader")
        if not name or "/" in name:
            raise ValueError(
                f"{mode}_dataloader: a name begins the names of results, as in 'clean/accuracy/top1', so that it is not"
                f" empty and has no slash, but one is {name!r}."
            )
    return dict(dataloader)


def _is_loader(value: Any) -> bool:
    return isinstance(value, DataLoader) or (isinstance(value, Mapping) and "dataset" in value)


def evaluators_by_name(names: Collection[str], given: Any, mode: str) -> dict[str, Any]:
    """Return what the evaluator of each set is built from: what is given for it, or a copy of what is given for all.

    Raises:
        ValueError: Evaluators are given by name, but not by the names of the sets.
    """
    if not any(names):
        return dict.fromkeys(names, given)
    if not isinstance(given, Mapping) or not {"type", "metrics"}.isdisjoint(given):
        return {name: deepcopy(given) for name in names}
    _check_names(given, names, f"{mode}_evaluator", mode)
    missing = [name for name in names if name not in given]
    if missing:
        raise ValueError(
            f"{mode}_evaluator has none for {', '.join(missing)}: give each set of {mode}_dataloader its metrics, or"
            " one config of metrics, which is then used for all."
        )
    return dict(given)


def checked_intervals(names: Collection[str], given: Any, mode: str, train_loop: Any) -> dict[str, int]:
    """Return the interval of each set.

    Args:
        names: The sets.
        given: ``val_cfg.intervals``, which need not name all sets.
        mode: ``val`` or ``test``.
        train_loop: Says when validations come, if there is one.

    Raises:
        TypeError: An interval is no integer.
        ValueError: One is of no set, or does not fit the validations.
    """
    path = f"{mode}_cfg.intervals"
    check_type(given, Mapping | None, path)
    intervals: dict[str, int] = dict(given or {})
    if intervals and not any(names):
        raise ValueError(
            f"{path} says how often each of several sets of data is evaluated, but {mode}_dataloader is one. Give"
            " several by name: dict(clean=dict(dataset=..., batch_size=...), noisy=...)."
        )
    _check_names(intervals, names, path, mode)
    for name, interval in intervals.items():
        check_count(interval, f"{path}.{name}")
        for every in train_loop.dynamic_intervals if isinstance(train_loop, BaseTrainLoop) and interval > 1 else ():
            if interval % every:
                unit = "epochs" if train_loop.by_epoch else "iterations"
                raise ValueError(
                    f"{path}.{name} is {interval}, but validations come every {every} {unit}. It counts {unit} too, and"
                    " must be a multiple of that."
                )
    every_set = {name: intervals.get(name, 1) for name in names}
    if min(every_set.values()) > 1:
        raise ValueError(
            f"{path} is {intervals}, so that some validations would have nothing to do. Leave out the set that is to"
            " be evaluated every time, and let train_cfg.val_interval say when that is."
        )
    return every_set


def _check_names(given: Mapping[str, Any], names: Collection[str], path: str, mode: str) -> None:
    for name in given:
        if name not in names:
            raise ValueError(
                f"{path}.{name}: {mode}_dataloader has no set of this name.{did_you_mean(str(name), names)} It has:"
                f" {', '.join(names)}."
            )
