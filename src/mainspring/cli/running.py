"""From a file on the command line to a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Config
from ..utils import display_path
from .errors import UsageError
from .options import ReadOptions, RunOptions, change
from .programs import is_program, runner_of_program

if TYPE_CHECKING:
    from ..runner import Runner

__all__ = ["config_of", "evaluate", "go_on", "read_config", "runner_of", "train"]


def read_config(path: Path, options: ReadOptions) -> Config:
    """Read a configuration, as the options change it.

    Raises:
        UsageError: The file is a program.
    """
    if is_program(path):
        raise UsageError(f"{display_path(path)} is a program that makes a Runner; this command needs a configuration.")
    cfg = Config.fromfile(path, trust=options.trust_config)
    change(cfg, options)
    return cfg


def config_of(path: Path, options: RunOptions, resume: bool | None) -> Config:
    """Read the configuration of a training run.

    Args:
        path: The file.
        options: What the command line changes.
        resume: Whether to go on; None for ``'auto'``, unless the configuration says that it goes on from a file.
    """
    cfg = read_config(path, options)
    if resume is not None or not cfg.get("resume"):
        cfg.merge_from_dict({"resume": False if resume is False else "auto"})
    return cfg


def runner_of(path: Path, options: RunOptions, resume: bool | None = None) -> Runner:
    """Make the runner that a file describes."""
    if is_program(path):
        return runner_of_program(
            path, options, {"resume": False if resume is False else "auto"}, is_needed=resume is not None
        )
    return _from_cfg(config_of(path, options, resume))


def train(path: Path, options: RunOptions, resume: bool | None) -> None:
    """Train."""
    runner_of(path, options, resume).train()


def go_on(path: Path, checkpoint: str | None, options: RunOptions) -> None:
    """Go on with a training that was begun.

    Raises:
        UsageError: There is nothing to go on from.
    """
    if checkpoint is not None and options.load_from is not None:
        raise UsageError(f"The checkpoint is named twice: {checkpoint}, and --load-from {options.load_from}.")
    named = checkpoint or options.load_from
    if is_program(path):
        more: dict[str, Any] = {"resume": True, **({} if named is None else {"load_from": named})}
        runner = runner_of_program(path, options, more, is_needed=True)
        if runner.goes_on_from is None:
            raise UsageError(_nothing_in(runner.work_dir, "go on from"))
    else:
        cfg = read_config(path, options)
        if named is None:
            _check_any(cfg, "go on from")
        cfg.merge_from_dict({"resume": True, "load_from": named})
        runner = _from_cfg(cfg)
    runner.train()


def evaluate(path: Path, checkpoint: str | None, options: RunOptions, mode: str) -> None:
    """Validate or test, with the weights of a checkpoint or the newest of the run.

    Raises:
        UsageError: There are no weights, or they are named twice.
    """
    if checkpoint is not None and options.load_from is not None:
        raise UsageError(f"The checkpoint is named twice: {checkpoint}, and --load-from {options.load_from}.")
    named = checkpoint or options.load_from
    if is_program(path):
        more: dict[str, Any] = {"resume": "auto"} if named is None else {"resume": False, "load_from": named}
        runner = runner_of_program(path, options, more, is_needed=named is not None)
    else:
        cfg = read_config(path, options)
        if named is not None:
            cfg.merge_from_dict({"resume": False, "load_from": named})
        elif cfg.get("load_from") is None:
            _check_any(cfg, "test with" if mode == "test" else "validate with")
            cfg.merge_from_dict({"resume": "auto"})
        runner = _from_cfg(cfg)
    if mode == "test":
        runner.test()
    else:
        runner.val()


def _from_cfg(cfg: Config) -> Runner:
    from ..runner import Runner  # here, as the command line is quick to help

    return Runner.from_cfg(cfg)


def _check_any(cfg: Config, purpose: str) -> None:
    """Look for checkpoints before a runner makes its directories."""
    from ..checkpoint import run_checkpoints
    from ..runner.earlier import checkpoint_folders

    folders = checkpoint_folders(cfg.work_dir, cfg.get("default_hooks"), cfg.get("custom_hooks"))
    if not run_checkpoints(*folders):
        raise UsageError(_nothing_in(cfg.work_dir, purpose))


def _nothing_in(work_dir: str, purpose: str) -> str:
    return (
        f"There is no checkpoint in {display_path(work_dir)} to {purpose}. Name one behind the configuration, or"
        " another --work-dir; `mainspring train` begins a run."
    )
