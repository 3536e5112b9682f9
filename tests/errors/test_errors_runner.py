"""What the arguments of a Runner may get wrong, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mainspring import Runner
from mainspring.hooks import LoggerHook
from mainspring.optim import OptimWrapper, StepLR
from mainspring.registry import RegistryError
from mainspring.runner import EpochBasedTrainLoop
from mainspring.visualization import Visualizer

LENGTHS = {
    "missing": ({}, ValueError, "train_cfg.max_epochs is missing", "train_cfg=dict(by_epoch=True, max_epochs=10)"),
    "missing, by epoch": ({"by_epoch": True}, ValueError, "train_cfg.max_epochs is missing"),
    "missing, by iteration": ({"by_epoch": False}, ValueError, "train_cfg.max_iters is missing", "max_iters=10000"),
    "none": ({"max_epochs": None}, ValueError, "train_cfg.max_epochs is missing"),
    "zero": ({"max_epochs": 0}, ValueError, "train_cfg.max_epochs must be at least 1, but it is 0"),
    "negative": ({"max_epochs": -1}, ValueError, "train_cfg.max_epochs must be at least 1, but it is -1"),
    "float": ({"max_epochs": 2.0}, TypeError, "train_cfg.max_epochs must be an integer, but it is 2.0 (float)"),
    "string": ({"max_epochs": "2"}, TypeError, "train_cfg.max_epochs must be an integer, but it is '2' (str)"),
    "bool": ({"max_epochs": True}, TypeError, "train_cfg.max_epochs must be an integer, but it is True"),
    "zero iterations": ({"max_iters": 0}, ValueError, "train_cfg.max_iters must be at least 1"),
    "negative iterations": ({"max_iters": -3}, ValueError, "train_cfg.max_iters must be at least 1"),
    "float iterations": ({"max_iters": 2.5}, TypeError, "train_cfg.max_iters must be an integer"),
    "string iterations": ({"max_iters": "9"}, TypeError, "train_cfg.max_iters must be an integer"),
}

CONTRADICTIONS = [
    {"by_epoch": True, "max_iters": 5},
    {"by_epoch": False, "max_epochs": 5},
    {"max_epochs": 3, "max_iters": 5},
    {"by_epoch": True, "max_epochs": 3, "max_iters": 5},
    {"type": "EpochBasedTrainLoop", "max_iters": 5},
    {"type": "EpochBasedTrainLoop", "by_epoch": False, "max_epochs": 5},
    {"type": "IterBasedTrainLoop", "by_epoch": True, "max_iters": 5},
]


class TestTrainCfg:
    @pytest.mark.parametrize("case", LENGTHS, ids=str)
    def test_the_length_of_training(self, refused, case):
        cfg, kind, *words = LENGTHS[case]
        refused(kind, *words, train_cfg=cfg)

    @pytest.mark.parametrize("cfg", CONTRADICTIONS, ids=str)
    def test_epochs_and_iterations_at_once(self, refused, cfg):
        given = ", ".join(f"{key}={value!r}" for key, value in cfg.items())
        cures = ("dict(by_epoch=True, max_epochs=10)", "dict(by_epoch=False, max_iters=10000)")
        refused(ValueError, f"train_cfg contradicts itself: {given}.", *cures, train_cfg=cfg)

    def test_by_epoch_may_repeat_what_the_type_says(self, make_runner):
        loop = make_runner(train_cfg={"type": "EpochBasedTrainLoop", "by_epoch": True, "max_epochs": 3}).train_loop
        assert (type(loop), loop.max_epochs) == (EpochBasedTrainLoop, 3)

    @pytest.mark.parametrize(
        ("changes", "kind", "words"),
        [
            ({"by_epoch": "yes"}, TypeError, "train_cfg.by_epoch must be True or False, but it is 'yes'"),
            ({"val_interval": 0}, ValueError, "train_cfg.val_interval must be at least 1"),
            ({"val_interval": "1"}, TypeError, "train_cfg.val_interval must be an integer"),
            ({"val_begin": -1}, ValueError, "train_cfg.val_begin must be at least 1"),
            ({"dynamic_intervals": 5}, TypeError, "must be a list of pairs (milestone, interval), such as [(10, 2)]"),
            ({"dynamic_intervals": [1, 2]}, TypeError, "must be a list of pairs (milestone, interval)"),
            ({"dynamic_intervals": [(1, 0)]}, ValueError, "train_cfg.dynamic_intervals must be at least 1"),
            ({"dynamic_intervals": [("a", 2)]}, TypeError, "train_cfg.dynamic_intervals must be an integer"),
            ({"val_intervall": 1}, ValueError, "train_cfg.val_intervall: there is no such option"),
            ({"val_intervall": 1}, ValueError, "Did you mean 'val_interval'?"),
        ],
    )
    def test_the_other_options(self, refused, changes, kind, words):
        refused(kind, words, train_cfg={"max_epochs": 2, **changes})

    @pytest.mark.parametrize("cfg", [[1], "max_epochs=2", 3])
    def test_it_is_no_dict(self, refused, cfg):
        refused(TypeError, "train_cfg must be a dict or a loop", train_cfg=cfg)

    def test_a_loop_that_nobody_registered(self, refused):
        cfg = {"type": "EpochBasedTrainLop", "max_epochs": 2}
        refused(RegistryError, "'EpochBasedTrainLop'", "Did you mean 'EpochBasedTrainLoop'", train_cfg=cfg)

    def test_a_loop_of_ones_own_gets_its_keywords_untouched(self, make_runner):
        class Loop(EpochBasedTrainLoop):
            def __init__(self, runner, dataloader, by_epoch):
                super().__init__(runner, dataloader, max_epochs=4)
                self.by_epoch = by_epoch

        assert make_runner(train_cfg={"type": Loop, "by_epoch": "as I like"}).train_loop.by_epoch == "as I like"


NONE = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None}


class TestGroups:
    @pytest.mark.parametrize("missing", ["train_dataloader", "train_cfg", "optim_wrapper"])
    def test_a_part_of_training_is_missing(self, refused, missing):
        refused(ValueError, f"but {missing} is not", "For training a Runner needs", **{missing: None})

    @pytest.mark.parametrize("missing", ["val_dataloader", "val_cfg", "val_evaluator"])
    def test_a_part_of_validation_is_missing(self, refused, missing):
        text = refused(ValueError, f"but {missing} is not", "For validation a Runner needs", **{missing: None})
        assert ("val_cfg=dict() takes the defaults" in text) is (missing == "val_cfg")

    @pytest.mark.parametrize("given", ["test_dataloader", "test_cfg", "test_evaluator"])
    def test_one_part_of_testing_alone(self, refused, given):
        refused(ValueError, f"{given} is given, but", "are not", "For testing a Runner needs", **{given: {}})

    def test_schedules_of_no_optimizer(self, refused):
        off = {"train_dataloader": None, "train_cfg": None, "optim_wrapper": None}
        schedule = {"type": "StepLR", "step_size": 1}
        refused(ValueError, "param_scheduler is given", "nothing to schedule", param_scheduler=schedule, **off)

    @pytest.mark.parametrize(
        ("what", "off"),
        [("train", {"train_dataloader": None, "train_cfg": None, "optim_wrapper": None}), ("val", NONE), ("test", {})],
    )
    def test_nothing_to_run(self, refused, what, off):
        refused(RuntimeError, f"no {what}_cfg and {what}_dataloader", f"no {what} loop", what=what, **off)


OPTIONS = {
    "randomness": ({"sed": 1}, "randomness.sed", "Did you mean 'seed'?"),
    "env_cfg": ({"cudnn_benchmrk": True}, "env_cfg.cudnn_benchmrk", "Did you mean 'cudnn_benchmark'?"),
    "auto_scale_lr": ({"enabel": True}, "auto_scale_lr.enabel", "Did you mean 'enable'?"),
    "val_cfg": ({"fp61": True}, "val_cfg.fp61", "Did you mean 'fp16'?"),
}


class TestOptions:
    @pytest.mark.parametrize("argument", OPTIONS)
    def test_an_unknown_key(self, refused, argument):
        cfg, *words = OPTIONS[argument]
        refused(ValueError, "there is no such option", *words, **{argument: cfg})

    def test_an_unknown_key_of_testing(self, refused, make_loader):
        parts = {"test_dataloader": make_loader(8), "test_evaluator": {"type": "Accuracy"}, "test_cfg": {"fp61": True}}
        refused(ValueError, "test_cfg.fp61", "Did you mean 'fp16'?", what="test", **parts)

    @pytest.mark.parametrize("argument", OPTIONS)
    @pytest.mark.parametrize("value", [3, "x", [1]])
    def test_no_dict(self, refused, argument, value):
        refused(TypeError, f"{argument} must be a dict", repr(value), **{argument: value})

    @pytest.mark.parametrize(
        ("argument", "cfg", "kind", "words"),
        [
            ("randomness", {"seed": "3"}, TypeError, "randomness.seed must be an integer or None"),
            ("randomness", {"seed": 1.5}, TypeError, "randomness.seed must be an integer or None"),
            ("randomness", {"seed": -1}, ValueError, "randomness.seed must lie between 0 and 2**64 - 1"),
            ("randomness", {"deterministic": 1}, TypeError, "randomness.deterministic must be True or False"),
            ("env_cfg", {"device": "gpu"}, ValueError, "env_cfg.device is 'gpu', which cannot be used here"),
            ("env_cfg", {"device": "cuda:99"}, ValueError, "env_cfg.device is 'cuda:99', which cannot be used here"),
            ("env_cfg", {"device": 3}, TypeError, "env_cfg.device must be a string or None"),
            ("env_cfg", {"mp_cfg": 3}, TypeError, "env_cfg.mp_cfg must be a dict"),
            ("env_cfg", {"mp_cfg": {"mp_start_methd": 1}}, ValueError, "Did you mean 'mp_start_method'?"),
            ("env_cfg", {"mp_cfg": {"mp_start_method": "frok"}}, ValueError, "'frok', but this machine knows only"),
            ("env_cfg", {"mp_cfg": {"opencv_num_threads": "x"}}, TypeError, "env_cfg.mp_cfg.opencv_num_threads"),
            ("env_cfg", {"resource_limit": "a"}, TypeError, "env_cfg.resource_limit must be an integer"),
            ("auto_scale_lr", {"enable": True}, TypeError, "auto_scale_lr.base_batch_size is missing"),
            ("auto_scale_lr", {"base_batch_size": 0}, ValueError, "auto_scale_lr.base_batch_size must be at least 1"),
            ("auto_scale_lr", {"base_batch_size": 1.5}, TypeError, "auto_scale_lr.base_batch_size must be an integer"),
            ("val_cfg", {"fp16": "yes"}, TypeError, "val_cfg.fp16 must be True or False"),
        ],
    )
    def test_an_impossible_value(self, refused, argument, cfg, kind, words):
        refused(kind, words, **{argument: cfg})


PLAIN = {
    "work_dir": [(3, "work_dir must be a string or a path"), (None, "work_dir must be"), (b"x", "work_dir must be")],
    "load_from": [(3, "load_from must be a string or a path or None")],
    "default_scope": [(None, "default_scope must be a string"), (3, "default_scope must be a string")],
    "experiment_name": [(3, "experiment_name must be a string or None")],
    "cfg": [("config.py", "cfg must be a dict or None")],
    "log_level": [(None, "log_level must be a name such as 'INFO', or a number")],
    "log_processor": [(3, "log_processor must be a dict or None")],
    "visualizer": [(3, "visualizer must be a dict or None"), (Visualizer, "visualizer must be a dict or None")],
}


class TestPlainArguments:
    @pytest.mark.parametrize(("argument", "value", "words"), [(a, *case) for a in PLAIN for case in PLAIN[a]])
    def test_one_of_the_wrong_type(self, refused, argument, value, words):
        refused(TypeError, words, **{argument: value})

    @pytest.mark.parametrize("value", ["yes", None, 1, 0, "Auto", "epoch_3.pth"])
    def test_resume(self, refused, value):
        words = ("resume must be True, False or 'auto'", repr(value), "name it in load_from, and pass resume=True")
        refused(ValueError, *words, resume=value)

    @pytest.mark.parametrize(
        ("launcher", "words"),
        [
            ("torchrun", "torchrun is called 'pytorch'"),
            ("pytroch", "Did you mean 'pytorch'?"),
            (None, "no such launcher"),
        ],
    )
    def test_launcher(self, refused, launcher, words):
        refused(ValueError, f"launcher={launcher!r}", words, "The launchers are", launcher=launcher)

    def test_log_level(self, refused):
        refused(ValueError, "'LOUD' is no level", "WARNING", log_level="LOUD")

    def test_parts_of_the_log_and_the_scalars(self, refused):
        refused(TypeError, "no argument 'windowsize'. Did you mean 'window_size'?", log_processor={"windowsize": 3})
        refused(RegistryError, "'Visualiser'", "Did you mean 'Visualizer'?", visualizer={"type": "Visualiser"})
        backends = {"vis_backends": [{"type": "TensorbordVisBackend"}]}
        refused(RegistryError, "'TensorbordVisBackend'", "'TensorboardVisBackend'", visualizer=backends)

    def test_an_argument_that_there_is_not(self, make_runner):
        with pytest.raises(TypeError, match="unexpected keyword argument 'train_dataloder'"):
            make_runner(train_dataloder=3)


class TestFromCfg:
    @pytest.mark.parametrize("key", ["model", "work_dir"])
    def test_what_it_needs(self, key, net):
        cfg = {"model": {"type": net}, "work_dir": "nowhere"}
        del cfg[key]
        with pytest.raises(ValueError, match=f"The configuration has no '{key}', which a Runner needs"):
            Runner.from_cfg(cfg)

    def test_no_dict(self):
        with pytest.raises(TypeError, match="cfg must be a dict, but it is 'config"):
            Runner.from_cfg("config.py")

    def test_a_misspelt_argument_is_told_of_and_others_are_left_alone(self, net, tmp_path):
        cfg = {"model": {"type": net}, "work_dir": str(tmp_path), "custom_hoks": [], "data_root": "images", "base": 3}
        runner = Runner.from_cfg(cfg)
        logged = Path(runner.logger.log_file).read_text()
        assert "custom_hoks: a Runner has no such argument, so it is not read. Did you mean 'custom_hooks'?" in logged
        assert "data_root" not in logged
        assert "base" not in logged


SGD = {"type": "SGD", "lr": 0.1}
WRAPPERS = {
    "a misspelt key": ({"optimizer": SGD, "clip_gradd": 1}, TypeError, "'clip_gradd'. Did you mean 'clip_grad'?"),
    "the optimizer alone": (SGD, ValueError, "optim_wrapper.optimizer is missing", "dict(optimizer=dict(type='SGD'"),
    "nothing": ({}, ValueError, "optim_wrapper.optimizer is missing"),
    "a name": ("SGD", TypeError, "optim_wrapper must be an OptimWrapper, an optimizer, or a dict such as"),
    "a class": (torch.optim.SGD, TypeError, "optim_wrapper must be an OptimWrapper"),
    "a name inside": ({"optimizer": "SGD"}, TypeError, "'SGD' (str)", "dict(type='SGD', lr=0.1)"),
    "none inside": ({"optimizer": None}, TypeError, "optimizer must be a torch.optim.Optimizer, but it is None"),
    "a wrapper": ({"type": "OptimWraper", "optimizer": SGD}, RegistryError, "Did you mean 'OptimWrapper'"),
    "a constructor": ({"optimizer": SGD, "constructor": "Mine"}, RegistryError, "'Mine'", "constructor"),
    "an optimizer": ({"optimizer": {"type": "SDG", "lr": 0.1}}, RegistryError, "'SDG'", "Did you mean 'SGD'?"),
    "no type": ({"optimizer": {"lr": 0.1}}, RegistryError, "needs the key 'type'", "'Adam'"),
    "its argument": ({"optimizer": {"type": "SGD", "lrr": 1}}, TypeError, "SGD has no argument 'lrr'", "'lr'"),
    "its rate": ({"optimizer": {"type": "SGD", "lr": "1e-4"}}, TypeError, "optimizer.lr must be a number", "1.0e-4"),
    "a negative rate": ({"optimizer": {"type": "SGD", "lr": -0.1}}, ValueError, "-0.1"),
    "its parameters": ({"optimizer": {**SGD, "params": []}}, ValueError, "optimizer.params", "freeze"),
    "accumulation": (
        {"optimizer": SGD, "accumulative_counts": 0},
        ValueError,
        "accumulative_counts must be at least 1",
    ),
    "half of one": (
        {"optimizer": SGD, "accumulative_counts": 0.5},
        TypeError,
        "accumulative_counts must be an integer",
    ),
}
CLIPPING = {
    "a misspelt key": ({"max_nrom": 1.0}, ValueError, "clip_grad.max_nrom", "Did you mean 'max_norm'?"),
    "a number": (1.0, TypeError, "clip_grad must be a dict such as dict(max_norm=1.0)"),
    "empty": ({}, TypeError, "clip_grad must be a dict such as dict(max_norm=1.0)"),
    "no limit": ({"norm_type": 2}, ValueError, "clip_grad.max_norm is missing"),
    "no limit of values": ({"type": "value"}, ValueError, "clip_grad.clip_value is missing"),
    "a type": ({"type": "nrom", "max_norm": 1.0}, ValueError, "clip_grad.type must be 'norm' or 'value'"),
    "a string": ({"max_norm": "1"}, TypeError, "clip_grad.max_norm must be a number"),
    "none": ({"max_norm": None}, TypeError, "clip_grad.max_norm must be a number"),
    "negative": ({"max_norm": -1}, ValueError, "clip_grad.max_norm must be above 0, but it is -1"),
    "zero": ({"type": "value", "clip_value": 0.0}, ValueError, "clip_grad.clip_value must be above 0"),
}
SCHEDULES = {
    "a misspelt key": ({"type": "StepLR", "step_size": 2, "gama": 1}, TypeError, "'gama'. Did you mean 'gamma'?"),
    "a key too few": ({"type": "StepLR"}, TypeError, "StepLR needs 'step_size'"),
    "a misspelt name": ({"type": "StepLRR"}, RegistryError, "'StepLRR'", "Did you mean 'StepLR'"),
    "no type": ({"step_size": 2}, RegistryError, "needs the key 'type'", "'ConstantLR'"),
    "a name": ("StepLR", TypeError, "param_scheduler[0] must be a parameter scheduler", "dict(type='StepLR'"),
    "a list of names": (["StepLR"], TypeError, "param_scheduler[0]", "'StepLR' (str)"),
    "an impossible value": ({"type": "StepLR", "step_size": -1}, ValueError, "StepLR.step_size must be at least 1"),
    "torch's own class": ({"type": torch.optim.lr_scheduler.StepLR, "step_size": 1}, TypeError, "not in the config"),
}


class TestOptimisation:
    @pytest.mark.parametrize("case", WRAPPERS, ids=str)
    def test_the_wrapper(self, refused, case):
        cfg, kind, *words = WRAPPERS[case]
        refused(kind, *words, optim_wrapper=cfg)

    @pytest.mark.parametrize("case", CLIPPING, ids=str)
    def test_clipping(self, refused, case):
        cfg, kind, *words = CLIPPING[case]
        refused(kind, *words, optim_wrapper={"optimizer": SGD, "clip_grad": cfg})

    @pytest.mark.parametrize("case", SCHEDULES, ids=str)
    def test_the_schedules(self, refused, case):
        cfg, kind, *words = SCHEDULES[case]
        refused(kind, *words, param_scheduler=cfg)

    def test_a_schedule_of_torchs_own(self, refused, net):
        schedule = torch.optim.lr_scheduler.StepLR(torch.optim.SGD(net().parameters(), lr=0.1), 1)
        refused(TypeError, "torch's own schedulers are not supported", "dict(type='StepLR'", param_scheduler=schedule)

    def test_a_schedule_of_another_optimizer(self, refused, net):
        schedule = StepLR(torch.optim.SGD(net().parameters(), lr=0.1), step_size=1)
        refused(ValueError, "param_scheduler[0] (StepLR) was made for another optimizer", param_scheduler=schedule)

    @pytest.mark.parametrize("wrapped", [True, False])
    def test_one_of_the_runs_own_optimizer_is_taken(self, make_runner, net, wrapped):
        model = net()
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.8))
        schedule = StepLR(wrapper if wrapped else wrapper.optimizer, step_size=1, gamma=0.5)
        make_runner(model=model, optim_wrapper=wrapper, param_scheduler=schedule).train()
        assert wrapper.get_lr() == {"lr": [0.2]}


def test_parts_may_be_real_objects_with_none_of_these_complaints(make_runner, net, make_loader):
    model = net()
    runner = make_runner(
        model=model,
        optim_wrapper=torch.optim.SGD(model.parameters(), lr=0.1),
        param_scheduler=None,
        default_hooks={"logger": LoggerHook(interval=2)},
    )
    runner.train()
    assert runner.iter == 10
