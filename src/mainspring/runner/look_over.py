"""The whole configuration is looked over before anything is built, and all that is found is told at once."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader

from ..dataset.build import check_loader_options, function_named
from ..dist import get_world_size
from ..evaluator.torch_metric import as_torch_metric
from ..model import Compile, check_model_wrapper
from ..optim import OptimWrapper, ParamwiseCfg
from ..optim.clipping import clip_options
from ..optim.several import describes_several
from ..registry import (
    DATA_SAMPLERS,
    DATASETS,
    EVALUATOR,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    VISBACKENDS,
    VISUALIZERS,
    DefaultScope,
    Registry,
    building_within,
)
from ..registry.hints import known_scopes
from ..utils import check_type, nearest, options_from
from . import build
from .evaluation_sets import loaders_by_name
from .findings import Finding, Findings
from .look_over_hooks import look_over_hooks
from .look_over_parts import look_over_part
from .look_over_schedules import look_over_schedules
from .options import AutoScaleLR, EnvCfg, Randomness

__all__ = ["look_over"]

_PLAIN: dict[str, Any] = {
    "work_dir": str | os.PathLike,
    "load_from": str | os.PathLike | None,
    "default_scope": str,
    "experiment_name": str | None,
    "trust": bool,
    "strict": bool,
    "find_unused_parameters": bool,
    "compile": bool | Mapping,
}
_OPTIONS: dict[str, type] = {"randomness": Randomness, "env_cfg": EnvCfg, "auto_scale_lr": AutoScaleLR}
_MULTIPLIERS = ("lr_mult", "decay_mult")


def look_over(given: Mapping[str, Any], cfg: Mapping[str, Any] | None = None) -> list[Finding]:
    """Return what is wrong, or looks wrong, with the arguments of a runner; nothing is built that takes long.

    Objects are left alone, and so is what a class of the user's gets within its own arguments; but that it takes
    arguments of these names is looked at.

    Args:
        given: The arguments of a runner, or a whole configuration, by name.
        cfg: The configuration that the arguments were taken from, where ``given`` is not that itself.

    >>> for finding in look_over(dict(model=None, work_dir="runs", train_cgf=dict(max_epochs=3))):
    ...     print(finding.severity, finding)
    warning train_cgf: a Runner has no such argument, so it is not read. Did you mean 'train_cfg'?
    """
    found = Findings()
    scope = given.get("default_scope", "mainspring")
    with building_within(given), DefaultScope.overwrite_default_scope(scope if isinstance(scope, str) else None):
        _look_over_names(found, given if cfg is None else cfg)
        for name, kind in _PLAIN.items():
            if name in given:
                with found.attempt(name):
                    check_type(given[name], kind, name)
        _look_over_scope(found, scope)
        with found.attempt("train_cfg"):
            build.check_groups(given, given if cfg is None else cfg)
        for name, options in _OPTIONS.items():
            if given.get(name) is not None:
                with found.attempt(name):
                    options_from(options, given[name], name)
        with found.attempt("model_wrapper_cfg"):
            check_model_wrapper(given.get("model_wrapper_cfg"))
        if isinstance(given.get("compile"), Mapping):
            with found.attempt("compile"):
                options_from(Compile, given["compile"], "compile")
        _look_over_part(found, given, "model", MODELS, ["data_preprocessor"], late=False)
        for mode in ("train", "val", "test"):
            _look_over_loop(found, given.get(f"{mode}_cfg"), mode)
            names = _look_over_loaders(found, given.get(f"{mode}_dataloader"), mode)
            if mode != "train":
                _look_over_metrics(found, given.get(f"{mode}_evaluator"), f"{mode}_evaluator", names)
        _look_over_optimizers(found, given.get("optim_wrapper"))
        look_over_schedules(found, given)
        look_over_hooks(found, given)
        _look_over_part(found, given, "log_processor", LOG_PROCESSORS, ["by_epoch"], "LogProcessor", late=False)
        _look_over_part(found, given, "visualizer", VISUALIZERS, ["name", "save_dir"], "Visualizer", late=False)
        if isinstance(given.get("visualizer"), Mapping):
            for path, one in _items("visualizer.vis_backends", given["visualizer"].get("vis_backends")):
                if isinstance(one, Mapping):
                    look_over_part(found, one, path, VISBACKENDS, ["save_dir"], late=False)
    return found


def _look_over_names(found: Findings, cfg: Mapping[str, Any]) -> None:
    """Warn of top-level names that nothing reads, but nearly the name of an argument; others are a config's own."""
    from .runner import ARGUMENTS

    missing = [name for name in ARGUMENTS if name not in cfg]
    for key in cfg:
        meant = [] if key in ARGUMENTS or not isinstance(key, str) else nearest(key, missing, cutoff=0.8)
        if meant:
            found.warn(key, f"a Runner has no such argument, so it is not read. Did you mean {meant[0]!r}?")


def _look_over_scope(found: Findings, scope: Any) -> None:
    known = known_scopes()
    if isinstance(scope, str) and scope not in known:
        meant = nearest(scope, known, cutoff=0.8)
        if meant:
            found.warn("default_scope", f"there is no scope {scope!r}. Did you mean {meant[0]!r}?")


def _look_over_part(
    found: Findings,
    given: Mapping[str, Any],
    name: str,
    registry: Registry,
    added: Sequence[str],
    default: str | None = None,
    late: bool = True,
) -> None:
    """Look over an argument that is the config of one thing, or is that thing."""
    cfg = given.get(name)
    if isinstance(cfg, Mapping):
        added = [one for one in added if given.get(one) is not None or default is not None]
        look_over_part(found, cfg, name, registry, added, default=default, late=late)


def _look_over_loop(found: Findings, cfg: Any, mode: str) -> None:
    if not isinstance(cfg, Mapping):
        return
    before = len(found)
    with found.attempt(f"{mode}_cfg"):
        if mode == "train":
            build.check_train_cfg(cfg)
        else:
            build.check_evaluation_cfg(cfg, mode)
    if len(found) == before and "type" in cfg:
        added = ["runner", "dataloader"] + ["evaluator"] * (mode != "train")
        own = {key: cfg[key] for key in cfg if key != "by_epoch"} if build.is_own_loop(cfg["type"]) else cfg
        look_over_part(found, own, f"{mode}_cfg", LOOPS, added)


def _look_over_loaders(found: Findings, given: Any, mode: str) -> Collection[str]:
    """Look over a loader, or several for evaluation, and return the names of the sets; a single one has none."""
    path = f"{mode}_dataloader"
    loaders: dict[str, Any] = {}
    with found.attempt(path):
        loaders = {"": given} if mode == "train" else loaders_by_name(given, mode)
    for name, one in loaders.items():
        if isinstance(one, Mapping):
            _look_over_loader(found, one, f"{path}.{name}" if name else path)
    return [name for name in loaders if name]


def _look_over_loader(found: Findings, cfg: Mapping[str, Any], path: str) -> None:
    before = len(found)
    with found.attempt(path):
        check_loader_options(cfg, path)
    if isinstance(cfg.get("dataset"), Mapping):
        look_over_part(found, cfg["dataset"], f"{path}.dataset", DATASETS)
    for key, added in (("sampler", ["dataset", "seed"]), ("batch_sampler", ["sampler", "batch_size"])):
        if isinstance(cfg.get(key), Mapping):
            look_over_part(found, cfg[key], f"{path}.{key}", DATA_SAMPLERS, added)
    for key in ("collate_fn", "worker_init_fn"):
        if cfg.get(key) is not None:
            with found.attempt(f"{path}.{key}"):
                function_named(cfg[key], f"{path}.{key}")
    if len(found) == before:
        _look_over_length(found, cfg, path)


def _look_over_length(found: Findings, cfg: Mapping[str, Any], path: str) -> None:
    """Find ``drop_last`` that leaves nothing, where the data set is there and knows its length."""
    dataset, size = cfg.get("dataset"), cfg.get("batch_size")
    if not cfg.get("drop_last") or not size or isinstance(dataset, Mapping | DataLoader | type):
        return
    try:
        samples = len(dataset)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return
    each = -(-samples // get_world_size())
    if 0 < each < size:
        error = ValueError(
            f"{path} gives no batch: {samples} samples, {get_world_size()} rank(s), batch_size={size}, drop_last=True."
            " Add data, make the batch smaller, or keep the last incomplete batch with drop_last=False."
        )
        found.fail(path, error)


def _look_over_metrics(found: Findings, given: Any, path: str, names: Collection[str] = ()) -> None:
    if names and isinstance(given, Mapping) and {"type", "metrics"}.isdisjoint(given):
        for name, one in given.items():
            _look_over_metrics(found, one, f"{path}.{name}")
        return
    if isinstance(given, Mapping) and "metrics" in given:
        look_over_part(found, given, path, EVALUATOR, default="Evaluator")
        _look_over_metrics(found, given["metrics"], f"{path}.metrics")
        return
    for place, one in _items(path, given):
        if isinstance(one, Mapping):
            look_over_part(found, as_torch_metric(one), place, METRICS, try_it=True)


def _look_over_optimizers(found: Findings, given: Any) -> None:
    if isinstance(given, Mapping) and describes_several(given):
        for name, one in given.items():
            if isinstance(one, Mapping):
                _look_over_wrapper(found, one, f"optim_wrapper.{name}")
    elif isinstance(given, Mapping) and "optimizer" in given:
        _look_over_wrapper(found, given, "optim_wrapper")


def _look_over_wrapper(found: Findings, cfg: Mapping[str, Any], path: str) -> None:
    constructor = cfg.get("constructor")
    if constructor is not None:
        named = constructor if isinstance(constructor, Mapping) else {"type": constructor}
        added = ["optim_wrapper_cfg", "paramwise_cfg"]
        look_over_part(found, named, f"{path}.constructor", OPTIM_WRAPPER_CONSTRUCTORS, added)
    if constructor not in (None, "DefaultOptimWrapperConstructor"):
        return  # what it makes of the rest is its own affair
    optimizer = cfg["optimizer"]
    if isinstance(optimizer, Mapping) and "params" not in optimizer:  # which the constructor refuses
        look_over_part(found, optimizer, f"{path}.optimizer", OPTIMIZERS, ["params"])
    options = {key: cfg[key] for key in cfg if key not in ("constructor", "paramwise_cfg")}
    kind = look_over_part(found, options, path, OPTIM_WRAPPERS, default="OptimWrapper", skip=("clip_grad", "optimizer"))
    if isinstance(kind, type) and issubclass(kind, OptimWrapper):
        with found.attempt(f"{path}.clip_grad", prefix=f"{path}."):
            clip_options(options.get("clip_grad"))
    if isinstance(cfg.get("paramwise_cfg"), Mapping):
        with found.attempt(f"{path}.paramwise_cfg"):
            options_from(ParamwiseCfg, cfg["paramwise_cfg"], f"{path}.paramwise_cfg")
        _look_over_custom_keys(found, cfg["paramwise_cfg"].get("custom_keys"), f"{path}.paramwise_cfg.custom_keys")


def _look_over_custom_keys(found: Findings, given: Any, path: str) -> None:
    for name, settings in given.items() if isinstance(given, Mapping) else ():
        for key in settings if isinstance(settings, Mapping) else ():
            meant = [] if key in _MULTIPLIERS else nearest(str(key), _MULTIPLIERS, cutoff=0.8)
            if meant:
                found.warn(
                    f"{path}[{name!r}].{key}",
                    f"no factor is called {key!r}, so it is not read. Did you mean {meant[0]!r}?",
                )


def _items(path: str, given: Any) -> list[tuple[str, Any]]:
    """Return one thing, or each of several, with its place."""
    if isinstance(given, (list, tuple)):
        return [(f"{path}[{index}]", one) for index, one in enumerate(given)]
    return [(path, given)]
