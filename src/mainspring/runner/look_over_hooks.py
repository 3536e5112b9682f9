"""What is wrong, or looks wrong, with hooks and their configs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..hooks import (
    BadNumbersHook,
    CheckpointHook,
    DistSamplerSeedHook,
    EarlyStoppingHook,
    EMAHook,
    Hook,
    IterTimerHook,
    LoggerHook,
    ParamSchedulerHook,
    ProgressHook,
    RuntimeInfoHook,
    SummaryHook,
)
from ..hooks.hook import get_priority
from ..registry import HOOKS, MODELS
from . import build
from .findings import Findings
from .look_over_parts import is_checked, look_over_part

__all__ = ["look_over_hooks"]

_ONCE = (
    BadNumbersHook,
    DistSamplerSeedHook,
    EMAHook,
    IterTimerHook,
    LoggerHook,
    ParamSchedulerHook,
    ProgressHook,
    RuntimeInfoHook,
    SummaryHook,
)
"""Classes of which a run wants one hook; several CheckpointHooks, say, save at several intervals."""


def look_over_hooks(found: Findings, given: Mapping[str, Any]) -> None:
    """Look over ``default_hooks`` and ``custom_hooks``."""
    default_hooks, custom_hooks = given.get("default_hooks"), given.get("custom_hooks")
    before = len(found)
    for check, value in ((build.check_default_hooks, default_hooks), (build.check_custom_hooks, custom_hooks)):
        with found.attempt(check.__name__.removeprefix("check_")):
            check(value)
    if len(found) > before:
        return
    kinds: dict[str, type] = {}
    for path, hook in _placed(default_hooks, custom_hooks):
        kind = _look_over_hook(found, hook, path)
        slot = path.removeprefix("default_hooks.")
        if isinstance(kind, type):
            kinds[path] = kind
        if slot != path and (hook is None or isinstance(kind, type)):
            with found.attempt(path):
                build.check_slot(slot, kind, default_hooks or {})
    _look_over_twins(found, kinds, default_hooks or {})
    _look_over_monitors(found, given, kinds)


def _placed(default_hooks: Mapping[str, Any] | None, custom_hooks: Any) -> Iterator[tuple[str, Any]]:
    for slot, hook in (default_hooks or {}).items():
        yield f"default_hooks.{slot}", hook
    for index, hook in enumerate(custom_hooks or ()):
        yield f"custom_hooks[{index}]", hook


def _look_over_hook(found: Findings, hook: Any, path: str) -> Callable[..., Any] | None:
    """Look over a hook, and return its class, where that is known."""
    if isinstance(hook, Hook):
        return type(hook)
    if hook is None and path.startswith("default_hooks."):
        return None
    if not isinstance(hook, Mapping):
        found.fail(path, build.no_hook(path, hook))
        return None
    options = dict(hook)
    if "type" not in options:
        found.fail(path, build.no_type(path))
        return None
    if options.get("priority") is not None:
        with found.attempt(path, prefix=f"{path}.priority: "):
            get_priority(options["priority"])
    options.pop("priority", None)
    kind = look_over_part(found, options, path, HOOKS, late=False, try_it=True)
    if kind is EMAHook:
        _look_over_average(found, options, path)
    return kind


def _look_over_average(found: Findings, options: Mapping[str, Any], path: str) -> None:
    """Look over what an EMAHook hands on to the class that averages, which is built much later."""
    own = ("type", "ema_type", "strict_load", "begin_iter", "begin_epoch", "weights_file", "evaluate")
    handed_on = {key: value for key, value in options.items() if key not in own}
    average = {"type": options.get("ema_type", "ExponentialMovingAverage"), **handed_on}
    look_over_part(found, average, path, MODELS, ["model"], late=False)


def _look_over_twins(found: Findings, kinds: Mapping[str, type], default_hooks: Mapping[str, Any]) -> None:
    """Warn of two hooks of a class that is meant once."""
    slots = {f"default_hooks.{slot}": HOOKS.get(build.DEFAULT_HOOKS[slot]["type"]) for slot in build.DEFAULT_HOOKS}
    all_kinds: dict[str, Any] = {**slots, **kinds}
    for slot, hook in default_hooks.items():
        if hook is None:
            all_kinds.pop(f"default_hooks.{slot}", None)
    for path, kind in kinds.items():
        others = [other for other, same in all_kinds.items() if other != path and same is kind and kind in _ONCE]
        first = next(iter(others), "")
        if any(finding.path == path for finding in found):  # it stands in the wrong slot
            continue
        if first and list(all_kinds).index(first) < list(all_kinds).index(path):
            found.warn(
                path,
                f"there is a {kind.__name__} already, {first}, so that what it does is done twice. Leave out one. To"
                f" change a default hook, write its config in its slot: {first}=dict(type={kind.__name__!r}, ...).",
            )


def _look_over_monitors(found: Findings, given: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    """Find hooks that watch the results of validations that there will never be."""
    train_cfg = given.get("train_cfg")
    if not isinstance(train_cfg, Mapping) or given.get("val_cfg") is not None:
        return
    if "type" in train_cfg and not build.is_own_loop(train_cfg["type"]):  # it may validate in its own way
        return
    for path, hook in _placed(given.get("default_hooks"), given.get("custom_hooks")):
        kind = kinds.get(path, object)
        option = "save_best" if issubclass(kind, CheckpointHook) else "monitor"
        if not isinstance(hook, Mapping) or not issubclass(kind, CheckpointHook | EarlyStoppingHook):
            continue
        if is_checked(kind) and hook.get(option):
            error = ValueError(
                f"{path}: {option}={hook[option]!r} watches the results of validations, but there are none. Pass"
                f" val_dataloader, val_cfg and val_evaluator to the Runner, or leave out {option}."
            )
            found.fail(path, error)
