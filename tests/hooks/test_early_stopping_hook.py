import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mainspring import BaseMetric
from mainspring.checkpoint import read_checkpoint
from mainspring.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mainspring.runner.base_loop import BaseLoop

INF = math.inf


class Answers(BaseMetric):
    """Answers each validation by its place in the run, so that a resumed run gets the answers of the first."""

    runner = None

    def __init__(self, answers, every):
        super().__init__()
        self.answers, self.every = answers, every

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        done = self.runner.epoch if self.runner.by_epoch else self.runner.iter // self.every
        answer = self.answers[min(done, len(self.answers)) - 1]
        return answer if isinstance(answer, dict) else {"acc": answer}


class KilledError(Exception):
    pass


class Kill(Hook):
    """Breaks a run off at a stage, once so many validations were begun."""

    priority = "LOWEST"

    def __init__(self, stage, validations):
        self.validations = 0

        def act(runner, **kwargs):
            if self.validations == validations:
                raise KilledError

        setattr(self, stage, act)

    def before_val_epoch(self, runner):
        self.validations += 1


@pytest.fixture
def make(make_runner, make_loader, net):
    """Make a runner of at most 8 epochs of 2 iterations, each with a validation that gives the next answer."""

    def run(answers, *hooks, by_epoch=True, checkpoint=None, stopping=None, **changes):
        cfg = {"max_epochs": 8} if by_epoch else {"by_epoch": False, "max_iters": 16, "val_interval": 2}
        unit = {"interval": 1} if by_epoch else {"interval": 2, "by_epoch": False}
        metric = Answers(answers, 2)
        arguments = {
            "model": {"type": net, "dropout": 0.3},  # from the seed of the run
            "train_dataloader": make_loader(8, 4),
            "train_cfg": cfg,
            "val_dataloader": make_loader(2),
            "val_evaluator": metric,
            "default_hooks": {"checkpoint": CheckpointHook(**unit, **(checkpoint or {})), "summary": None},
            "custom_hooks": [
                *([] if stopping is None else [EarlyStoppingHook(**{"monitor": "acc", **stopping})]),
                *hooks,
            ],
            **changes,
        }
        runner = make_runner(**arguments)
        metric.runner = runner
        return runner

    return run


def hook_of(runner):
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook))
    return hook


def weights(runner):
    return {name: value.numpy().tobytes() for name, value in runner.model.state_dict().items()}


@pytest.mark.parametrize(
    ("answers", "arguments", "validations", "best"),
    [
        ([0.5] * 8, {}, 6, 0.5),
        ([0.5] * 8, {"patience": 2}, 3, 0.5),
        ([0.5] * 8, {"patience": 1}, 2, 0.5),
        ([0.5] * 8, {"patience": 0}, 2, 0.5),
        ([0.5] * 8, {"patience": 2, "min_delta": 0}, 8, 0.5),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], {"patience": 2, "min_delta": 0.125}, 8, 0.7),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], {"patience": 2, "min_delta": 0.25}, 3, 0.1),
        ([0.5, 0.75, 1.0, 1.125, 1.125], {"patience": 2, "min_delta": 0.25}, 5, 1.0),
        ([0.5, 0.4, 0.6, 0.5, 0.4, 0.3], {"patience": 2, "min_delta": 0.05}, 5, 0.6),
        ([0.5, 0.3, 0.3, 0.3, 0.3], {"patience": 3, "rule": "less"}, 5, 0.3),
        ([0.5, 0.4, 0.3, 0.2, 0.1], {"patience": 3}, 4, 0.5),
        ([0.5, math.nan, 0.9], {}, 2, 0.5),
        ([0.5, INF, 0.9], {}, 2, 0.5),
        ([0.5, math.nan, math.nan, math.nan], {"check_finite": False, "patience": 3}, 4, 0.5),
        ([-INF, 0.5, INF, 0.9], {"check_finite": False, "patience": 4}, 7, INF),
        ([0.5, 0.6, 0.71, 0.8], {"stopping_threshold": 0.7}, 3, 0.71),
        ([0.5, 0.7, 0.7, 0.7], {"stopping_threshold": 0.7, "patience": 3}, 5, 0.7),
        ([0.5, 0.51], {"stopping_threshold": 0.505, "min_delta": 0.2}, 2, 0.51),
        ([0.5, 0.3, 0.1, 0.1], {"stopping_threshold": 0.2, "rule": "less"}, 3, 0.1),
        ([torch.tensor(0.5), np.float32(0.5), 0.5], {"patience": 2}, 3, 0.5),
    ],
)
def test_when_it_stops(make, answers, arguments, validations, best):
    runner = make(answers, stopping=arguments)
    runner.train()
    assert runner.epoch == validations
    assert hook_of(runner).best_score == best
    assert hook_of(runner).stopped == runner.train_loop.stop_training == (validations < 8)


@pytest.mark.parametrize("by_epoch", [True, False])
def test_the_last_checkpoint_knows_of_the_stop(make, by_epoch):
    runner = make([0.1, 0.5, 0.5, 0.5, 0.9], stopping={"patience": 2}, by_epoch=by_epoch)
    runner.train()
    assert runner.iter == 8
    state = read_checkpoint(Path(runner.work_dir) / ("epoch_4.pth" if by_epoch else "iter_8.pth"))["hooks"]
    assert state["EarlyStoppingHook"] == hook_of(runner).state_dict()
    assert state["EarlyStoppingHook"]["stopped"]


@pytest.mark.parametrize(
    ("metric", "rule"),
    [("acc", "greater"), ("coco/bbox_mAP", "greater"), ("val_loss", "less"), ("recall@10", "greater")],
)
def test_the_rule_is_known_from_the_name(metric, rule):
    assert EarlyStoppingHook(metric).rule == rule
    assert EarlyStoppingHook(metric, rule="less").rule == "less"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"monitor": "cost"}, ValueError, "EarlyStoppingHook: whether a higher or a lower 'cost' is better cannot be"),
        ({"monitor": "top1_error"}, ValueError, "say rule='greater' or rule='less'"),
        ({"rule": "max"}, ValueError, "EarlyStoppingHook: rule must be 'greater' or 'less', but it is 'max'"),
        ({"monitor": ["acc"]}, TypeError, "EarlyStoppingHook: monitor must be a string"),
        (
            {"min_delta": -0.1},
            ValueError,
            "EarlyStoppingHook: min_delta must be finite and not negative, but it is -0.1",
        ),
        ({"min_delta": math.nan}, ValueError, "EarlyStoppingHook: min_delta must be finite"),
        ({"min_delta": "0.1"}, TypeError, "EarlyStoppingHook: min_delta must be a number"),
        ({"patience": -1}, ValueError, "EarlyStoppingHook: patience must not be negative, but it is -1"),
        ({"patience": 2.5}, TypeError, "EarlyStoppingHook: patience must be an integer"),
        ({"strict": 1}, TypeError, "EarlyStoppingHook: strict must be True or False"),
        ({"stopping_threshold": math.nan}, ValueError, "EarlyStoppingHook: stopping_threshold must be a number"),
    ],
)
def test_impossible_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        EarlyStoppingHook(**{"monitor": "acc", **arguments})


def test_arguments_stand_in_the_order_of_mmengine():
    hook = EarlyStoppingHook("acc", "less", 0.2, True, False, 3, 0.9)
    assert (hook.rule, hook.min_delta, hook.strict, hook.check_finite) == ("less", 0.2, True, False)
    assert (hook.patience, hook.stopping_threshold) == (3, 0.9)


def test_as_a_config_in_a_slot_of_its_own(make):
    slots = {"early_stopping": {"type": "EarlyStoppingHook", "monitor": "acc", "patience": 2}, "summary": None}
    runner = make([0.5] * 8, default_hooks=slots)
    runner.train()
    assert runner.epoch == 3


def test_it_says_why(make, capsys):
    make([0.5] * 8, stopping={"patience": 2}, log_level="INFO").train()
    out = " ".join(capsys.readouterr().out.split())
    assert "Training stops early after epoch 3: acc has not improved by 0.1 in 2 validations (patience=2);" in out
    assert "the best was 0.5." in out


@pytest.mark.parametrize(
    ("answers", "arguments", "reason"),
    [
        ([math.nan], {}, "acc is nan (check_finite=True)"),
        ([0.75], {"stopping_threshold": 0.7}, "acc is 0.75, greater than stopping_threshold=0.7."),
        ([0.5], {"patience": 1}, "acc has not improved by 0.1 in 1 validation (patience=1); the best was 0.5."),
    ],
)
def test_the_reason_names_the_setting(make, capsys, answers, arguments, reason):
    make(answers, stopping=arguments, by_epoch=False, log_level="INFO").train()
    assert reason in " ".join(capsys.readouterr().out.split())


# What it watches.


def test_a_metric_that_is_missing_is_said_once_and_stops_nothing(make, capsys):
    runner = make([{"acc5": 0.5}] * 8, stopping={"patience": 1})
    runner.train()
    assert runner.epoch == 8
    out = " ".join(capsys.readouterr().out.split())
    assert "EarlyStoppingHook watches 'acc', which the validation did not return. Did you mean 'acc5'?" in out
    assert out.count("EarlyStoppingHook watches") == 1


def test_a_metric_that_is_missing_is_an_error_where_that_was_asked_for(make):
    runner = make([{"acc5": 0.5}], stopping={"strict": True})
    with pytest.raises(ValueError, match=r"watches 'acc', which .* Did you mean 'acc5'\? It returned: acc5\."):
        runner.train()


def test_what_is_no_number(make):
    with pytest.raises(TypeError, match=r"EarlyStoppingHook watches 'acc', which must be a number .* returned 'high'"):
        make([{"acc": "high"}], stopping={}).train()


def test_validations_outside_of_the_training_do_not_count(make):
    runner = make([0.5, 0.7, 0.9], stopping={"patience": 1}, train_cfg={"max_epochs": 2})
    runner.val()
    assert hook_of(runner).best_score == -INF
    runner.train()
    for _ in range(3):
        runner.val()
    assert (hook_of(runner).best_score, hook_of(runner).wait_count, hook_of(runner).stopped) == (0.7, 0, False)


def test_without_validations_a_run_does_not_begin(make):
    runner = make([0.5], stopping={}, val_dataloader=None, val_cfg=None, val_evaluator=None)
    with pytest.raises(
        ValueError, match="EarlyStoppingHook watches 'acc', a result of validations, but there are none"
    ):
        runner.train()


class Bare(BaseLoop):
    """A loop of a user's that knows no end before its time."""

    epoch = iter = 0
    max_epochs = max_iters = 1

    def run(self):
        self.runner.call_hook("before_train")


def test_a_loop_that_cannot_be_stopped(make):
    runner = make([0.5], stopping={}, train_cfg={"type": Bare})
    with pytest.raises(TypeError, match="EarlyStoppingHook cannot end Bare, which has no stop_training"):
        runner.train()


# Going on after a stop.


def outcome(runner):
    return runner.epoch, runner.iter, weights(runner), hook_of(runner).state_dict()


@pytest.mark.parametrize("by_epoch", [True, False])
@pytest.mark.parametrize(
    ("stage", "validations"),
    [
        ("before_train_iter", 2),
        ("before_val", 2),
        ("after_val_epoch", 3),
        ("before_val", 3),
        ("after_val_epoch", 4),
        ("after_val", 4),
        ("after_train", 4),
    ],
)
def test_a_killed_run_ends_as_one_that_was_not(make, tmp_path, by_epoch, stage, validations):
    """It is stopped by its fourth validation."""
    answers, arguments = [0.1, 0.5, 0.5, 0.5, 0.9], {"stopping": {"patience": 2}, "by_epoch": by_epoch}
    arguments["checkpoint"] = {"save_best": "acc"}
    whole = make(answers, work_dir=tmp_path / "whole", **arguments)
    whole.train()
    assert whole.iter == 8

    with pytest.raises(KilledError):
        make(answers, Kill(stage, validations), **arguments).train()
    again = make(answers, resume="auto", **arguments)
    again.train()
    assert outcome(again) == outcome(whole)


@pytest.mark.parametrize("by_epoch", [True, False])
def test_a_run_that_goes_on_from_any_checkpoint_stops_where_it_did(make, tmp_path, by_epoch):
    answers, arguments = [0.1, 0.3, 0.5, 0.5, 0.5, 0.9], {"stopping": {"patience": 2}, "by_epoch": by_epoch}
    whole = make(answers, checkpoint={"save_best": "acc"}, **arguments)
    whole.train()
    assert whole.iter == 10
    files = sorted(Path(whole.work_dir).glob("*.pth"))
    assert len(files) == 6
    for file in files:
        again = make(answers, work_dir=tmp_path / file.stem, load_from=file, resume=True, **arguments)
        again.train()
        assert outcome(again) == outcome(whole), file.name


def test_the_best_checkpoint_holds_the_counts_after_its_validation(make):
    runner = make([0.1, 0.12, 0.5], checkpoint={"save_best": "acc"}, stopping={"stopping_threshold": 0.4})
    runner.train()
    state = read_checkpoint(Path(runner.work_dir) / "best_acc_epoch_3.pth")["hooks"]["EarlyStoppingHook"]
    assert (state["best_score"], state["wait_count"], state["stopped"]) == (0.5, 0, True)


@pytest.mark.parametrize("by_epoch", [True, False])
@pytest.mark.parametrize("times", [1, 2])
def test_a_run_that_was_stopped_stays_so(make, capsys, by_epoch, times):
    first = make([0.5] * 8, stopping={"patience": 2}, by_epoch=by_epoch)
    first.train()
    for _ in range(times):
        again = make([0.5] * 8, stopping={"patience": 2}, by_epoch=by_epoch, resume="auto", log_level="INFO")
        again.train()
    assert outcome(again) == outcome(first)
    out = " ".join(capsys.readouterr().out.split())
    assert "This run was stopped early, and stays so: acc has not improved by 0.1 in 2 validations (patience=2)" in out


@pytest.mark.parametrize("by_epoch", [True, False])
@pytest.mark.parametrize(
    ("answers", "before", "after", "iterations"),
    [
        ([0.5], {"patience": 2}, {"patience": 4}, 10),
        ([0.5], {"patience": 2}, {"patience": 20}, 16),
        ([0.5, 0.8, 0.9, 0.9], {"stopping_threshold": 0.7, "min_delta": 0}, {"min_delta": 0}, 16),
        ([0.5, 0.8, 0.9], {"stopping_threshold": 0.7}, {"stopping_threshold": 0.85}, 6),
        ([0.5, math.nan, 0.3], {}, {"check_finite": False, "patience": 5}, 14),
    ],
)
def test_a_run_goes_on_if_the_settings_let_it(make, tmp_path, by_epoch, answers, before, after, iterations):
    """And then as one that had them from the beginning, but for a NaN that counts only then."""
    make(answers, stopping=before, by_epoch=by_epoch).train()
    again = make(answers, stopping=after, by_epoch=by_epoch, resume="auto")
    again.train()
    assert again.iter == iterations
    if "check_finite" not in after:
        straight = make(answers, stopping=after, by_epoch=by_epoch, work_dir=tmp_path / "straight")
        straight.train()
        assert outcome(again) == outcome(straight)


def test_a_run_goes_on_without_the_hook_and_with_another_metric_or_rule(make, tmp_path):
    answers = [{"acc": 0.5, "loss": 1.0}]
    make(answers, stopping={"patience": 2}).train()
    last = {"load_from": tmp_path / "run" / "epoch_3.pth", "resume": True}
    left_out = make(answers, **last, work_dir=tmp_path / "left out")
    left_out.train()
    assert left_out.epoch == 8
    for change in ({"monitor": "loss"}, {"rule": "less"}):
        changed = make(answers, stopping={"patience": 2, **change}, **last, work_dir=tmp_path / str(change))
        changed.train()
        assert changed.epoch == 6, "the first of its validations gives the score to beat"


def test_a_smaller_patience_waits_for_the_next_validation(make):
    make([0.5], stopping={"patience": 6}, train_cfg={"max_epochs": 4}).train()
    again = make([0.5], stopping={"patience": 2}, resume="auto")
    again.train()
    assert again.epoch == 5


def test_the_state_is_plain_and_survives(make):
    runner = make([0.3, torch.tensor(0.5), 0.5], stopping={"patience": 2})
    runner.train()
    state = hook_of(runner).state_dict()
    other = EarlyStoppingHook("acc", patience=2)
    other.load_state_dict(json.loads(json.dumps(state)))
    assert other.state_dict() == state
    assert (other.best_score, other.wait_count, other.stopped) == (0.5, 2, True)
