"""What the look over a configuration finds, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from mainspring.evaluator import BaseMetric
from mainspring.hooks import Hook
from mainspring.optim import StepLR
from mainspring.runner import EpochBasedTrainLoop
from mainspring.runner.findings import Finding, raise_errors, report
from mainspring.runner.look_over import look_over

ROWS = TensorDataset(torch.zeros(8, 6), torch.arange(8) % 3)


class Mine:
    """A class of a user's, whose arguments are its own affair."""

    made = 0

    def __init__(self, interval="1", milestones=None, by_epoch="maybe", **anything):
        Mine.made += 1


class MyHook(Hook):
    def __init__(self, interval="1"):
        Mine.made += 1


class MyMetric(BaseMetric):
    def __init__(self, topk="1"):
        Mine.made += 1


class MyLoop(EpochBasedTrainLoop):
    def __init__(self, runner, dataloader, epochs="3", val_interval=0):
        Mine.made += 1


class MyData(Dataset):
    def __init__(self, root=None):
        Mine.made += 1


EPOCHS = {"by_epoch": True, "max_epochs": 12}
ITERATIONS = {"by_epoch": False, "max_iters": 9000}


def schedules(schedule, train_cfg):
    given = {"param_scheduler": schedule, "train_cfg": train_cfg, "optim_wrapper": {"optimizer": {"type": "SGD"}}}
    return [finding for finding in look_over(given) if finding.path.startswith("param_scheduler")]


STRANGE = {
    "milestones past the end": (
        {"type": "MultiStepLR", "milestones": [8, 11, 16, 22]},
        EPOCHS,
        ".milestones: 16, 22 lie past the end of training, which has 12 epochs",
    ),
    "a milestone at the end": ({"type": "MultiStepLR", "milestones": [12]}, EPOCHS, "12 lies past the end"),
    "milestones behind the begin": (
        {"type": "MultiStepLR", "milestones": [8], "begin": 5},
        EPOCHS,
        "8 lies past the end",
    ),
    "milestones of iterations": (
        {"type": "MultiStepLR", "milestones": [8000, 12000], "by_epoch": False},
        ITERATIONS,
        "12000 lies past the end of training, which has 9000 iterations",
    ),
    "iterations written as epochs": (
        {"type": "LinearLR", "end": 500},
        EPOCHS,
        ".end: it counts epochs, of which training has 12 epochs, but it is 500",
    ),
    "a long cosine": ({"type": "CosineAnnealingLR", "T_max": 90000}, EPOCHS, ".T_max: it counts epochs"),
    "epochs written as iterations": (
        {"type": "MultiStepLR", "milestones": [8, 11], "by_epoch": False},
        EPOCHS,
        "with by_epoch=False it counts iterations, and is over after 11 of them, while training has 12 epochs",
    ),
    "a cosine of iterations": (
        {"type": "CosineAnnealingLR", "T_max": 12, "by_epoch": False},
        EPOCHS,
        "is over after 12 of them",
    ),
    "epochs in a run of iterations": (
        {"type": "StepLR", "step_size": 3},
        ITERATIONS,
        "it never advances. Write it with by_epoch=False",
    ),
    "a begin past the end": (
        {"type": "LinearLR", "begin": 12, "end": 14},
        EPOCHS,
        ".begin: it is 12, but training has only 12 epochs",
    ),
}
LEGAL = {
    "a usual pair": (
        [
            {"type": "LinearLR", "by_epoch": False, "begin": 0, "end": 500},
            {"type": "MultiStepLR", "milestones": [8, 11]},
        ],
        EPOCHS,
    ),
    "a warm-up of a few iterations": ({"type": "LinearLR", "by_epoch": False, "end": 5}, EPOCHS),
    "one that is converted": ({"type": "LinearLR", "end": 5, "convert_to_iter_based": True}, EPOCHS),
    "the whole run": ({"type": "CosineAnnealingLR", "T_max": 12, "eta_min": 0.0, "end": 12}, EPOCHS),
    "a cosine that is cut": ({"type": "CosineAnnealingLR", "T_max": 30}, EPOCHS),
    "updates": ({"type": "CosineAnnealingLR", "T_max": 500, "unit": "update"}, EPOCHS),
    "iterations": ({"type": "PolyLR", "power": 0.9, "by_epoch": False, "end": 9000}, ITERATIONS),
    "a loop of one's own": ({"type": "MultiStepLR", "milestones": [99]}, {"type": MyLoop}),
    "a schedule of one's own": ({"type": Mine, "milestones": "none"}, EPOCHS),
    "one of validations": ({"type": "ReduceOnPlateauLR", "monitor": "loss"}, EPOCHS),
    "an object": (object(), EPOCHS),
}


@pytest.mark.parametrize("case", STRANGE)
def test_a_schedule_whose_numbers_do_not_fit_the_run(case):
    schedule, train_cfg, words = STRANGE[case]
    (finding,) = schedules(schedule, train_cfg)
    assert finding.severity == "warning"
    assert str(finding).startswith("param_scheduler[0]")
    assert words in str(finding)


@pytest.mark.parametrize("case", LEGAL)
def test_a_schedule_that_is_as_it_may_be(case):
    assert schedules(*LEGAL[case]) == []


def test_what_is_the_users_own_is_neither_built_nor_judged():
    given = {
        "train_dataloader": {"dataset": {"type": MyData, "root": 3}, "batch_size": 2},
        "train_cfg": {"type": MyLoop, "epochs": "three", "val_interval": 0},
        "optim_wrapper": {"type": Mine, "optimizer": {"type": Mine, "lr": "fast"}, "clip_grad": "hard"},
        "param_scheduler": [{"type": Mine, "by_epoch": "maybe"}, StepLR],
        "val_dataloader": {"dataset": {"type": MyData}, "batch_size": 2},
        "val_cfg": {},
        "val_evaluator": [{"type": MyMetric, "topk": "1"}, MyMetric],
        "custom_hooks": [{"type": MyHook, "interval": "0"}],
        "data_root": "images",
    }
    before = Mine.made
    assert look_over(given) == []
    assert Mine.made == before


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"custom_hooks": [{"type": MyHook, "intervall": 1}]}, "custom_hooks[0]"),
        (
            {
                "val_evaluator": {"type": MyMetric, "top": 1},
                "val_cfg": {},
                "val_dataloader": {"dataset": ROWS, "batch_size": 1},
            },
            "val_evaluator",
        ),
        ({"model": {"type": Mine, "interval": 2}, "visualizer": {"type": "Visualizer", "nme": "x"}}, "visualizer"),
    ],
)
def test_an_argument_that_the_users_own_class_does_not_take_is_found(given, path):
    (finding,) = look_over(given)
    assert (finding.severity, finding.path) == ("error", path)
    assert "has no argument" in str(finding)


NONE = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None}


@pytest.mark.parametrize(
    ("hook", "path"),
    [
        ({"custom_hooks": [{"type": "EarlyStoppingHook", "monitor": "accuracy/top1"}]}, "custom_hooks[0]"),
        (
            {"default_hooks": {"checkpoint": {"type": "CheckpointHook", "save_best": "auto"}}},
            "default_hooks.checkpoint",
        ),
    ],
)
def test_a_monitor_without_validations(refused, hook, path):
    words = (f"{path}: ", "watches the results of validations, but there are none", "val_evaluator")
    refused(ValueError, *words, **hook, **NONE)


@pytest.mark.parametrize(
    ("custom", "default", "paths"),
    [
        ([{"type": "LoggerHook", "interval": 5}], {}, ["custom_hooks[0]"]),
        ([{"type": "EMAHook"}, {"type": "EMAHook"}], {}, ["custom_hooks[1]"]),
        ([{"type": "LoggerHook"}], {"logger": None}, []),
        ([{"type": "CheckpointHook", "interval": 5}], {}, []),
        ([MyHook(), MyHook()], {"mine": {"type": MyHook}}, []),
    ],
)
def test_hooks_that_are_meant_once(custom, default, paths):
    findings = look_over({"custom_hooks": custom, "default_hooks": default})
    assert [finding.path for finding in findings] == paths
    assert all("is done twice" in finding.text for finding in findings)


def test_a_warning_is_logged_once_and_is_an_error_where_that_is_asked_for(make_runner):
    changes = {"custom_hooks": [{"type": "LoggerHook"}]}
    runner = make_runner(**changes)
    with open(runner.logger.log_file) as file:
        assert file.read().count("there is a LoggerHook already, default_hooks.logger") == 1
    with pytest.raises(ValueError, match=r"custom_hooks\[0\]: there is a LoggerHook already"):
        make_runner(**changes, strict=True)


def test_several_errors_are_one_and_one_keeps_its_type():
    error, warning = Finding("error", "model", "no model", KeyError("no model")), Finding("warning", "hook", "twice")
    with pytest.raises(KeyError) as caught:
        raise_errors([warning, error])
    assert caught.value.__notes__ == ["Beside that: hook: twice"]
    with pytest.raises(ValueError, match=r"2 findings in the configuration:\n  1\. model: no model\n  2\. hook: twice"):
        raise_errors([error, warning], strict=True)
    raise_errors([warning])
    assert report([warning]) == "hook: twice"
