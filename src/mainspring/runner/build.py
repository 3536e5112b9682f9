"""Each part of a run, built by one function from what the user gave: an object, or the config of one."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from ..evaluator import Evaluator, Metric
from ..evaluator.torch_metric import is_torch_metric
from ..hooks import Hook, HookList, PlaceHook, PositionSeedHook
from ..logging import print_log
from ..model import BaseModel, ImgDataPreprocessor, build_data_preprocessor
from ..optim import OptimWrapperDict
from ..optim.scheduler.units import accumulative_counts, in_updates
from ..registry import (
    EVALUATOR,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    MODELS,
    PARAM_SCHEDULERS,
    VISUALIZERS,
    build,
)
from ..utils import check_annotated, check_type, did_you_mean, nearest
from ..visualization import Visualizer
from .base_loop import BaseLoop, BaseTrainLoop, _checked_pairs, whole_number
from .log_processor import LogProcessor
from .loops import EpochBasedTrainLoop, IterBasedTrainLoop, TestLoop, ValLoop

if TYPE_CHECKING:
    from ..optim import OptimWrapper
    from .runner import Runner

__all__ = [
    "DEFAULT_HOOKS",
    "build_evaluation_loop",
    "build_evaluator",
    "build_hooks",
    "build_log_processor",
    "build_model",
    "build_param_schedulers",
    "build_train_loop",
    "build_visualizer",
    "check_custom_hooks",
    "check_default_hooks",
    "check_evaluation_cfg",
    "check_groups",
    "check_slot",
    "check_train_cfg",
    "counts_epochs",
    "is_own_loop",
    "misspelt",
    "no_hook",
    "no_type",
    "with_strict_keys",
]

DEFAULT_HOOKS: dict[str, dict[str, Any]] = {
    "runtime_info": {"type": "RuntimeInfoHook"},
    "bad_numbers": {"type": "BadNumbersHook"},
    "timer": {"type": "IterTimerHook"},
    "sampler_seed": {"type": "DistSamplerSeedHook"},
    "logger": {"type": "LoggerHook"},
    "param_scheduler": {"type": "ParamSchedulerHook"},
    "checkpoint": {"type": "CheckpointHook", "interval": 1},
    "progress": {"type": "ProgressHook"},
    "summary": {"type": "SummaryHook"},
}
_CHECKPOINT_BY_ITER = {"type": "CheckpointHook", "interval": 1000, "by_epoch": False}

_UNIT_KEYS = ("type", "by_epoch", "max_epochs", "max_iters")


def check_groups(given: Mapping[str, Any], cfg: Mapping[str, Any]) -> None:
    """Check that what belongs together is given together; ``cfg`` may have a misspelt name of what is missing.

    Raises:
        ValueError: Some of the arguments that training, validation or testing needs are given, and some are not.
    """
    groups = (
        ("training", ("train_dataloader", "train_cfg", "optim_wrapper")),
        ("validation", ("val_dataloader", "val_cfg", "val_evaluator")),
        ("testing", ("test_dataloader", "test_cfg", "test_evaluator")),
    )
    for purpose, names in groups:
        there = [name for name in names if given.get(name) is not None]
        missing = [name for name in names if given.get(name) is None]
        if there and missing:
            meant = [f" Did you mean {name!r} by {key!r}?" for name in missing for key in misspelt(name, cfg)]
            defaults = [f"{name}=dict() takes the defaults" for name in missing if name in ("val_cfg", "test_cfg")]
            raise ValueError(
                f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} given, but {' and '.join(missing)}"
                f" {'is' if len(missing) == 1 else 'are'} not. For {purpose} a Runner needs {', '.join(names)},"
                f" or none of them.{' (' + defaults[0] + '.)' if defaults else ''}{''.join(meant)}"
            )
    if given.get("param_scheduler") is not None and given.get("optim_wrapper") is None:
        raise ValueError("param_scheduler is given, but optim_wrapper is not: there is nothing to schedule.")


def misspelt(name: str, cfg: Mapping[str, Any]) -> list[str]:
    """Return the key that must be meant for a name that a configuration does not have, if there is one."""
    return [] if name in cfg else nearest(name, [key for key in cfg if isinstance(key, str)], cutoff=0.8)


def build_model(
    model: nn.Module | Mapping[str, Any],
    data_preprocessor: nn.Module | Mapping[str, Any] | None,
    device: torch.device,
    channels_last: bool = False,
) -> BaseModel:
    """Build the model, give it the runner's data preprocessor if there is one, and move it to the device.

    With ``channels_last`` the weights of convolutions, and the images that data preprocessors make, get that layout.
    """
    if isinstance(model, Mapping):
        defaults = {} if data_preprocessor is None else {"data_preprocessor": data_preprocessor}
        model = build(model, MODELS, **defaults)
    elif isinstance(model, BaseModel) and data_preprocessor is not None:
        model.data_preprocessor = build_data_preprocessor(data_preprocessor)
    elif data_preprocessor is not None:
        raise TypeError(
            f"data_preprocessor is given, but only a BaseModel takes one, and model is {type(model).__name__}. Inherit"
            " from mainspring.BaseModel, or prepare the data in the model's steps."
        )
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be an nn.Module or a config dict of one, but it is {model!r} ({type(model).__name__})."
        )
    built = cast(BaseModel, model.to(device))  # any module with the steps will do; BaseModel is the type of those
    if channels_last:
        built.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in built.modules():
            if isinstance(module, ImgDataPreprocessor):
                module.memory_format = torch.channels_last
    return built


def counts_epochs(train_cfg: Mapping[str, Any] | BaseLoop | None) -> bool:
    """Whether training is by epochs, as far as the configuration says; without training, or unknown, it is."""
    if isinstance(train_cfg, Mapping):
        if "by_epoch" in train_cfg:
            return bool(train_cfg["by_epoch"])
        kind = train_cfg.get("type", EpochBasedTrainLoop if "max_iters" not in train_cfg else IterBasedTrainLoop)
        kind = LOOPS.get(kind) if isinstance(kind, str) else kind
        return not (isinstance(kind, type) and issubclass(kind, IterBasedTrainLoop))
    return not isinstance(train_cfg, IterBasedTrainLoop)


def build_train_loop(runner: Runner, cfg: BaseLoop | Mapping[str, Any], dataloader: Any) -> BaseTrainLoop:
    """Build the loop that ``train_cfg`` describes: by its ``type``, or by ``by_epoch``, or by its maximum."""
    if isinstance(cfg, BaseTrainLoop):
        return cfg
    options = check_train_cfg(cfg)
    loop: BaseTrainLoop = LOOPS.build(options, default_args={"runner": runner, "dataloader": dataloader})
    return loop


def check_train_cfg(cfg: Any) -> dict[str, Any]:
    """Return ``train_cfg`` as the config of a loop, with its type.

    Raises:
        TypeError: It is no dict, or an option of ours has the wrong type.
        ValueError: An option of ours is unknown or missing, or cannot be what it is.
    """
    if not isinstance(cfg, Mapping):
        raise TypeError(f"train_cfg must be a dict or a loop, but it is {cfg!r} ({type(cfg).__name__}).")
    options = dict(cfg)
    if "type" not in options:
        by_epoch = options.get("by_epoch", "max_iters" not in options)
        options["type"] = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
    kind = _loop_of(options["type"])
    if kind is EpochBasedTrainLoop or kind is IterBasedTrainLoop:
        needed = "max_epochs" if kind is EpochBasedTrainLoop else "max_iters"
        _check_unit(cfg, counts_epochs=kind is EpochBasedTrainLoop)
        options.pop("by_epoch", None)
        _check_keys(options, kind, "train_cfg")
        if options.get(needed) is None:
            raise ValueError(
                f"train_cfg.{needed} is missing: say how long to train, such as"
                " train_cfg=dict(by_epoch=True, max_epochs=10) or train_cfg=dict(by_epoch=False, max_iters=10000)."
            )
        for name in (needed, "val_begin", "val_interval"):
            whole_number(options.get(name, 1), name)
        _checked_pairs(options.get("dynamic_intervals"))
    return options


def is_own_loop(kind: Any) -> bool:
    """Whether the type of a loop is one of ours, whose options are known."""
    return _loop_of(kind) in (EpochBasedTrainLoop, IterBasedTrainLoop, ValLoop, TestLoop)


def _loop_of(kind: Any) -> Any:
    return LOOPS.get(kind) if isinstance(kind, str) else kind


def _check_unit(cfg: Mapping[str, Any], counts_epochs: bool) -> None:
    """Check that ``type``, ``by_epoch`` and the length of training speak of one unit."""
    check_type(cfg.get("by_epoch", True), bool, "train_cfg.by_epoch")
    other = "max_iters" if counts_epochs else "max_epochs"
    if cfg.get("by_epoch", counts_epochs) != counts_epochs or other in cfg:
        given = ", ".join(f"{key}={value!r}" for key, value in cfg.items() if key in _UNIT_KEYS)
        raise ValueError(
            f"train_cfg contradicts itself: {given}. Training counts either epochs, as in train_cfg=dict(by_epoch=True,"
            " max_epochs=10), or iterations, as in train_cfg=dict(by_epoch=False, max_iters=10000)."
        )


def build_evaluation_loop(
    runner: Runner, mode: str, cfg: BaseLoop | Mapping[str, Any], dataloader: Any, evaluator: Any
) -> Any:
    """Build the loop that ``val_cfg`` or ``test_cfg`` describes."""
    if isinstance(cfg, BaseLoop):
        return cfg
    options = check_evaluation_cfg(cfg, mode)
    return LOOPS.build(options, default_args={"runner": runner, "dataloader": dataloader, "evaluator": evaluator})


def check_evaluation_cfg(cfg: Any, mode: str) -> dict[str, Any]:
    """Return ``val_cfg`` or ``test_cfg`` as the config of a loop, with its type.

    Raises:
        TypeError: It is no dict, or an option of ours has the wrong type.
        ValueError: There is no such option.
    """
    if not isinstance(cfg, Mapping):
        raise TypeError(f"{mode}_cfg must be a dict or a loop, but it is {cfg!r} ({type(cfg).__name__}).")
    default = ValLoop if mode == "val" else TestLoop
    options = {"type": default, **cfg}
    if _loop_of(options["type"]) is default:
        _check_keys(options, default, f"{mode}_cfg")
        check_annotated(default, {key: cfg[key] for key in cfg if key != "type"}, f"{mode}_cfg")
    return options


def _check_keys(options: Mapping[str, Any], kind: type, path: str) -> None:
    names = inspect.signature(kind).parameters
    known = [name for name in names if name not in ("runner", "dataloader", "evaluator")]
    for key in options:
        if key != "type" and key not in known:
            raise ValueError(
                f"{path}.{key}: there is no such option of {kind.__name__}.{did_you_mean(key, known)}"
                f" The options are: {', '.join(known)}."
            )


def with_strict_keys(cfg: Any) -> Any:
    """Return ``optim_wrapper`` such that a custom key of ours that matches no parameter is an error."""
    if not isinstance(cfg, Mapping) or "constructor" in cfg:
        return cfg
    if "optimizer" not in cfg:
        return {name: with_strict_keys(one) for name, one in cfg.items()}
    given = cfg.get("paramwise_cfg")
    return {**cfg, "paramwise_cfg": {"strict": True, **given}} if isinstance(given, Mapping) else cfg


def build_param_schedulers(
    optim_wrapper: OptimWrapper, cfg: Any, loop: BaseTrainLoop
) -> list[Any] | dict[str, list[Any]]:
    """Build the schedules; one object or config is a list of one, None an empty list.

    A schedule that does not say where it ends, ends with the run.

    With several optimizers, the result has a list for each wrapper, by name. So has ``cfg``, where a wrapper that is
    not named has no schedule; or it is what each of them gets.
    """
    if not isinstance(optim_wrapper, OptimWrapperDict):
        if isinstance(cfg, Mapping) and cfg and "type" not in cfg and all(map(_is_schedules, cfg.values())):
            raise ValueError(
                f"param_scheduler names the optimizer wrappers {', '.join(map(str, cfg))}, but this run has only one."
                " Write its schedules as a list, or name several wrappers in optim_wrapper, too."
            )
        return _schedules_of(optim_wrapper, cfg, loop)
    names = list(optim_wrapper.keys())
    by_name = dict(cfg) if isinstance(cfg, Mapping) and "type" not in cfg else dict.fromkeys(names, cfg)
    for name in by_name:
        if name not in names:
            raise ValueError(
                f"param_scheduler[{name!r}]: there is no optimizer wrapper of this name."
                f"{did_you_mean(str(name), names)} There are: {', '.join(names)}."
            )
    return {
        name: _schedules_of(wrapper, by_name.get(name), loop, f"param_scheduler[{name!r}]")
        for name, wrapper in optim_wrapper.items()
    }


def _is_schedules(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple)


def _schedules_of(
    optim_wrapper: OptimWrapper, cfg: Any, loop: BaseTrainLoop, path: str = "param_scheduler"
) -> list[Any]:
    if cfg is None:
        return []
    schedules: list[Any] = [cfg] if isinstance(cfg, Mapping | str) or not isinstance(cfg, Sequence) else list(cfg)
    built = []
    for index, one in enumerate(schedules):
        if isinstance(one, Mapping):
            defaults = {"optimizer": optim_wrapper, "epoch_length": loop.num_batches}
            check_type(one.get("convert_to_iter_based", False), bool, f"{path}[{index}].convert_to_iter_based")
            kind = one.get("type")
            kind = PARAM_SCHEDULERS.get(kind) if isinstance(kind, str) else kind
            # What watches validations goes on behind the last: it matters to a run that is made longer.
            if not getattr(kind, "need_val_args", False):
                defaults["end"] = _end_of_run(one, optim_wrapper, loop)
            try:
                one = PARAM_SCHEDULERS.build(one, default_args=defaults)
            except (KeyError, TypeError, ValueError) as error:
                ends = f", whose end is {defaults['end']}, that of the run," if "end" in {*defaults} - {*one} else ""
                error.add_note(f"(raised for {path}[{index}]{ends} when it was built)")
                raise
        if not (callable(getattr(one, "step", None)) and hasattr(one, "by_epoch")):
            raise TypeError(
                f"{path}[{index}] must be a parameter scheduler or a config dict of one, but it is {one!r}"
                f" ({type(one).__name__}). Write it as dict(type='StepLR', step_size=10), for instance. torch's own"
                " schedulers are not supported."
            )
        groups = getattr(getattr(one, "optimizer", None), "param_groups", None)  # a scheduler may be anybody's
        if groups is not None and not any(group is own for group in groups for own in optim_wrapper.param_groups):
            raise ValueError(
                f"{path}[{index}] ({type(one).__name__}) was made for another optimizer than that of this run,"
                " so that it would change nothing. Make it from the one that is passed as optim_wrapper, or give its"
                " config dict."
            )
        watches = getattr(one, "need_val_args", False) and getattr(one, "begin", 0) == 0
        if one.by_epoch and not watches and isinstance(loop, IterBasedTrainLoop):
            print_log(
                f"{path}[{index}] ({type(one).__name__}) counts epochs, but training counts iterations, so it"
                " never advances. Write it with by_epoch=False, in iterations.",
                logger="current",
                level=logging.WARNING,
            )
        built.append(one)
    return built


def _end_of_run(schedule: Mapping[str, Any], optim_wrapper: OptimWrapper, loop: BaseTrainLoop) -> int:
    """Return where the run ends, in what the config of a schedule counts."""
    if schedule.get("unit") == "update" and not schedule.get("convert_to_iter_based"):
        updates: int = in_updates(loop.max_iters, accumulative_counts(optim_wrapper))
        return updates
    counts_iterations = schedule.get("unit") == "iter" or not schedule.get("by_epoch", True)
    return loop.max_iters if counts_iterations else loop.max_epochs


def build_evaluator(evaluator: Any) -> Evaluator:
    """Build an evaluator from an evaluator, its config, a metric, or a list of metrics."""
    if isinstance(evaluator, Mapping) and "metrics" in evaluator:
        evaluator = EVALUATOR.build({"type": "Evaluator", **evaluator})
    if isinstance(evaluator, Evaluator):
        return evaluator
    if isinstance(evaluator, (Mapping, list, tuple, Metric)) or is_torch_metric(evaluator):
        return Evaluator(evaluator)
    raise TypeError(
        "An evaluator is an Evaluator, a metric, a config dict of one, or a list of metrics, but it is"
        f" {evaluator!r} ({type(evaluator).__name__}). Write dict(type='Accuracy'), for instance."
    )


def build_hooks(
    default_hooks: Mapping[str, Any] | None,
    custom_hooks: Sequence[Hook | Mapping[str, Any]] | None,
    by_epoch: bool = True,
) -> HookList:
    """Build the hooks: the defaults, as changed by ``default_hooks`` (None leaves one out), then the custom ones.

    Where training counts iterations, the default checkpoints are saved every 1,000 of them.
    """
    check_default_hooks(default_hooks)
    check_custom_hooks(custom_hooks)
    hooks = HookList()
    hooks.register(PositionSeedHook())
    hooks.register(PlaceHook())
    given = dict(default_hooks or {})
    defaults = DEFAULT_HOOKS if by_epoch else {**DEFAULT_HOOKS, "checkpoint": _CHECKPOINT_BY_ITER}
    for slot, hook in ({**defaults, **given}).items():
        built = None if hook is None else register_hook(hooks, hook, path=f"default_hooks.{slot}")
        if slot in given:
            check_slot(slot, None if built is None else type(built), given)
    for index, hook in enumerate(custom_hooks or ()):
        register_hook(hooks, hook, path=f"custom_hooks[{index}]")
    return hooks


def check_default_hooks(given: Any) -> None:
    """Raise a ``TypeError`` unless it is a dict, or None."""
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(
            f"default_hooks must be a dict of hooks by slot ({', '.join(DEFAULT_HOOKS)}), but it is {given!r}. Hooks in"
            " a list go to custom_hooks."
        )


def check_custom_hooks(given: Any) -> None:
    """Raise a ``TypeError`` unless it is a list or the like, or None."""
    if given is not None and (isinstance(given, Mapping | str) or not isinstance(given, Sequence)):
        raise TypeError(
            f"custom_hooks must be a list of hooks, but it is {given!r}. Put it in brackets: custom_hooks=[...]."
        )


def check_slot(slot: str, kind: Any, given: Mapping[str, Any]) -> None:
    """Refuse what must be a mistake: a hook in a slot, while the default slot that is meant keeps its own.

    Slots besides the default ones are legal; this one is not, if its name is nearly that of a default slot, or its hook
    is of that slot's class, and that slot is not given.
    """
    free = [name for name in DEFAULT_HOOKS if name not in given]
    meant = [name for name in free if isinstance(kind, type) and issubclass(kind, _class_of(name))]
    if slot not in DEFAULT_HOOKS:
        meant += nearest(slot, free, cutoff=0.8)
    if meant:
        raise ValueError(
            f"default_hooks.{slot} is {'None' if kind is None else f'of class {kind.__name__}'}, but the slot"
            f" {meant[0]!r} keeps its {_class_of(meant[0]).__name__}. Did you mean default_hooks=dict({meant[0]}=...)?"
            " A hook beside the default ones goes to custom_hooks=[...]."
        )


def _class_of(slot: str) -> type:
    return cast(type, HOOKS.get(DEFAULT_HOOKS[slot]["type"]))


def register_hook(
    hooks: HookList, hook: Hook | Mapping[str, Any], priority: int | str | None = None, path: str = "A hook"
) -> Hook:
    """Build a hook, register it, and return it; a config may name its ``priority``.

    Args:
        hooks: Where it is registered.
        hook: The hook, or its config.
        priority: See :meth:`HookList.register`.
        path: What the user calls it; begins the messages.
    """
    if isinstance(hook, Mapping):
        options = dict(hook)
        if "type" not in options:
            raise no_type(path)
        priority = options.pop("priority", None) if priority is None else priority
        hook = HOOKS.build(options)
    if not isinstance(hook, Hook):
        raise no_hook(path, hook)
    hooks.register(hook, priority)
    return hook


def no_hook(path: str, given: Any) -> TypeError:
    """Return the error that something is no hook."""
    return TypeError(
        f"{path} must be a Hook or a config dict of one, such as dict(type='CheckpointHook', interval=1), but it is"
        f" {given!r} ({type(given).__name__})."
    )


def no_type(path: str) -> ValueError:
    """Return the error that the config of a hook has no type."""
    return ValueError(
        f"{path} has no type: its dict is the whole config of a hook, such as dict(type='CheckpointHook', interval=1)."
    )


def build_log_processor(cfg: LogProcessor | Mapping[str, Any] | None, by_epoch: bool) -> LogProcessor:
    """Build the log processor; by default it counts as training does."""
    if isinstance(cfg, LogProcessor):
        return cfg
    check_type(cfg, Mapping | None, "log_processor")
    built: LogProcessor = LOG_PROCESSORS.build({"type": "LogProcessor", "by_epoch": by_epoch, **(cfg or {})})
    return built


def build_visualizer(cfg: Visualizer | Mapping[str, Any] | None, name: str, save_dir: str) -> Visualizer:
    """Build the visualizer; by default it writes the scalars to a file in ``save_dir``."""
    if isinstance(cfg, Visualizer):
        return cfg
    check_type(cfg, Mapping | None, "visualizer")
    defaults: dict[str, Any] = {"name": name, "save_dir": save_dir}
    options = {"type": "Visualizer", **(cfg or {})}
    if options.get("vis_backends") is None:
        options["vis_backends"] = [{"type": "LocalVisBackend"}]
    visualizer: Visualizer = VISUALIZERS.build(options, default_args=defaults)
    return visualizer
