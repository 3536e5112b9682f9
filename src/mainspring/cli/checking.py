"""The command ``check``."""

from __future__ import annotations

from pathlib import Path

from .options import RunOptions
from .programs import is_program, runner_of_program
from .running import config_of

__all__ = ["check"]


def check(path: Path, options: RunOptions, strict: bool, steps: int) -> int:
    """Try a run, print what was found, and return the exit code."""
    if is_program(path):
        report = runner_of_program(path, options, {}, is_needed=False).check(strict, steps)
    else:
        cfg = config_of(path, options, None)
        from ..analysis import check_config

        report = check_config(cfg, strict, steps)
    from rich.console import Console

    Console(soft_wrap=False, highlight=False).print(report)
    return 0 if report.ok else 1
