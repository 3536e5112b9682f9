"""What of a run is saved, and how it is brought back: one table of parts."""

from __future__ import annotations

import os
import pprint
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .._version import __version__
from ..checkpoint import CheckpointError, find_latest_checkpoint, read_checkpoint, weights_to_cpu
from ..utils import display_path, to_plain
from .base_loop import BaseTrainLoop

if TYPE_CHECKING:
    from ..logging import MMLogger
    from .runner import Runner

__all__ = ["EarlierRun", "begin_anew", "collect", "plain_metainfo", "restore", "say_if_finished", "where_it_stopped"]


def collect(
    runner: Runner, save_optimizer: bool, save_param_scheduler: bool, meta: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the checkpoint of a run.

    ===================  ==========================================================================
    key                  holds
    ===================  ==========================================================================
    ``meta``             what a person asks: epoch, iteration, seed, time, versions, configuration
    ``state_dict``       the weights
    ``optimizer``        the optimizer wrapper's state
    ``param_schedulers`` the schedules' progress, one entry each
    ``message_hub``      scalars and runtime information
    ``train_loop``       the position of the run
    ``hooks``            what hooks keep, by class name
    ===================  ==========================================================================
    """
    checkpoint: dict[str, Any] = {
        "state_dict": weights_to_cpu(runner.model.state_dict()),
        "message_hub": runner.message_hub.state_dict(),
        "hooks": {name: hook.state_dict() for name, hook in _named_hooks(runner)},
    }
    position: dict[str, Any] = {"epoch": 0, "iter": 0}
    dataset_meta: Any = None
    if runner.train_loop is not None:
        position = checkpoint["train_loop"] = _position(runner)
        dataset_meta = runner._dataset_meta
        if save_optimizer:
            checkpoint["optimizer"] = runner.optim_wrapper.state_dict()
        if save_param_scheduler:
            checkpoint["param_schedulers"] = [schedule.state_dict() for schedule in runner.param_schedulers]
    checkpoint["meta"] = {
        "epoch": position["epoch"],
        "iter": position["iter"],
        "seed": runner.seed,
        "experiment_name": runner.experiment_name,
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "mainspring_version": __version__,
        "torch_version": torch.__version__,
        "dataset_meta": dataset_meta,
        "cfg": pprint.pformat(dict(runner.cfg), sort_dicts=False) if runner.cfg else "",
        **meta,
    }
    return checkpoint


def restore(
    runner: Runner,
    checkpoint: Mapping[str, Any],
    filename: str,
    resume_optimizer: bool = True,
    resume_param_scheduler: bool = True,
) -> None:
    """Bring a run to where a checkpoint was saved; the weights are loaded already."""
    if runner.train_loop is None:
        raise RuntimeError("This runner was given no train_cfg, so there is no training to resume.")
    meta = checkpoint.get("meta", {})
    position = checkpoint.get("train_loop", meta)
    needed = ["optimizer"] if resume_optimizer else []
    needed += ["param_schedulers"] if resume_param_scheduler and runner.param_schedulers else []
    missing = [key for key in needed if key not in checkpoint]
    if missing or not {"epoch", "iter"} <= position.keys():
        raise CheckpointError(
            f"{filename!r} holds no {' and no '.join(missing) or 'position of a run'}, so no run can go on from it."
            " To take only its weights, pass it as load_from, with resume=False."
        )
    _go_to(runner, position)
    if resume_optimizer:
        runner.optim_wrapper.load_state_dict(checkpoint["optimizer"])
    if resume_param_scheduler:
        schedules = checkpoint.get("param_schedulers", [])
        if len(schedules) != len(runner.param_schedulers):
            raise CheckpointError(
                f"{filename!r} holds the progress of {len(schedules)} schedules, but {len(runner.param_schedulers)} are"
                " configured. Configure as many, or call resume(..., resume_param_scheduler=False)."
            )
        for schedule, progress in zip(runner.param_schedulers, schedules, strict=True):
            schedule.load_state_dict(progress)
    runner.visualizer.rewind(runner.iter, validated=not position.get("val_due", False))
    runner.message_hub.load_state_dict(checkpoint.get("message_hub", {}))
    saved = checkpoint.get("hooks", {})
    for name, hook in _named_hooks(runner):
        if name in saved:
            hook.load_state_dict(saved[name])
    if meta.get("seed", runner.seed) != runner.seed:
        runner.logger.warning(
            f"The seed was {meta['seed']} when {filename!r} was saved and is {runner.seed} now: data order and"
            " augmentation change from here on."
        )
    runner.logger.info(f"Resumed from {display_path(filename)!r}: epoch {runner.epoch}, iteration {runner.iter}")


def say_if_finished(runner: Runner) -> None:
    """Say so, if there is nothing left to train."""
    if runner.iter >= runner.max_iters or runner.epoch >= runner.max_epochs:
        limit = "max_epochs" if runner.by_epoch else "max_iters"
        runner.logger.info(f"This run is finished already: {_progress(runner)}. To go on, raise {limit}.")


def _position(runner: Runner) -> dict[str, Any]:
    if isinstance(runner.train_loop, BaseTrainLoop):
        return runner.train_loop.state_dict()
    return {"epoch": runner.epoch, "iter": runner.iter}  # a user's loop may be any BaseLoop


def _go_to(runner: Runner, position: Mapping[str, Any]) -> None:
    loop: Any = runner.train_loop
    if isinstance(loop, BaseTrainLoop):
        loop.load_state_dict(position)
    else:
        loop._epoch, loop._iter = position["epoch"], position["iter"]  # where every such loop keeps them


def _named_hooks(runner: Runner) -> list[tuple[str, Any]]:
    """Return the hooks by class name; the second of a class is called ``Name_2``."""
    named: dict[str, Any] = {}
    for hook in runner.hooks:
        name, number = type(hook).__name__, 1
        while name in named:
            number += 1
            name = f"{type(hook).__name__}_{number}"
        named[name] = hook
    return list(named.items())


def _progress(runner: Runner) -> str:
    if runner.by_epoch:
        return f"{runner.epoch} of {runner.max_epochs} epochs are done"
    return f"{runner.iter} of {runner.max_iters} iterations are done"


class EarlierRun:
    """The checkpoint that a run goes on from: read once, though the seed is asked for long before the rest."""

    def __init__(self, filename: str | None) -> None:
        self.filename = filename
        self._content: dict[str, Any] | None = None

    def seed(self) -> int | None:
        """Return the seed of the run that wrote it, or None where there is none."""
        if self.filename is None:
            return None
        self._content = read_checkpoint(self.filename)
        seed = self._content.get("meta", {}).get("seed")
        return seed if isinstance(seed, int) else None

    def take(self, filename: str | os.PathLike[str], map_location: Any) -> dict[str, Any]:
        """Return the content of a checkpoint: what was read for the seed, which is forgotten, or else of the file."""
        content, self._content = self._content, None
        if content is None or os.fspath(filename) != self.filename or map_location != "cpu":
            return read_checkpoint(filename, map_location)
        return content


def plain_metainfo(dataset: Any, logger: MMLogger) -> Any:
    """Return the ``metainfo`` of a data set as far as it can be saved; one warning names what cannot."""
    metainfo = getattr(dataset, "metainfo", None)
    entries = metainfo if isinstance(metainfo, Mapping) else {"metainfo": metainfo}
    saved: dict[Any, Any] = {}
    refused: list[str] = []
    for key, value in entries.items():
        try:
            saved.update(to_plain({key: value}, f"metainfo of {type(dataset).__name__}"))
        except TypeError as error:
            refused.append(str(error))
    if refused:
        logger.warning("Checkpoints are saved without this part of 'dataset_meta': " + " ".join(refused))
    return saved if isinstance(metainfo, Mapping) else saved.get("metainfo")


def begin_anew(runner: Runner) -> None:
    """Set aside the scalars of an earlier run in the directory, and say so if it has left checkpoints."""
    runner.visualizer.set_aside()
    earlier = find_latest_checkpoint(runner.work_dir)
    if earlier is not None:
        where = display_path(runner.work_dir)
        runner.logger.warning(
            f"{where!r} holds checkpoints of an earlier run, the newest {Path(earlier).name!r}. This run"
            " begins anew and will replace those of the same name. To go on instead, pass resume='auto'; to keep them,"
            " choose another work_dir."
        )


def where_it_stopped(runner: Runner, training: bool) -> str:
    """Return the last line of a run that was interrupted."""
    if not training:
        return "Stopped by Ctrl-C."
    text = f"Stopped by Ctrl-C after iteration {runner.iter} of {runner.max_iters}"
    latest = find_latest_checkpoint(runner.work_dir)
    if latest is None:
        return f"{text}, before the first checkpoint."
    return f"{text}. The same run with resume='auto' goes on from {display_path(latest)}"
