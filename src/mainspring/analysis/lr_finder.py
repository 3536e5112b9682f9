"""A learning rate, found by trying all of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from ..runner import Runner
from ..runner.base_loop import check_any
from ..runner.keeping import trial
from ..utils import Stream, check_type, did_you_mean, require, step_seeder

if TYPE_CHECKING:
    from ..optim import OptimWrapper
    from ..runner.base_loop import BaseTrainLoop

__all__ = ["LRSweep", "lr_find"]

_MEMORY = 0.9
"""The weight of what was before in the running mean by which divergence is noticed."""


@dataclass(frozen=True)
class LRSweep:
    """The losses of a learning-rate range test.

    Args:
        lrs: The learning rates, rising.
        losses: The loss of each, before its update; the last may be infinite or NaN.

    >>> sweep = LRSweep([10.0**n for n in range(-6, 1)], [2.3, 2.3, 2.2, 1.9, 1.0, 0.9, 7.0])
    >>> sweep.suggestion
    0.001
    """

    lrs: Sequence[float]
    losses: Sequence[float]

    @property
    def smoothed(self) -> list[float]:
        """The losses, each as the mean of those around it, weighted by a bell as wide as a fifth of the curve."""
        losses = np.asarray(self.losses, dtype=float)
        bell = np.hanning(2 * (len(losses) // 10) + 3)
        if len(losses) < len(bell):
            return [float(value) for value in losses]
        known = np.isfinite(losses)
        weight = np.convolve(known, bell, "same")
        total = np.convolve(np.where(known, losses, 0), bell, "same")
        means: list[float] = np.where(known, total / np.where(known, weight, 1), np.nan).tolist()
        return means

    @property
    def suggestion(self) -> float | None:
        """The learning rate at which the smoothed loss falls most steeply over the logarithm of the rate.

        None where it never falls. The common rule since Smith, "Cyclical learning rates for training neural networks",
        2017 (2015 as a preprint), and the fastai library. It is where to begin the search for a good one, for warmed-up
        training, and no result of it.
        """
        smoothed = np.asarray(self.smoothed)
        known = np.isfinite(smoothed)
        curve, rates = smoothed[known], np.asarray(self.lrs, dtype=float)[known]
        bottom = int(np.argmin(curve)) if len(curve) else 0
        if bottom < 2:
            return None
        slopes = np.gradient(curve, np.log(rates))[1:bottom]
        return None if slopes.min() >= 0 else float(rates[1 + int(np.argmin(slopes))])

    def plot(self) -> Any:
        """Return a figure of matplotlib: the losses over the learning rates, with the suggestion.

        Raises:
            ImportError: Matplotlib is not installed (extra ``plot``).
        """
        figure = require("matplotlib.figure", extra="plot", purpose="A picture of the learning rates").Figure(
            figsize=(6, 4), layout="constrained"
        )
        axes = figure.add_subplot()
        axes.plot(self.lrs, self.losses, color="#0072B2", alpha=0.3, linewidth=0.8)
        axes.plot(self.lrs, self.smoothed, color="#0072B2", linewidth=1.8, label="loss, smoothed")
        if self.suggestion is not None:
            height = self.smoothed[list(self.lrs).index(self.suggestion)]
            label = f"steepest fall: {self.suggestion:.2g}"
            axes.plot([self.suggestion], [height], "o", color="#D55E00", label=label, zorder=3)
        finite = [value for value in self.smoothed if math.isfinite(value)]
        if finite:
            low, high = min(finite), max(finite[: max(1, len(finite) // 2)])
            axes.set_ylim(low - 0.1 * (high - low or 1), high + 0.3 * (high - low or 1))
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss")
        axes.grid(color="#D9D9D9", linewidth=0.6)
        axes.legend(frameon=False)
        return figure


def lr_find(
    runner: Runner,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    num_updates: int = 100,
    *,
    divergence: float = 4.0,
    loss: str = "loss",
    optimizer: str | None = None,
) -> LRSweep:
    """Train a little with learning rates that rise, and return the losses: a learning-rate range test.

    The rate rises by the same factor from update to update. The test ends early where the loss is no finite number, or
    its running mean is ``divergence`` times the least so far. Groups of the optimizer whose rate differs from that of
    most parameters (``lr_mult``) keep their proportion to it.

    Each batch goes through the model's own ``train_step``, from the weights that the run would begin with, with AMP,
    accumulation and clipping as they are configured; hooks and schedules take no part. The batches are those of the
    first pass over the data, and of the next ones if that is short. The run is left as it was: model, optimizer,
    scaler, generators, place in the data and scalars. To train it afterwards is to train it without the test.

    Args:
        runner: The run, before or after its training.
        start_lr: The first learning rate.
        end_lr: The last one.
        num_updates: How many are tried.
        divergence: How many times the least loss is too much.
        loss: Which of the values that ``train_step`` returns is looked at.
        optimizer: With several optimizers, the name of the one whose rate rises; the others keep theirs.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range, or ``optimizer`` names none, or is missing.
        KeyError: ``train_step`` returns no such loss.
        RuntimeError: The runner was given nothing to train with.

    Smith, "Cyclical learning rates for training neural networks", WACV 2017, section 3.3.
    """
    check_type(runner, Runner, "lr_find: runner")
    for name, value in (("start_lr", start_lr), ("end_lr", end_lr), ("divergence", divergence)):
        check_type(value, float, f"lr_find: {name}")
    check_type(num_updates, int, "lr_find: num_updates")
    if not 0 < start_lr < end_lr < math.inf:
        raise ValueError(
            f"lr_find: start_lr must be above 0 and below end_lr, but they are {start_lr!r} and {end_lr!r}."
        )
    if num_updates < 2:
        raise ValueError(f"lr_find: num_updates must be at least 2, but it is {num_updates!r}.")
    if not divergence > 1:
        raise ValueError(f"lr_find: divergence must be above 1, but it is {divergence!r}.")
    wrapper = _chosen(runner.optim_wrapper, optimizer)
    ratios = _proportions(wrapper)
    lrs: list[float] = []
    losses: list[float] = []
    mean = least = math.inf
    with trial(runner), closing(_steps(runner, wrapper, loss)) as steps:
        for number in range(num_updates):
            lrs.append(start_lr * (end_lr / start_lr) ** (number / (num_updates - 1)))
            for group, ratio in zip(wrapper.param_groups, ratios, strict=True):
                _set_lr(group, lrs[-1] * ratio)
            losses.append(next(steps))
            mean = losses[0] if number == 0 else _MEMORY * mean + (1 - _MEMORY) * losses[-1]
            least = min(least, mean)
            if not math.isfinite(losses[-1]) or mean > least + (divergence - 1) * abs(least):
                break
    return LRSweep(tuple(lrs), tuple(losses))


def _chosen(wrapper: OptimWrapper, name: str | None) -> OptimWrapper:
    parts = getattr(wrapper, "parts", None)  # a wrapper may be anybody's
    if parts is None:
        raise TypeError(f"lr_find needs an OptimWrapper, but the run has {wrapper!r} ({type(wrapper).__name__}).")
    named = name if name is not None or len(parts) > 1 else next(iter(parts))
    if named not in parts:
        raise ValueError(
            f"lr_find: optimizer is {name!r}, but the run has {', '.join(filter(None, parts)) or 'a single one'}."
            f"{did_you_mean(name or '', parts)} Write optimizer={next(iter(parts)) or None!r}, for instance."
        )
    chosen: OptimWrapper = parts[named]
    return chosen


def _proportions(wrapper: OptimWrapper) -> list[float]:
    """Return the learning rate of each group over that of most parameters."""
    rates = [float(group.get("initial_lr", group["lr"])) for group in wrapper.param_groups]
    sizes: Counter[float] = Counter()
    for group, rate in zip(wrapper.param_groups, rates, strict=True):
        sizes[rate] += sum(parameter.numel() for parameter in group["params"])
    usual = max((rate for rate in sizes if rate), key=sizes.__getitem__, default=0.0)
    return [rate / usual if usual else 1.0 for rate in rates]


def _set_lr(group: dict[str, Any], lr: float) -> None:
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr


def _steps(runner: Runner, wrapper: OptimWrapper, name: str) -> Generator[float]:
    """Yield for each update the mean loss of its iterations."""
    seed_step = step_seeder(Stream.STEP, runner.seed, runner.rank, runner.device)
    with closing(_batches(runner)) as batches:
        for update in count():
            losses = []
            for number in range(wrapper.accumulative_counts):
                batch = next(batches)
                seed_step(update * wrapper.accumulative_counts + number)
                outputs = runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
                losses.append(_loss_in(outputs, name, runner))
            yield sum(losses) / len(losses)


def _batches(runner: Runner) -> Generator[Any]:
    """Yield the batches of the first pass over the data, of the second, and so on."""
    loop = cast("BaseTrainLoop", runner.train_loop)  # there is one, since its data are there
    for number in count():
        drawn = 0
        with closing(loop.batches(number)) as batches:
            for batch in batches:
                drawn += 1
                yield batch
        check_any(drawn, runner.train_dataloader, "train_dataloader")


def _loss_in(outputs: Any, name: str, runner: Runner) -> float:
    owner = f"{type(runner.model).__name__}.train_step"
    if not isinstance(outputs, Mapping):
        raise KeyError(f"lr_find looks for {name!r} in what {owner} returns, but that is no dict: {outputs!r}.")
    if name not in outputs:
        raise KeyError(
            f"lr_find looks for {name!r}, which {owner} does not return.{did_you_mean(name, outputs)} It returns:"
            f" {', '.join(map(str, outputs)) or 'nothing'}. Name one: lr_find(runner, loss=...)."
        )
    return float(torch.as_tensor(outputs[name]).detach())
