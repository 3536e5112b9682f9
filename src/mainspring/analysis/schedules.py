"""What the schedules of a run will do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch

from ..optim import OptimWrapper
from ..runner.base_loop import BaseTrainLoop
from ..runner.build import build_param_schedulers
from ..utils import require

__all__ = ["plot_schedule", "schedule_values"]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_NAMES = {"lr": "learning rate", "weight_decay": "weight decay"}


@dataclass(frozen=True)
class _Length:
    """How long a run is: what schedules ask of a training loop."""

    max_epochs: int
    max_iters: int
    num_batches: int | None


def schedule_values(
    param_scheduler: Any,
    base: float | Mapping[str, float] = 1.0,
    *,
    max_epochs: int | None = None,
    epoch_length: int | None = None,
    max_iters: int | None = None,
    accumulative_counts: int = 1,
) -> dict[str, list[float]]:
    """Return what schedules will write into an optimizer: for each parameter that has any, the value at each iteration.

    Args:
        param_scheduler: As for ``Runner(param_scheduler=...)``: a config, or a list of them.
        base: The learning rate that is configured; or a dict of all parameters that are scheduled, such as
            ``dict(lr=0.1, momentum=0.9)``.
        max_epochs: Epochs of the run; with ``epoch_length``, the iterations of each.
        epoch_length: See ``max_epochs``; ``convert_to_iter_based`` needs it also where the run counts iterations.
        max_iters: Iterations of the run, instead of ``max_epochs``.
        accumulative_counts: Iterations of an update, for schedules with ``unit='update'``.

    Raises:
        ValueError: The length of the run is missing, or said twice.

    >>> warm_up = dict(type="LinearLR", start_factor=0.5, end=2, by_epoch=False)
    >>> steps = dict(type="MultiStepLR", milestones=[2])
    >>> schedule_values([warm_up, steps], 0.1, max_epochs=3, epoch_length=2)
    {'lr': [0.05, 0.1, 0.1, 0.1, 0.010000000000000002, 0.010000000000000002]}
    """
    length = _length(max_epochs, epoch_length, max_iters)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    optimizer.param_groups[0].update(base if isinstance(base, Mapping) else {"lr": base})
    wrapper = OptimWrapper(optimizer, accumulative_counts=accumulative_counts)
    schedules = cast("list[Any]", build_param_schedulers(wrapper, param_scheduler, cast(BaseTrainLoop, length)))
    names = dict.fromkeys(getattr(schedule, "param_name", "lr") for schedule in schedules)  # one may be anybody's
    values: dict[str, list[float]] = {name: [] for name in names}
    group = optimizer.param_groups[0]
    for done in range(1, length.max_iters + 1):
        for name, line in values.items():
            line.append(float(group[name]))
        over = {"iter"}
        if done % accumulative_counts == 0 or done == length.max_iters:
            over.add("update")
        if max_epochs is not None and done % (length.num_batches or 1) == 0:
            over.add("epoch")
        for schedule in schedules:
            if getattr(schedule, "unit", "epoch" if schedule.by_epoch else "iter") in over:
                schedule.step()
    return values


def plot_schedule(
    param_scheduler: Any,
    base: float | Mapping[str, float] = 1.0,
    *,
    max_epochs: int | None = None,
    epoch_length: int | None = None,
    max_iters: int | None = None,
    accumulative_counts: int = 1,
) -> Any:
    """Return a figure of matplotlib: the schedules of a run over its iterations or epochs, a panel for each parameter.

    Args:
        param_scheduler: As for :func:`schedule_values`; or a dict of several to compare, by name.
        base: See :func:`schedule_values`, also for the arguments not listed here.
        max_epochs: Epochs of the run, which are then the axis.
        epoch_length: Iterations of an epoch.
        max_iters: Iterations of the run.
        accumulative_counts: Iterations of an update.

    Raises:
        ValueError: There is nothing to draw, or the length of the run is missing, or said twice.
        ImportError: Matplotlib is not installed (extra ``plot``).
    """
    figures = require("matplotlib.figure", extra="plot", purpose="A picture of schedules")
    several = isinstance(param_scheduler, Mapping) and "type" not in param_scheduler
    curves = {
        name: schedule_values(
            one,
            base,
            max_epochs=max_epochs,
            epoch_length=epoch_length,
            max_iters=max_iters,
            accumulative_counts=accumulative_counts,
        )
        for name, one in (param_scheduler.items() if several else [("", param_scheduler)])
    }
    parameters = list(dict.fromkeys(parameter for values in curves.values() for parameter in values))
    if not parameters:
        raise ValueError("plot_schedule: there are no schedules to draw.")
    length = 1 if max_epochs is None else epoch_length or 1
    figure = figures.Figure(figsize=(6 * len(parameters) + 2.5 * several, 3.6), layout="constrained")
    for place, parameter in enumerate(parameters, start=1):
        axes = figure.add_subplot(1, len(parameters), place)
        for index, (name, values) in enumerate(curves.items()):
            line = values.get(parameter, [])
            at = [iteration / length for iteration in range(len(line))]
            axes.plot(at, line, color=_COLOURS[index % len(_COLOURS)], linewidth=1.6, label=name)
        axes.set_xlabel("iteration" if max_epochs is None else "epoch")
        axes.set_ylabel(_NAMES.get(parameter, parameter))
        axes.set_ylim(bottom=0)
        axes.grid(color="#D9D9D9", linewidth=0.6)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    if several:
        lines, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(lines, names, loc="outside right upper", frameon=False, fontsize=9)
    return figure


def _length(max_epochs: int | None, epoch_length: int | None, max_iters: int | None) -> _Length:
    if (max_epochs is None) == (max_iters is None) or (max_epochs is not None and epoch_length is None):
        raise ValueError(
            "The length of the run is max_epochs and epoch_length, or else max_iters, but max_epochs is"
            f" {max_epochs!r}, epoch_length is {epoch_length!r} and max_iters is {max_iters!r}."
        )
    if max_iters is not None:
        return _Length(1, max_iters, epoch_length)
    return _Length(cast(int, max_epochs), cast(int, max_epochs) * cast(int, epoch_length), epoch_length)
