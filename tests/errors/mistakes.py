"""Plausible mistakes in a configuration in the manner of MMEngine: one a row, with what must be said of it."""

from __future__ import annotations

from typing import Any


def text_of(error: BaseException) -> str:
    """Return what an error says, with its notes."""
    return "\n".join([str(error), *getattr(error, "__notes__", ())])


def config() -> dict[str, Any]:
    """Return a configuration that trains."""
    data = {"type": "Vectors", "pipeline": [{"type": "Scale", "factor": 2.0}, {"type": "Shift", "by": 1.0}]}
    loader = {
        "batch_size": 4,
        "num_workers": 0,
        "dataset": data,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "collate_fn": {"type": "default_collate"},
    }
    return {
        "default_scope": "errorzoo",
        "model": {
            "type": "Classifier",
            "backbone": {"type": "Trunk", "depth": 2, "width": 8},
            "data_preprocessor": {"type": "BaseDataPreprocessor"},
        },
        "train_dataloader": loader,
        "val_dataloader": {**loader, "sampler": {"type": "DefaultSampler", "shuffle": False}},
        "train_cfg": {"by_epoch": True, "max_epochs": 3, "val_interval": 1},
        "val_cfg": {},
        "val_evaluator": [{"type": "Accuracy", "topk": (1,)}],
        "optim_wrapper": {
            "type": "OptimWrapper",
            "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4},
            "clip_grad": {"max_norm": 35, "norm_type": 2},
            "paramwise_cfg": {"custom_keys": {"backbone": {"lr_mult": 0.5}}},
        },
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 4},
            {"type": "MultiStepLR", "by_epoch": True, "begin": 0, "end": 3, "milestones": [1, 2], "gamma": 0.1},
        ],
        "default_hooks": {
            "timer": {"type": "IterTimerHook"},
            "logger": {"type": "LoggerHook", "interval": 2},
            "param_scheduler": {"type": "ParamSchedulerHook"},
            "checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "accuracy/top1", "max_keep_ckpts": 1},
            "sampler_seed": {"type": "DistSamplerSeedHook"},
        },
        "custom_hooks": [{"type": "EMAHook", "momentum": 0.1}],
        "auto_scale_lr": {"base_batch_size": 4, "enable": False},
        "env_cfg": {"cudnn_benchmark": False, "mp_cfg": {"opencv_num_threads": 0}, "dist_cfg": {"backend": "gloo"}},
        "log_processor": {"type": "LogProcessor", "window_size": 10, "by_epoch": True},
        "visualizer": {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}]},
        "randomness": {"seed": 1, "deterministic": False},
        "log_level": "WARNING",
        "load_from": None,
        "resume": False,
    }


def changed(cfg: dict[str, Any], path: str, value: Any) -> None:
    """Set, or with ... as the value remove, what stands at a path such as ``'custom_hooks.0.type'``.

    A key that begins with ``~`` is renamed: ``('train_cfg.~max_epochs', 'max_epoch')``.
    """
    *parents, last = path.split(".")
    place: Any = cfg
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    if last.startswith("~"):
        place[value] = place.pop(last[1:])
    elif value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value


# What is changed, to what, and what the error (or the warning that is logged) has to say.
MISTAKES: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    # Names at the top.
    "param_schedulers": (
        "~param_scheduler",
        "param_schedulers",
        ("param_schedulers: a Runner has no", "'param_scheduler'"),
    ),
    "custom_hook": ("~custom_hooks", "custom_hook", ("custom_hook: a Runner has no", "'custom_hooks'")),
    "default_hook": (
        "~default_hooks",
        "default_hook",
        ("default_hook: a Runner has no", "'default_hooks'"),
    ),
    "randomnes": ("~randomness", "randomnes", ("randomnes: a Runner has no", "'randomness'")),
    "env_config": ("~env_cfg", "env_cgf", ("env_cgf: a Runner has no", "'env_cfg'")),
    "autoscale_lr": (
        "~auto_scale_lr",
        "autoscale_lr",
        ("autoscale_lr: a Runner has no", "'auto_scale_lr'"),
    ),
    "loadfrom": ("~load_from", "loadfrom", ("loadfrom: a Runner has no", "'load_from'")),
    "optim_wraper": ("~optim_wrapper", "optim_wraper", ("optim_wrapper", "Did you mean", "optim_wraper")),
    "train_dataloder": ("~train_dataloader", "train_dataloder", ("train_dataloader", "train_dataloder")),
    "modle": ("~model", "modle", ("'model'", "'modle'")),
    "default_scop": (
        "~default_scope",
        "default_scop",
        ("default_scop: a Runner has no", "'default_scope'"),
    ),
    # The model.
    "model type": ("model.type", "Clasifier", ("model", "'Clasifier'", "'Classifier'")),
    "model typ": ("model.~type", "typ", ("model", "'type'", "'typ'")),
    "backbone type": ("model.backbone.type", "Trnk", ("model.backbone", "'Trnk'", "'Trunk'")),
    "backbone key": ("model.backbone.~depth", "dpeth", ("model.backbone", "'dpeth'", "'depth'")),
    "backbone value": ("model.backbone.depth", "2", ("model.backbone", "Trunk", "test_errors_in_configs.py")),
    "backbone key of the model": ("model.~backbone", "bacbone", ("model", "'bacbone'", "'backbone'")),
    "preprocessor": (
        "model.data_preprocessor.type",
        "BaseDataPreprocesor",
        ("model.data_preprocessor", "'BaseDataPreprocessor'"),
    ),
    "scope that is not installed": ("model.type", "mmdet.FasterRCNN", ("model", "'mmdet'", "pip install mmdet")),
    "init_cfg": ("model.init_cfg", {"type": "Kaimng", "layer": "Linear"}, ("model.init_cfg", "'Kaimng'", "'Kaiming'")),
    # Data.
    "dataset type": (
        "train_dataloader.dataset.type",
        "Vector",
        ("train_dataloader.dataset", "'Vector'", "'Vectors'"),
    ),
    "dataset key": (
        "train_dataloader.dataset.~pipeline",
        "pipline",
        ("train_dataloader.dataset", "'pipline'", "'pipeline'"),
    ),
    "transform type": (
        "train_dataloader.dataset.pipeline.1.type",
        "Shfit",
        ("train_dataloader.dataset.pipeline[1]", "'Shfit'", "'Shift'"),
    ),
    "transform key": (
        "train_dataloader.dataset.pipeline.0.~factor",
        "facter",
        ("train_dataloader.dataset.pipeline[0]", "'facter'", "'factor'"),
    ),
    "transform value": (
        "train_dataloader.dataset.pipeline.0.factor",
        "2.0",
        ("train_dataloader.dataset.pipeline[0]", "Scale", "test_errors_in_configs.py"),
    ),
    "transform of validation": (
        "val_dataloader.dataset",
        {"type": "Vectors", "pipeline": [{"type": "Scal"}]},
        ("val_dataloader.dataset.pipeline[0]", "'Scal'", "'Scale'"),
    ),
    "loader key": ("train_dataloader.~num_workers", "num_worker", ("train_dataloader.num_worker", "'num_workers'")),
    "loader batch size": ("train_dataloader.batch_size", "4", ("train_dataloader.batch_size", "an integer", "'4'")),
    "loader timeout": ("train_dataloader.timeout", "60", ("train_dataloader.timeout", "a number", "'60'")),
    "loader prefetch": (
        "train_dataloader.prefetch_factor",
        "2",
        ("train_dataloader.prefetch_factor", "an integer", "'2'"),
    ),
    "sampler type": (
        "train_dataloader.sampler.type",
        "DefaultSampl",
        ("train_dataloader.sampler", "'DefaultSampl'", "'DefaultSampler'"),
    ),
    "sampler key": (
        "train_dataloader.sampler.~shuffle",
        "shufle",
        ("train_dataloader.sampler", "'shufle'", "'shuffle'"),
    ),
    "sampler value": (
        "train_dataloader.sampler.shuffle",
        "yes",
        ("train_dataloader.sampler.shuffle", "True or False", "'yes'"),
    ),
    "sampler round_up": (
        "train_dataloader.sampler.round_up",
        "no",
        ("train_dataloader.sampler.round_up", "True or False", "'no'"),
    ),
    "collate": (
        "train_dataloader.collate_fn.type",
        "defaultcollate",
        ("train_dataloader.collate_fn", "'defaultcollate'", "'default_collate'"),
    ),
    # Loops.
    "max_epoch": ("train_cfg.~max_epochs", "max_epoch", ("train_cfg.max_epoch", "'max_epochs'")),
    "max_epochs text": ("train_cfg.max_epochs", "3", ("train_cfg.max_epochs", "an integer", "'3'")),
    "max_epochs float": ("train_cfg.max_epochs", 3.0, ("train_cfg.max_epochs", "an integer", "3.0")),
    "val_interval": ("train_cfg.val_interval", 0, ("train_cfg.val_interval", "at least 1")),
    "val_interval beyond": ("train_cfg.val_interval", "1", ("train_cfg.val_interval", "an integer", "'1'")),
    "val_begin": ("train_cfg.~val_interval", "val_intervl", ("train_cfg.val_intervl", "'val_interval'")),
    "loop type": ("train_cfg.type", "EpochBasedTrainLop", ("train_cfg", "'EpochBasedTrainLoop'")),
    "val_cfg": ("val_cfg.fp_16", True, ("val_cfg.fp_16", "'fp16'")),
    # Metrics.
    "metric type": ("val_evaluator.0.type", "Acuracy", ("val_evaluator", "'Acuracy'", "'Accuracy'")),
    "metric key": ("val_evaluator.0.~topk", "top_k", ("val_evaluator", "'top_k'", "'topk'")),
    "metric value": ("val_evaluator.0.topk", "1", ("val_evaluator", "topk", "'1'")),
    # Optimisation.
    "lr text": ("optim_wrapper.optimizer.lr", "0.01", ("optim_wrapper.optimizer.lr", "a number", "'0.01'")),
    "weight decay of YAML": (
        "optim_wrapper.optimizer.weight_decay",
        "1e-4",
        ("optim_wrapper.optimizer.weight_decay", "a number", "1.0e-4"),
    ),
    "momentum text": ("optim_wrapper.optimizer.momentum", "0.9", ("optim_wrapper.optimizer.momentum", "a number")),
    "optimizer type": ("optim_wrapper.optimizer.type", "SDG", ("optim_wrapper.optimizer", "'SDG'", "'SGD'")),
    "optimizer key": (
        "optim_wrapper.optimizer.~momentum",
        "momentun",
        ("optim_wrapper.optimizer", "'momentun'", "'momentum'"),
    ),
    "wrapper key": ("optim_wrapper.~clip_grad", "clip_grads", ("optim_wrapper", "'clip_grads'", "'clip_grad'")),
    "wrapper type": ("optim_wrapper.type", "AmpOptimWraper", ("optim_wrapper", "'AmpOptimWrapper'")),
    "accumulation": (
        "optim_wrapper.accumulative_counts",
        "2",
        ("optim_wrapper.accumulative_counts", "an integer", "'2'"),
    ),
    "clip key": (
        "optim_wrapper.clip_grad.~max_norm",
        "max_nrom",
        ("optim_wrapper.clip_grad.max_nrom", "'max_norm'"),
    ),
    "clip value": ("optim_wrapper.clip_grad.max_norm", "35", ("optim_wrapper.clip_grad.max_norm", "a number")),
    "clip kind of norm": (
        "optim_wrapper.clip_grad.norm_type",
        "two",
        ("optim_wrapper.clip_grad.norm_type", "a number", "'two'"),
    ),
    "paramwise key": (
        "optim_wrapper.paramwise_cfg.~custom_keys",
        "custom_key",
        ("optim_wrapper.paramwise_cfg.custom_key", "'custom_keys'"),
    ),
    "custom key without effect": (
        "optim_wrapper.paramwise_cfg.custom_keys.~backbone",
        "bakbone",
        ("bakbone", "custom_keys"),
    ),
    "multiplier": (
        "optim_wrapper.paramwise_cfg.custom_keys.backbone.~lr_mult",
        "lr_mul",
        ("optim_wrapper.paramwise_cfg.custom_keys", "'lr_mul'", "'lr_mult'"),
    ),
    # Schedules.
    "schedule type": ("param_scheduler.1.type", "MultistepLR", ("param_scheduler[1]", "'MultiStepLR'")),
    "schedule key": ("param_scheduler.1.~milestones", "milestone", ("param_scheduler[1]", "'milestones'")),
    "schedule value": ("param_scheduler.1.gamma", "0.1", ("param_scheduler[1]", "gamma must be a number", "'0.1'")),
    "milestones text": ("param_scheduler.1.milestones", ["1", "2"], ("param_scheduler[1]", "milestones", "'1'")),
    "milestones past the end": (
        "param_scheduler.1.milestones",
        [1, 20],
        ("param_scheduler[1].milestones", "20", "3 epochs"),
    ),
    "iterations where epochs were meant": (
        "param_scheduler.1.by_epoch",
        False,
        ("param_scheduler[1]", "by_epoch", "3 epochs"),
    ),
    "epochs where iterations were meant": (
        "param_scheduler.0",
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": True, "begin": 0, "end": 500},
        ("param_scheduler[0]", "500", "3 epochs", "by_epoch=False"),
    ),
    "begin behind the end": ("param_scheduler.0.begin", 9, ("param_scheduler[0]", "begin", "9")),
    # Hooks.
    "slot": ("default_hooks.~checkpoint", "checkpont", ("default_hooks.checkpont", "'checkpoint'")),
    "hook type": ("default_hooks.logger.type", "LogerHook", ("default_hooks.logger", "'LoggerHook'")),
    "hook key": ("default_hooks.logger.~interval", "intervals", ("default_hooks.logger", "'interval'")),
    "hook value": ("default_hooks.logger.interval", "2", ("default_hooks.logger.interval", "an integer", "'2'")),
    "hook interval": ("default_hooks.logger.interval", 0, ("default_hooks.logger", "interval", "at least 1")),
    "hook bool": (
        "default_hooks.checkpoint.by_epoch",
        "true",
        ("default_hooks.checkpoint.by_epoch", "True or False"),
    ),
    "checkpoint interval": (
        "default_hooks.checkpoint.interval",
        -2,
        ("default_hooks.checkpoint", "interval", "at least 1"),
    ),
    "save_last": (
        "default_hooks.checkpoint.save_last",
        "no",
        ("default_hooks.checkpoint.save_last", "True or False", "'no'"),
    ),
    "save_optimizer": (
        "default_hooks.checkpoint.save_optimizer",
        "yes",
        ("default_hooks.checkpoint.save_optimizer", "True or False", "'yes'"),
    ),
    "ignore_last": (
        "default_hooks.logger.ignore_last",
        "no",
        ("default_hooks.logger.ignore_last", "True or False", "'no'"),
    ),
    "save_best": ("default_hooks.checkpoint.save_best", "accuracy/top_1", ("accuracy/top_1", "'accuracy/top1'")),
    "custom hook type": ("custom_hooks.0.type", "EMAHok", ("custom_hooks[0]", "'EMAHook'")),
    "custom hook key": ("custom_hooks.0.~momentum", "momentm", ("custom_hooks[0]", "'momentum'")),
    "custom hook value": ("custom_hooks.0.momentum", "0.1", ("custom_hooks[0]", "momentum", "a number", "'0.1'")),
    "custom hook priority": ("custom_hooks.0.priority", "NORML", ("custom_hooks[0]", "'NORMAL'")),
    "a hook that is there already": (
        "custom_hooks.0",
        {"type": "ParamSchedulerHook"},
        ("custom_hooks[0]", "ParamSchedulerHook", "default_hooks.param_scheduler"),
    ),
    "a metric that early stopping misses": (
        "custom_hooks.0",
        {"type": "EarlyStoppingHook", "monitor": "acuracy/top1"},
        ("acuracy/top1", "'accuracy/top1'"),
    ),
    # The rest.
    "seed": ("randomness.seed", "1", ("randomness.seed", "an integer", "'1'")),
    "seed key": ("randomness.~deterministic", "determinstic", ("randomness.determinstic", "'deterministic'")),
    "env key": ("env_cfg.~cudnn_benchmark", "cudnn_benchmrk", ("env_cfg.cudnn_benchmrk", "'cudnn_benchmark'")),
    "dist key": ("env_cfg.dist_cfg.~backend", "backnd", ("env_cfg.dist_cfg.backnd", "'backend'")),
    "dist backend": ("env_cfg.dist_cfg.backend", 3, ("env_cfg.dist_cfg.backend", "a string", "3")),
    "dist timeout": ("env_cfg.dist_cfg.timeout", "1h", ("env_cfg.dist_cfg.timeout", "'1h'")),
    "auto_scale_lr": ("auto_scale_lr.~enable", "enabled", ("auto_scale_lr.enabled", "'enable'")),
    "log processor": ("log_processor.~window_size", "windowsize", ("log_processor", "'window_size'")),
    "window": ("log_processor.window_size", "10", ("log_processor.window_size", "an integer", "'10'")),
    "custom_cfg": (
        "log_processor.custom_cfg",
        [{"data_src": "loss", "method": "mean", "window": 5}],
        ("log_processor", "method_name must be a string", "'window'"),
    ),
    "visualizer": ("visualizer.type", "Visualiser", ("visualizer", "'Visualizer'")),
    "backend": (
        "visualizer.vis_backends.0.type",
        "LocalVisBackand",
        ("visualizer.vis_backends[0]", "'LocalVisBackend'"),
    ),
    "level": ("log_level", "INFOO", ("'INFOO'",)),
    "load_from": ("load_from", 3, ("load_from", "a string")),
    "resume": ("resume", "yes", ("resume", "'yes'")),
    "scope": ("default_scope", "erorzoo", ("'erorzoo'", "'errorzoo'")),
}
