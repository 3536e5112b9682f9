"""What hooks keep: its name in a checkpoint, whose it is when a run goes on, and what a save comes too early for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..checkpoint import CheckpointError
from ..hooks import (
    BadNumbersHook,
    CheckpointHook,
    EarlyStoppingHook,
    EMAHook,
    Hook,
    OptimizerModesHook,
    ParamSchedulerHook,
    RunningStreamsHook,
    SummaryHook,
)
from ..optim import OptimWrapper
from ..utils import display_path

if TYPE_CHECKING:
    from .runner import Runner

__all__ = ["hook_settings", "hook_states", "restore_hooks", "restore_late", "warn_if_early"]

Settings = Mapping[str, str]

_COUNTED = ("after_train_iter", "after_train_epoch", "after_val_epoch")
"""The stages that are over for a run that goes on from a checkpoint saved in them."""
_KEPT_AT: tuple[tuple[type[Hook], tuple[str, ...]], ...] = (
    (BadNumbersHook, ("after_train_iter",)),
    (CheckpointHook, ()),
    (EarlyStoppingHook, ("after_val_epoch",)),
    (EMAHook, ("after_train_iter",)),
    (OptimizerModesHook, ()),
    (RunningStreamsHook, ("after_train_iter",)),
    (SummaryHook, ()),
)
"""Of our hooks that keep something, where they change what the training depends on."""


def hook_states(runner: Runner) -> dict[str, Any]:
    """Return what the hooks keep, by class name; the second of a class is called ``Name_2``."""
    return {name: hook.state_dict() for name, hook in _named(runner.hooks).items()}


def hook_settings(runner: Runner) -> dict[str, Settings]:
    """Return by what hooks of one class are told apart, under the same names."""
    return {name: runner._hooks.settings(hook) for name, hook in _named(runner.hooks).items()}


def restore_hooks(runner: Runner, checkpoint: Mapping[str, Any], filename: str) -> None:
    """Give each hook what it has kept.

    Of several hooks of one class each gets the state that was saved with its settings. Those whose settings were not
    among the saved ones take what is left in its order, if as many are left.

    Raises:
        CheckpointError: Nobody can tell whose state is whose.
    """
    saved: Mapping[str, Any] = checkpoint.get("hooks", {})
    settings: Mapping[str, Settings] = checkpoint.get("hook_settings", {})  # files of before have none
    claimed: set[str] = set()
    by_class: dict[str, list[Hook]] = {}
    for hook in runner.hooks:
        by_class.setdefault(type(hook).__name__, []).append(hook)
    for kind, hooks in by_class.items():
        names = [name for name in saved if _class_of(name, saved, settings) == kind]
        if len(names) <= 1 and len(hooks) == 1:
            pairs = list(zip(hooks, names, strict=False))
        else:
            pairs = _told_apart(runner, hooks, names, settings)
            lost = [name for name in names if name not in {name for _, name in pairs}]
            if any(saved[name] for name in lost) and len(pairs) < len(hooks):
                raise CheckpointError(
                    f"{display_path(filename)!r} holds the states of {len(names)} hooks of the class {kind}, and"
                    f" {len(hooks)} are configured, but their settings do not tell whose state is whose. Configure"
                    " them as they were, or change one thing at a time: how many they are, or their settings."
                )
        for hook, name in pairs:
            hook.load_state_dict(saved[name])
            claimed.add(name)
    runner.unclaimed_hook_states = {
        name: (_class_of(name, saved, settings), saved[name]) for name in saved if name not in claimed
    }


def restore_late(runner: Runner, hook: Hook) -> None:
    """Give a hook that is registered when the run has gone on already what one of its class had kept."""
    for name, (kind, state) in runner.unclaimed_hook_states.items():
        if kind == type(hook).__name__:
            del runner.unclaimed_hook_states[name]
            hook.load_state_dict(state)
            return


def _told_apart(
    runner: Runner, hooks: list[Hook], names: list[str], settings: Mapping[str, Settings]
) -> list[tuple[Hook, str]]:
    """Return which of several hooks of one class gets which state."""
    pairs: list[tuple[Hook, str]] = []
    for own in {tuple(runner._hooks.settings(hook).items()): None for hook in hooks}:
        alike = [hook for hook in hooks if runner._hooks.settings(hook) == dict(own)]
        theirs = [name for name in names if settings.get(name) == dict(own)]
        if len(alike) == len(theirs):
            pairs += zip(alike, theirs, strict=True)
    left = [hook for hook in hooks if not any(hook is other for other, _ in pairs)]
    states = [name for name in names if name not in {name for _, name in pairs}]
    if states and len(left) == len(states):
        if any(name in settings for name in states):
            runner.logger.warning(
                f"{len(left)} of the hooks of the class {type(left[0]).__name__} have other settings than those that"
                " were saved; they take what is left in the order in which it was saved."
            )
        pairs += zip(left, states, strict=True)
    return pairs


def warn_if_early(runner: Runner, iteration: int) -> None:
    """Warn, once of each, if a run that goes on from a checkpoint that is saved now will not end with the same bits.

    Args:
        runner: The run.
        iteration: Where the checkpoint says that the run stands.
    """
    if not runner.is_training:
        return
    wrapper: Any = runner.optim_wrapper
    if not runner.running_stages and isinstance(wrapper, OptimWrapper) and wrapper.has_begun(iteration):
        _warn_once(
            runner,
            "A checkpoint is saved within a train_step, after the loss was computed: a run that goes on from it makes"
            " this step again. Save in a hook's after_train_iter, or before the train_step does anything.",
        )
    early: dict[str, list[str]] = {}
    for stage, hook in runner._hooks.still_to_act():
        if stage in _COUNTED and _changes_the_run(runner, hook, stage):
            told = f"{type(hook).__name__} ({runner._hooks.settings(hook)['priority']})"
            early.setdefault(stage, []).append(told)
    for stage, names in early.items():
        _warn_once(
            runner,
            f"A checkpoint is saved in {stage} before it was the turn of {', '.join(names)}: a run that goes on from"
            " it misses what they do there, and will not end with the same bits. Give the hook that saves a larger"
            " priority number than theirs, which stand in brackets, or give them smaller ones.",
        )


def _changes_the_run(runner: Runner, hook: Hook, stage: str) -> bool:
    if isinstance(hook, ParamSchedulerHook):
        return any(_advances(schedule, stage) for schedule in runner.schedules)
    stages = next((stages for kind, stages in _KEPT_AT if isinstance(hook, kind)), None)
    if stages is not None:
        return stage in stages
    return type(hook).load_state_dict is not Hook.load_state_dict


def _advances(schedule: Any, stage: str) -> bool:
    if stage == "after_val_epoch":
        return bool(getattr(schedule, "need_val_args", False))  # it may be anybody's, and not say
    return bool(schedule.by_epoch) == (stage == "after_train_epoch")


def _warn_once(runner: Runner, text: str) -> None:
    if text not in runner._hooks.warned:
        runner._hooks.warned.add(text)
        runner.logger.warning(text)


def _named(hooks: Iterable[Hook]) -> dict[str, Hook]:
    named: dict[str, Hook] = {}
    for hook in hooks:
        name, number = type(hook).__name__, 1
        while name in named:
            number += 1
            name = f"{type(hook).__name__}_{number}"
        named[name] = hook
    return named


def _class_of(name: str, saved: Mapping[str, Any], settings: Mapping[str, Settings]) -> str:
    if name in settings:
        return settings[name]["class"].rpartition(".")[2]
    first, _, number = name.rpartition("_")
    return first if first in saved and number.isdecimal() else name
