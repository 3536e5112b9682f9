"""The command ``plot``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..utils import atomic_write, did_you_mean, display_path, explaining, require
from .errors import UsageError

__all__ = ["plot"]

Series = dict[str, tuple[list[float], list[float]]]
"""By the name of a scalar, its iterations and its values."""

_PLACES = ("iter", "epoch", "step", "mode")


def plot(runs: Sequence[Path], out: Path | None, keys: Sequence[str]) -> None:
    """Print the scalars of runs, or draw them."""
    if not runs:
        raise UsageError("plot needs a work directory, or a file of scalars: mainspring plot work_dirs/digits")
    if out is not None and out.suffix != ".png":
        raise UsageError(f"--out {out}: a picture ends in .png.")
    files = [scalars_of(run) for run in runs]
    if out is not None and len(files) == 1 and not keys:
        from ..visualization import plot_curves

        plot_curves(files[0], out)
    else:
        found = {name: _chosen(_series(file), keys, file) for name, file in zip(_names(runs), files, strict=True)}
        if out is None:
            _print(found)
            return
        _draw(found, out)
    print(f"Drawn in {display_path(out)}.")


def scalars_of(run: Path) -> Path:
    """Return the file of scalars of a run.

    Raises:
        UsageError: There is none.
    """
    if run.is_file():
        return run
    if not run.is_dir():
        raise UsageError(f"{run} is neither a work directory nor a file of scalars.")
    found = [
        run / "vis_data" / "scalars.jsonl",
        run / "scalars.jsonl",
        *sorted(run.glob("[0-9]*_[0-9]*/vis_data/scalars.json")),
    ]
    there = [path for path in found if path.is_file()]
    if not there:
        raise UsageError(f"{display_path(run)} holds no scalars: there is no {display_path(found[0])}.")
    return there[0] if there[0] in found[:2] else there[-1]  # MMEngine has one for each time


def _names(runs: Sequence[Path]) -> list[str]:
    short = [run.name for run in runs]
    return short if len(set(short)) == len(short) else [str(run) for run in runs]


def _series(file: Path) -> Series:
    from ..visualization import read_scalars

    series: Series = {}
    for number, record in enumerate(read_scalars(file)):
        at = record.get("iter", record.get("step", number))
        mode = record.get("mode", "")
        for name, value in record.items():
            if name not in _PLACES and isinstance(value, (int, float)):
                full = name if not mode or name.startswith(f"{mode}/") else f"{mode}/{name}"
                places, values = series.setdefault(full, ([], []))
                places.append(float(at))
                values.append(float(value))
    return series


def _chosen(series: Series, keys: Sequence[str], file: Path) -> Series:
    chosen = {name: one for name, one in series.items() if not keys or any(key in name for key in keys)}
    if not chosen:
        asked = " or ".join(keys)
        hint = did_you_mean(keys[0], series) if keys else ""
        raise UsageError(
            f"{display_path(file)} holds no scalars{f' with {asked} in their names' if keys else ''}.{hint} It holds:"
            f" {', '.join(series) or 'nothing'}."
        )
    return chosen


def _print(found: dict[str, Series]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("run", "scalar", "values", "first", "last", "least", "greatest", box=None)
    for column in table.columns[2:]:
        column.justify = "right"
    for run, series in found.items():
        for name, (_, values) in series.items():
            finite = [value for value in values if math.isfinite(value)] or [math.nan]
            shown = [values[0], values[-1], min(finite), max(finite)]
            table.add_row(run, name, str(len(values)), *(f"{value:.4g}" for value in shown))
    Console(highlight=False).print(table)


def _draw(found: dict[str, Series], out: Path) -> None:
    module = require("matplotlib.figure", extra="plot", purpose="A picture of the curves")
    names = list(dict.fromkeys(name for series in found.values() for name in series))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure: Any = module.Figure(figsize=(5 * columns, 3.5 * rows), layout="constrained")
    for index, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, index)
        for run, series in found.items():
            if name in series:
                places, values = series[name]
                axes.plot(places, values, label=run, linewidth=1.4, marker="." if len(values) < 50 else "")
        axes.set_title(name, loc="left", fontsize=11)
        axes.set_xlabel("iteration")
        axes.grid(color="#D9D9D9", linewidth=0.6)
        if len(found) > 1:
            axes.legend(frameon=False, fontsize=9)
    with explaining("The picture of the curves cannot be written", out), atomic_write(out) as file:
        figure.savefig(file, format="png", dpi=120, facecolor="white")
