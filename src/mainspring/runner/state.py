"""What of a run is saved, and how it is brought back: one table of parts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from .._version import __version__
from ..checkpoint import CheckpointError, run_checkpoints
from ..hooks import overrides
from ..utils import display_path, to_plain
from .base_loop import BaseTrainLoop
from .fingerprint import check_fingerprint, environment_facts, fingerprint, told_environment
from .hook_states import hook_settings, hook_states, restore_hooks, warn_if_early
from .loops import EpochBasedTrainLoop
from .processes import share_gathered

if TYPE_CHECKING:
    from ..logging import MMLogger
    from .runner import Runner

__all__ = ["collect", "plain_metainfo", "position", "restore", "say_if_finished", "where_it_stopped"]


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
    ``param_schedulers`` the schedules' progress, one entry each; of several optimizers by name
    ``message_hub``      scalars and runtime information
    ``train_loop``       the position of the run
    ``hooks``            what hooks keep, by class name
    ``hook_settings``    by what several hooks of one class are told apart
    ``fingerprint``      what must not change unseen when a run goes on
    ===================  ==========================================================================

    The tensors are those of the run, not copies.
    """
    checkpoint: dict[str, Any] = {
        "state_dict": runner.model.state_dict(),
        "message_hub": runner.message_hub.state_dict(),
        "hooks": hook_states(runner),
        "hook_settings": hook_settings(runner),
    }
    place: dict[str, Any] = {"epoch": 0, "iter": 0}
    dataset_meta: Any = None
    if runner.train_loop is not None:
        place = checkpoint["train_loop"] = position(runner)
        warn_if_early(runner, place["iter"])
        checkpoint["fingerprint"] = fingerprint(runner, save_optimizer)
        dataset_meta = runner._dataset_meta
        if save_optimizer:
            share_gathered(runner)
            checkpoint["optimizer"] = runner.optim_wrapper.state_dict()
        if save_param_scheduler:
            checkpoint["param_schedulers"] = _progress_of(runner.param_schedulers)
    whole_meta = {
        "epoch": place["epoch"],
        "iter": place["iter"],
        "seed": runner.seed,
        "experiment_name": runner.experiment_name,
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "mainspring_version": __version__,
        "torch_version": torch.__version__,
        "environment": environment_facts(runner),
        "dataset_meta": dataset_meta,
        "cfg": _text_of(runner.cfg) if runner.cfg else "",
        **meta,
    }
    checkpoint["meta"] = to_plain(whole_meta, "checkpoint['meta']", exact=False)  # a run that goes on needs none of it
    return checkpoint


def _text_of(cfg: Mapping[str, Any]) -> str:
    from ..config import config_text  # here, as runs without a configuration do without the package

    return config_text(cfg)


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
    place = checkpoint.get("train_loop", meta)
    needed = ["optimizer"] if resume_optimizer else []
    needed += ["param_schedulers"] if resume_param_scheduler and runner.schedules else []
    missing = [key for key in needed if key not in checkpoint]
    if missing or not {"epoch", "iter"} <= place.keys():
        raise CheckpointError(
            f"{filename!r} holds no {' and no '.join(missing) or 'position of a run'}, so no run can go on from it."
            " To take only its weights, pass it as load_from, with resume=False."
        )
    if "ema_state_dict" in checkpoint and not any(overrides(hook, "after_load_checkpoint") for hook in runner.hooks):
        raise CheckpointError(
            f"{filename!r} was saved by a run with an EMAHook: its weights are averages, and the trained ones stand"
            " apart from them. Configure the EMAHook to go on, or pass the file as load_from, with resume=False, to"
            " begin with the averages."
        )
    changes = check_fingerprint(
        checkpoint.get("fingerprint", {"seed": meta.get("seed")}),
        fingerprint(runner, resume_optimizer),
        runner.allow_changed,
        filename,
        _place_is_lost(runner.train_loop, place),
    )
    _go_to(runner, place)
    if resume_optimizer:
        runner.optim_wrapper.load_state_dict(checkpoint["optimizer"])
    if resume_param_scheduler:
        before, now = _by_name(checkpoint.get("param_schedulers", [])), _by_name(runner.param_schedulers)
        for name in {**before, **now}:
            saved, schedules = before.get(name, []), now.get(name, [])
            if len(saved) != len(schedules):
                raise CheckpointError(
                    f"{filename!r} holds the progress of {len(saved)} schedules{f' of {name}' if name else ''}, but"
                    f" {len(schedules)} are configured. Configure as many, or call"
                    " resume(..., resume_param_scheduler=False)."
                )
            for schedule, progress in zip(schedules, saved, strict=True):
                schedule.load_state_dict(progress)
    # Within an epoch, were it behind its last iteration, the validation that follows the epoch is still to come.
    within_epoch = runner.by_epoch and place.get("pass_begin", runner.iter) < runner.iter
    runner.visualizer.rewind(runner.iter, validated=not (within_epoch or place.get("val_due", False)))
    runner.message_hub.load_state_dict(checkpoint.get("message_hub", {}))
    restore_hooks(runner, checkpoint, filename)
    if changes:
        runner.logger.warning(f"Changed since {display_path(filename)!r} was saved, as allowed: {'; '.join(changes)}")
    told = told_environment(meta.get("environment", {}), environment_facts(runner))
    if told:
        runner.logger.warning(f"Results will not be bit for bit those of one undisturbed run: {told}")
    runner.logger.info(f"Resumed from {display_path(filename)!r}: epoch {runner.epoch}, iteration {runner.iter}")


def _by_name(schedules: list[Any] | Mapping[str, list[Any]]) -> Mapping[str, list[Any]]:
    return schedules if isinstance(schedules, Mapping) else {"": schedules} if schedules else {}


def _progress_of(schedules: list[Any] | dict[str, list[Any]]) -> Any:
    if isinstance(schedules, dict):
        return {name: [one.state_dict() for one in some] for name, some in schedules.items()}
    return [one.state_dict() for one in schedules]


def say_if_finished(runner: Runner) -> None:
    """Say so, if there is nothing left to train."""
    if runner.iter >= runner.max_iters or runner.epoch >= runner.max_epochs:
        limit = "max_epochs" if runner.by_epoch else "max_iters"
        runner.logger.info(f"This run is finished already: {_progress(runner)}. To go on, raise {limit}.")


def position(runner: Runner) -> dict[str, Any]:
    """Return where the run stands, or will when the stage that is running is over."""
    if isinstance(runner.train_loop, BaseTrainLoop):
        return runner.train_loop.state_dict()
    running = runner.running_stages  # a user's loop may be any BaseLoop, and counts when the hooks have been called
    return {
        "epoch": int(runner.epoch) + ("after_train_epoch" in running),
        "iter": int(runner.iter) + ("after_train_iter" in running),
    }


def _go_to(runner: Runner, place: Mapping[str, Any]) -> None:
    loop: Any = runner.train_loop
    if isinstance(loop, BaseTrainLoop):
        loop.load_state_dict(place)
    else:
        loop._epoch, loop._iter = place["epoch"], place["iter"]  # where every such loop keeps them


def _place_is_lost(loop: Any, place: Mapping[str, Any]) -> str:
    """Return why an epoch that was begun cannot be gone on with, or an empty text."""
    if not isinstance(loop, EpochBasedTrainLoop):
        return ""
    before, now = place.get("num_batches"), loop.num_batches
    begun = place["iter"] != place.get("pass_begin", place["epoch"] * (before or 0))
    if before in (None, now) or not begun:
        return ""
    return f"it lies within an epoch of {before} batches, and an epoch has {now} now, so that its place is lost"


def _progress(runner: Runner) -> str:
    if runner.by_epoch:
        return f"{runner.epoch} of {runner.max_epochs} epochs are done"
    return f"{runner.iter} of {runner.max_iters} iterations are done"


def plain_metainfo(dataset: Any, logger: MMLogger) -> Any:
    """Return the ``metainfo`` of a data set as far as it can be saved; one warning names what cannot."""
    metainfo = getattr(dataset, "metainfo", None)
    entries = metainfo if isinstance(metainfo, Mapping) else {"metainfo": metainfo}
    saved: dict[Any, Any] = {}
    refused: list[str] = []
    for key, value in entries.items():
        try:
            saved.update(to_plain({key: value}, f"metainfo of {type(dataset).__name__}", exact=False))
        except TypeError as error:
            refused.append(str(error))
    if refused:
        logger.warning("Checkpoints are saved without this part of 'dataset_meta': " + " ".join(refused))
    return saved if isinstance(metainfo, Mapping) else saved.get("metainfo")


def where_it_stopped(runner: Runner, cause: str, training: bool) -> str:
    """Return the last line of a run that was stopped from outside."""
    if not training:
        return f"Stopped by {cause}."
    if runner.iter >= runner.max_iters and not runner.place[1]:
        return f"Stopped by {cause}, when all {runner.max_iters} iterations were done."
    text = f"Stopped by {cause} after iteration {runner.iter} of {runner.max_iters}"
    try:
        files = run_checkpoints(*runner.checkpoint_folders)
    except OSError as error:  # it must not hide why the run ends
        return f"{text}. Its checkpoints cannot be listed: {error}"
    if not files:
        return f"{text}, before the first checkpoint."
    return f"{text}. The same run with resume='auto' goes on from {display_path(files[0])}"
