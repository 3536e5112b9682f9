"""A check tries everything, tells what fails, and changes nothing."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mainspring import BaseMetric, MessageHub
from mainspring.checkpoint import CheckpointError, weights_digest
from mainspring.hooks import Hook
from mainspring.runner.check_report import CheckReport, PassFigures
from mainspring.runner.check_timing import expected_duration
from mainspring.utils import generator_states


def outcomes(report: CheckReport) -> dict[str, str]:
    return {stage.name: stage.outcome for stage in report.stages}


def test_everything_is_tried_and_measured(make_runner, make_loader):
    runner = make_runner(test_dataloader=make_loader(8), test_cfg={}, test_evaluator={"type": "Accuracy"})
    report = runner.check()
    assert report.ok, report
    assert outcomes(report) == {
        "configuration": "ok",
        "training": "ok",
        "validation": "ok",
        "optimizer": "ok",
        "testing": "ok",
        "weights": "skipped",
        "train": "ok",
        "val": "ok",
        "test": "ok",
        "monitors": "skipped",
        "checkpoint": "ok",
    }
    inputs, labels = report.passes["train"].batch
    assert inputs == ("[0]", "float32 tensor of shape (4, 6)")
    assert labels == ("[1]", "int64 tensor of shape (4,)")
    assert (report.passes["train"].tried, report.passes["val"].tried) == (5, 2)
    assert report.parameters == report.trainable_parameters == 6 * 8 + 8 + 16 + 8 * 3 + 3
    assert report.iterations == 10
    assert report.duration > 0
    assert report.checkpoint_size > 1000
    assert "Ready to run" in str(report)


class Chance(Dataset):
    """Draws from all generators, and counts."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.rand(6) + random.random() + float(np.random.rand()), index % 3


class Averages(BaseMetric):
    """Keeps a tensor of its own beside the results."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = torch.zeros(1)

    def process(self, data_batch, data_samples):
        self.seen += 1
        self.results.extend(data_batch[1].tolist())

    def compute_metrics(self, results):
        return {"mean": sum(results) / len(results), "seen": float(self.seen)}


@pytest.mark.parametrize("running_streams", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_after_a_check_ends_with_the_bits_of_one_without(net, make_runner, tmp_path, running_streams, workers):
    def run(name: str, check: bool) -> tuple[str, dict[str, float], int]:
        torch.manual_seed(1)
        loading = {"num_workers": workers, "persistent_workers": workers > 0}
        runner = make_runner(
            model=net(dropout=0.3),
            work_dir=tmp_path / name,
            train_dataloader=DataLoader(Chance(), batch_size=4, shuffle=True, **loading),
            optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.01}, "accumulative_counts": 2},
            param_scheduler={"type": "StepLR", "step_size": 1},
            val_evaluator=[Averages()],
            test_dataloader=DataLoader(Chance(), batch_size=5),
            test_cfg={},
            test_evaluator={"type": "Accuracy"},
            randomness={"seed": 3, "running_streams": running_streams},
            custom_hooks=[{"type": "EMAHook"}],
            default_hooks={"checkpoint": None, "summary": None},
        )
        if check:
            report = runner.check()
            assert report.ok, report
        runner.train()
        return weights_digest(runner.model.state_dict()), runner.val(), runner.iter

    assert run("with", True) == run("without", False)


def test_nothing_is_changed_and_nothing_made(net, make_runner, tmp_path):
    runner = make_runner(model=net(dropout=0.5))
    _ = runner.train_loop, runner.val_loop, runner.optim_wrapper, runner.param_schedulers
    files = sorted(tmp_path.rglob("*"))
    runner.message_hub.update_scalar("train/loss", 3.0)
    model, states = copy.deepcopy(runner.model.state_dict()), generator_states(runner.device)
    optimizer = copy.deepcopy(runner.optim_wrapper.state_dict())
    assert runner.check().ok
    assert sorted(tmp_path.rglob("*")) == files
    assert all(torch.equal(value, runner.model.state_dict()[name]) for name, value in model.items())
    assert runner.optim_wrapper.state_dict() == optimizer
    assert runner.message_hub.get_scalar("train/loss").mean() == 3.0
    assert list(runner.message_hub.log_scalars) == ["train/loss"]
    assert MessageHub.get_current_instance() is runner.message_hub
    assert runner.model.training
    assert all(parameter.grad is None for parameter in runner.model.parameters())
    after = generator_states(runner.device)
    assert torch.equal(after["torch"], states["torch"])
    assert after["python"] == states["python"]
    assert torch.equal(after["numpy"][1], states["numpy"][1])


def test_a_run_that_only_validates_is_checked(make_runner):
    runner = make_runner(train_dataloader=None, train_cfg=None, optim_wrapper=None)
    report = runner.check()
    assert report.ok, report
    assert outcomes(report) == {
        "configuration": "ok",
        "validation": "ok",
        "weights": "skipped",
        "val": "ok",
        "monitors": "skipped",
        "checkpoint": "ok",
    }
    assert report.duration is None


def test_several_sets_of_data_are_checked_by_name(make_runner, make_loader):
    runner = make_runner(val_dataloader={"clean": make_loader(8), "noisy": make_loader(12, batch_size=3)})
    first = runner.val_dataloader
    report = runner.check(steps=1)
    assert report.ok, report
    assert set(report.passes) == {"train", "val.clean", "val.noisy"}
    assert report.passes["val.noisy"].batch[0] == ("[0]", "float32 tensor of shape (3, 6)")
    assert runner.val_dataloader is first
    assert set(runner.val()) == {"clean/accuracy/top1", "noisy/accuracy/top1"}


class Torn(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        raise ZeroDivisionError("no boxes")


def test_each_failure_has_its_stage_and_leaves_nothing_behind(make_runner, net):
    class Exploding(net):
        def forward(self, inputs, labels=None, mode="tensor"):
            found = super().forward(inputs, labels, mode)
            return {"loss_box": found["loss"] * float("inf")} if mode == "loss" else found

    runner = make_runner(model=Exploding(), val_evaluator=[Torn()])
    weights = copy.deepcopy(runner.model.state_dict())
    report = runner.check()
    assert [stage.name for stage in report.failed] == ["train", "val"]
    train, val = report.failed
    assert "loss_box is inf in training step 1" in train.text
    assert "ZeroDivisionError: no boxes" in val.text
    assert "which got 2 batches only" in val.text
    assert isinstance(val.error, ZeroDivisionError)
    assert outcomes(report)["checkpoint"] == "ok"
    assert "Not ready to run: train, val failed." in str(report)
    assert all(torch.equal(value, runner.model.state_dict()[name]) for name, value in weights.items())
    assert runner.val_evaluator.metrics[0].results == []


def test_what_cannot_be_built_keeps_only_what_needs_it_from_being_tried(make_runner, make_loader):
    class Empty(Dataset):
        def __len__(self) -> int:
            return 0

        def __getitem__(self, index: int) -> int:
            raise IndexError

    runner = make_runner(
        test_dataloader=DataLoader(Empty()),
        test_cfg={},
        test_evaluator={"type": "Accuracy"},
        val_dataloader=make_loader(8),
    )
    report = runner.check()
    assert [stage.name for stage in report.failed] == ["testing"]
    assert "test" not in outcomes(report) or outcomes(report)["test"] == "skipped"
    assert outcomes(report)["val"] == "ok"


class Saves(Hook):
    """Keeps what no checkpoint can hold."""

    def state_dict(self):
        return {"file": open}


def test_a_checkpoint_that_cannot_be_written_is_found_before_the_first_epoch_is_over(make_runner):
    report = make_runner(custom_hooks=[Saves()]).check()
    assert [stage.name for stage in report.failed] == ["checkpoint"]
    assert "hooks" in report.failed[0].text


@pytest.mark.parametrize(
    ("changes", "watcher"),
    [
        ({"default_hooks": {"checkpoint": {"type": "CheckpointHook", "save_best": "acc"}}}, "save_best"),
        ({"custom_hooks": [{"type": "EarlyStoppingHook", "monitor": "acc", "rule": "greater"}]}, "EarlyStoppingHook"),
        ({"param_scheduler": {"type": "ReduceOnPlateauLR", "monitor": "acc", "rule": "greater"}}, "ReduceOnPlateauLR"),
    ],
)
def test_a_metric_that_nobody_returns_is_found(make_runner, changes, watcher):
    report = make_runner(**changes).check()
    assert [stage.name for stage in report.failed] == ["monitors"]
    assert f"{watcher} watches 'acc', which the validation did not return" in report.failed[0].text
    assert "accuracy/top1" in report.failed[0].text


class Adds(Hook):
    def after_val_epoch(self, runner, metrics=None):
        metrics["mine"] = 1.0


def test_a_metric_that_a_hook_adds_is_not_missed(make_runner):
    watching = {"default_hooks": {"checkpoint": {"type": "CheckpointHook", "save_best": "mine", "rule": "greater"}}}
    report = make_runner(custom_hooks=[Adds()], **watching).check()
    assert report.ok, report
    assert outcomes(report)["monitors"] == "skipped"
    both = {"type": "CheckpointHook", "save_best": "raw/accuracy/top1"}
    hooks = [{"type": "EMAHook", "evaluate": "both"}]
    assert make_runner(custom_hooks=hooks, default_hooks={"checkpoint": both}).check().ok


def test_a_step_that_fails_does_not_make_the_validation_fail(make_runner, net):
    class Spoils(net):
        def train_step(self, data, optim_wrapper):
            with torch.no_grad():
                self.layers[0].weight.fill_(float("nan"))
            raise RuntimeError("a step that breaks off")

    class NoNaN(BaseMetric):
        def process(self, data_batch, data_samples):
            assert torch.isfinite(data_samples[0]).all()
            self.results.append(1)

        def compute_metrics(self, results):
            return {"ok": 1.0}

    report = make_runner(model=Spoils(), val_evaluator=[NoNaN()]).check()
    assert [stage.name for stage in report.failed] == ["train"], report


def test_accumulation_is_followed_to_an_update(make_runner):
    report = make_runner(optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 4}).check(
        steps=1
    )
    assert report.passes["train"].tried == 4


def test_the_checkpoint_to_go_on_from_must_fit(make_runner, make_loader, net):
    make_runner().train()
    report = make_runner(resume=True, train_dataloader=make_loader(batch_size=5, shuffle=True)).check()
    (failed,) = report.failed
    assert failed.name == "weights"
    assert isinstance(failed.error, CheckpointError)
    runner = make_runner(resume=True, train_cfg={"max_epochs": 3})
    weights = copy.deepcopy(runner.model.state_dict())
    report = runner.check()
    assert report.ok, report
    assert "epoch_2.pth', iteration 10" in next(stage.text for stage in report.stages if stage.name == "weights")
    assert all(torch.equal(value, runner.model.state_dict()[name]) for name, value in weights.items())
    runner.train()
    assert runner.iter == 15


def test_an_impossible_number_of_steps_is_an_error(make_runner):
    with pytest.raises(ValueError, match="steps must be a whole number of at least 1"):
        make_runner().check(steps=0)


def test_a_pass_takes_its_start_once_and_each_batch_its_time():
    figures = PassFigures((), 10, 5, first_batch=2.0, data_time=0.1, first_step=9.0, step_time=0.5)
    assert figures.duration(1) == pytest.approx(2.5)
    assert figures.duration(11) == pytest.approx(2 + 10 * 0.1 + 11 * 0.5)


@pytest.mark.parametrize(
    "train_cfg", [{"max_epochs": 5, "val_interval": 2}, {"max_iters": 30, "val_interval": 7, "val_begin": 8}]
)
def test_the_expected_duration_counts_the_validations_of_the_run(make_runner, train_cfg):
    class Counts(Hook):
        validations = 0

        def before_val(self, runner):
            self.validations += 1

    counts = Counts()
    runner = make_runner(
        train_cfg=train_cfg, custom_hooks=[counts], default_hooks={"checkpoint": None, "summary": None}
    )
    nothing = PassFigures((), 5, 5, 0.0, 0.0, 0.0, 0.0)
    second = PassFigures((), 1, 1, 1.0, 0.0, 0.0, 0.0)
    _, seconds = expected_duration(runner.train_loop, {"train": nothing, "val": second})
    runner.train()
    assert seconds == counts.validations


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_device_is_measured(make_runner):
    report = make_runner().check()
    assert report.ok, report
    assert report.device_memory > 0
    assert "memory of" in str(report)
