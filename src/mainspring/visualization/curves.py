"""A picture of a run's curves."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..utils import atomic_write, explaining, require
from .scalars_file import read_scalars

__all__ = ["plot_curves"]

# Okabe and Ito's palette: told apart by people with every kind of colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_INK, _FAINT = "#333333", "#D9D9D9"
_LESS_IS_BETTER = ("loss", "error", "err", "mae", "mse", "rmse", "perplexity", "ppl", "fid", "wer", "cer", "nll")
_NO_METRICS = ("iter", "epoch", "step", "time", "data_time", "memory", "lr", "base_lr", "momentum")


@dataclass
class _Curve:
    at: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def finite(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        at, values = np.asarray(self.at, dtype=float), np.asarray(self.values, dtype=float)
        return at, np.where(np.isfinite(values), values, np.nan)


_Curves = dict[str, _Curve]


def plot_curves(scalars_path: str | os.PathLike[str], image_path: str | os.PathLike[str]) -> Path:
    """Draw the curves of a run: training losses, validation metrics, learning rate.

    The losses are drawn faintly as they are and strongly as a running mean. The best value of each metric is
    marked: the smallest of losses and errors, the largest of others. Metrics that do not fit one axis have panels
    of their own. What a run did not log has no panel.

    Args:
        scalars_path: The scalars that :class:`LocalVisBackend` wrote.
        image_path: The picture, a PNG.

    Returns:
        ``image_path``.

    Raises:
        ValueError: There is nothing to draw.
        ImportError: Matplotlib is not installed (extra ``plot``).
    """
    style = require("matplotlib.style", extra="plot", purpose="A picture of the curves")
    figure_module = require("matplotlib.figure", extra="plot", purpose="A picture of the curves")
    losses, metrics, rates = _sort(read_scalars(scalars_path))
    panels: list[tuple[str, Callable[[Any, _Curves], None], _Curves]] = []
    if losses:
        panels.append(("Training loss", _draw_losses, losses))
    panels += [("Validation", _draw_metrics, group) for group in _by_size(metrics)]
    if rates:
        panels.append(("Learning rate", _draw_rates, rates))
    if not panels:
        raise ValueError(f"{os.fspath(scalars_path)} holds no losses, metrics or learning rates to draw.")
    with style.context("default", after_reset=True):
        columns = 2 if len(panels) == 4 else min(len(panels), 3)
        rows = -(-len(panels) // columns)
        figure = figure_module.Figure(figsize=(5 * columns, 3.8 * rows), layout="constrained")
        for index, (title, draw, curves) in enumerate(panels, start=1):
            axes = figure.add_subplot(rows, columns, index)
            _dress(axes, title)
            draw(axes, curves)
        target = Path(image_path)
        with explaining("The picture of the curves cannot be written", target), atomic_write(target) as file:
            figure.savefig(file, format="png", dpi=120, facecolor="white")
        figure.clear()
    return target


def _sort(records: list[dict[str, Any]]) -> tuple[_Curves, _Curves, _Curves]:
    """Return losses, metrics and learning rates."""
    losses: _Curves = {}
    metrics: _Curves = {}
    rates: _Curves = {}
    iteration = 0.0
    for record in records:
        mode, record = _mode_of(record)
        # A record of MMEngine's validation has the epoch for its step and no iteration: it is where training was.
        at = float(record.get("iter", iteration if mode == "val" else record.get("step", iteration)))
        numbers = {k: float(v) for k, v in record.items() if isinstance(v, (int, float))}
        if mode == "train":
            iteration = at
            for name, value in numbers.items():
                if "loss" in name:
                    _add(losses, name, at, value)
                elif name.endswith("lr"):
                    _add(rates, name, at, value)
        elif mode == "val":
            for name, value in numbers.items():
                if name not in _NO_METRICS:
                    _add(metrics, name, at, value)
    if "lr" in rates and "base_lr" in rates and rates["lr"].values == rates["base_lr"].values:
        del rates["base_lr"]
    return losses, metrics, rates


def _mode_of(record: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the mode of a record, and the record without the mode before its names."""
    modes = {name.partition("/")[0] for name in record if "/" in name} & {"train", "val", "test"}
    if "mode" in record:
        modes = {record["mode"]}
    if not modes:
        modes = {"train" if any("loss" in name for name in record) else "val"}
    mode = modes.pop()
    return mode, {name.removeprefix(f"{mode}/"): value for name, value in record.items()}


def _add(curves: _Curves, name: str, at: float, value: float) -> None:
    curve = curves.setdefault(name, _Curve())
    curve.at.append(at)
    curve.values.append(value)


def _by_size(metrics: _Curves) -> list[_Curves]:
    """Put metrics together that fit one axis and that are best at the same end of it."""
    sizes = {name: float(np.nanmax(np.abs(curve.finite()[1]), initial=0)) for name, curve in metrics.items()}
    groups: list[_Curves] = []
    for name in sorted(metrics, key=lambda name: (_less_is_better(name), -sizes[name])):
        largest = next(iter(groups[-1])) if groups else name
        apart = _less_is_better(name) != _less_is_better(largest) or sizes[name] < sizes[largest] / 10
        if apart or not groups:
            groups.append({})
        groups[-1][name] = metrics[name]
    return groups


def _less_is_better(name: str) -> bool:
    return any(part in _LESS_IS_BETTER for part in name.lower().replace("/", "_").split("_"))


def _dress(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=_INK, pad=10)
    axes.set_xlabel("iteration", color=_INK)
    axes.grid(color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, length=0)
    axes.locator_params(axis="x", nbins=6, integer=True)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_FAINT)


def _draw_losses(axes: Any, curves: _Curves) -> None:
    smallest, largest = np.inf, 0.0
    for name, colour in zip(_total_first(curves), _cycle(curves), strict=True):
        at, values = curves[name].finite()
        smooth = _running_mean(values)
        axes.plot(at, values, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(at, smooth, color=colour, linewidth=1.8, label=name, zorder=3)
        smallest = min(smallest, float(np.nanmin(smooth, initial=np.inf)))
        largest = max(largest, float(np.nanmax(smooth, initial=0)))
    if smallest > 0 and largest > 100 * smallest:
        axes.set_yscale("log")
    elif smallest >= 0:
        axes.set_ylim(bottom=0)
    _name_several(axes, curves)


def _draw_metrics(axes: Any, curves: _Curves) -> None:
    for (name, curve), colour in zip(curves.items(), _cycle(curves), strict=True):
        at, values = curve.finite()
        label = name
        if not np.isnan(values).all():
            best = int(np.nanargmin(values) if _less_is_better(name) else np.nanargmax(values))
            axes.plot(at[best], values[best], "*", markersize=14, color=colour, markeredgecolor="white", zorder=4)
            label = f"{name}: best {values[best]:.4g} at {at[best]:,.0f}"
        axes.plot(at, values, color=colour, linewidth=1.6, marker="o", markersize=2.5, label=label)
    axes.legend(frameon=False, fontsize=9, labelcolor=_INK)


def _draw_rates(axes: Any, curves: _Curves) -> None:
    for (name, curve), colour in zip(curves.items(), _cycle(curves), strict=True):
        at, values = curve.finite()
        axes.plot(at, values, color=colour, linewidth=1.8, label=name)
    axes.set_ylim(bottom=0)
    _name_several(axes, curves)


def _name_several(axes: Any, curves: _Curves) -> None:
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=_INK)


def _total_first(curves: _Curves) -> list[str]:
    return sorted(curves, key=lambda name: name != "loss")


def _cycle(curves: _Curves) -> list[str]:
    return [_COLOURS[index % len(_COLOURS)] for index in range(len(curves))]


def _running_mean(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the mean around each value, weighted by a bell as wide as a tenth of the curve; NaN stays NaN."""
    bell = np.hanning(2 * (len(values) // 20) + 3)
    known = ~np.isnan(values)
    total = np.convolve(np.where(known, values, 0), bell)
    weight = np.convolve(known, bell)
    middle = slice(len(bell) // 2, len(bell) // 2 + len(values))
    return np.where(known, total[middle] / np.where(known, weight[middle], 1), np.nan)
