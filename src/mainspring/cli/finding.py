"""The command ``lr-find``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..utils import atomic_write, display_path, explaining
from .options import RunOptions
from .programs import is_program, runner_of_program
from .running import read_config

__all__ = ["find"]

_LINES = 12
"""About how many of the learning rates are printed."""


def find(path: Path, options: RunOptions, start_lr: float, end_lr: float, updates: int, out: Path | None) -> None:
    """Print the losses at rising learning rates, and the one to begin the search with."""
    from ..analysis import lr_find
    from ..runner import Runner

    with tempfile.TemporaryDirectory(prefix="mainspring_lr_find_") as folder:
        if is_program(path):
            runner = runner_of_program(path, options, {}, is_needed=False)
        else:
            cfg = read_config(path, options)
            cfg.merge_from_dict({"work_dir": folder, "resume": False, "log_level": "WARNING"})
            runner = Runner.from_cfg(cfg)
        try:
            sweep = lr_find(runner, start_lr, end_lr, updates)
        finally:
            runner.logger.close_file()
    print("learning rate  loss, smoothed")
    pairs = list(zip(sweep.lrs, sweep.smoothed, strict=True))
    for lr, loss in pairs[:: max(1, len(pairs) // _LINES)]:
        print(f"{lr:13.3g}  {loss:.4g}")
    if sweep.suggestion is None:
        print("The loss never falls: there is no learning rate to suggest.")
    else:
        print(f"The loss falls most steeply at {sweep.suggestion:.3g}: begin the search there.")
    if out is not None:
        figure = sweep.plot()
        with explaining("The picture cannot be written", out), atomic_write(out) as file:
            figure.savefig(file, format="png", dpi=120)
        print(f"Drawn in {display_path(out)}.")
