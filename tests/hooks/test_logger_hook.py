import re
from pathlib import Path

import numpy as np
import pytest
import torch

from mainspring import BaseMetric
from mainspring.hooks import LoggerHook
from mainspring.visualization import read_scalars


@pytest.fixture
def train(make_runner, make_loader):
    """Train with a LoggerHook of the given arguments; return the runner, and the text of its log file."""

    def run(batches=7, train_cfg=None, val_batches=2, changes=None, **arguments):
        changes = dict(changes or {})
        if not val_batches:
            changes |= {"val_dataloader": None, "val_cfg": None, "val_evaluator": None}
        else:
            changes = {"val_dataloader": make_loader(2 * val_batches, 2), **changes}
        runner = make_runner(
            train_dataloader=make_loader(2 * batches, 2),
            train_cfg=train_cfg or {"max_epochs": 2},
            default_hooks={"logger": LoggerHook(**arguments), "checkpoint": None, "summary": None},
            log_level="INFO",
            **changes,
        )
        runner.train()
        return runner, Path(runner.logger.log_file).read_text()

    return run


def places(text, mode="train"):
    """Return where log lines say they are: ``(epoch, batch)``, or ``(iteration,)``."""
    found = re.findall(rf"\({mode}\)\s+((?:\[\s*\d+(?:/\d+)?\])+)  ", text)
    return [tuple(int(number) for number in re.findall(r"\[\s*(\d+)", place)) for place in found]


def records(runner, mode="train"):
    scalars = Path(runner.work_dir) / "vis_data" / "scalars.jsonl"
    return [record for record in read_scalars(scalars) if record["mode"] == mode]


@pytest.mark.parametrize(
    ("batches", "arguments", "expected"),
    [
        (6, {"interval": 2}, [(1, 2), (1, 4), (1, 6), (2, 2), (2, 4), (2, 6)]),
        (7, {"interval": 3}, [(1, 3), (1, 6), (2, 3), (2, 6), (2, 7)]),  # the end of a run is always logged
        (7, {"interval": 3, "ignore_last": False}, [(1, 3), (1, 6), (1, 7), (2, 3), (2, 6), (2, 7)]),
        (3, {"interval": 10}, [(1, 3), (2, 3)]),  # an epoch that is shorter than the interval, too
        (7, {"interval": 1}, [(epoch, batch) for epoch in (1, 2) for batch in range(1, 8)]),
    ],
)
def test_lines_of_an_epoch_run(train, batches, arguments, expected):
    runner, text = train(batches, **arguments)
    assert places(text) == expected
    found = [(record["epoch"], record["iter"] - (record["epoch"] - 1) * batches) for record in records(runner)]
    assert found == expected, "each line has its record"


def test_lines_of_an_iteration_run(train):
    runner, text = train(4, train_cfg={"by_epoch": False, "max_iters": 11, "val_interval": 5}, interval=3)
    assert [place[0] for place in places(text)] == [3, 6, 9, 11]
    assert [record["iter"] for record in records(runner)] == [3, 6, 9, 11]
    assert "epoch" not in records(runner)[0]


def test_what_a_record_holds(train):
    runner, _ = train(4, interval=2)
    first = records(runner)[0]
    assert first["step"] == first["iter"] == 2
    assert first["epoch"] == 1
    assert first["lr"] == 0.1
    assert {"loss", "time", "data_time"} <= first.keys()
    assert all(isinstance(first[name], float) for name in ("loss", "time", "data_time"))
    hub = runner.message_hub.get_scalar("train/loss")
    assert records(runner)[-1]["loss"] == pytest.approx(hub.mean(8))


def test_the_display_reads_the_newest_record(train):
    runner, _ = train(4, interval=2)
    latest = runner.message_hub.get_info("latest_log")
    assert latest["iter"] == 8
    assert latest["loss"] == records(runner)[-1]["loss"]
    assert "latest_log" not in runner.message_hub.state_dict()["runtime_info"]


def test_validations_have_lines_and_records(train):
    runner, text = train(2, val_batches=5, interval=2)
    assert places(text, "val") == [(0 + 1, 2), (1, 4), (1, 5), (2, 2), (2, 4), (2, 5)]
    assert [(record["epoch"], record["iter"], record["step"]) for record in records(runner, "val")] == [
        (1, 2, 1),
        (2, 4, 2),
    ]
    accuracy = runner.message_hub.get_scalar("val/accuracy/top1").current()
    assert records(runner, "val")[-1]["accuracy/top1"] == accuracy
    assert f"accuracy/top1: {accuracy:.4f}" in text.splitlines()[-1]


def test_results_may_be_placed_by_iteration(train):
    runner, _ = train(2, interval=2, log_metric_by_epoch=False)
    assert [record["step"] for record in records(runner, "val")] == [2, 4]


class Results(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {
            "python": 0.25,
            "whole": 3,
            "numpy": np.float32(0.5),
            "count": np.int64(4),
            "tensor": torch.tensor(0.75),
            "table": {"a": [1, 2]},
        }


def test_results_of_every_kind(train, make_loader):
    runner, text = train(2, changes={"val_evaluator": Results(), "test_dataloader": make_loader(4), "test_cfg": {},
                                     "test_evaluator": Results()})  # fmt: skip
    runner.test()
    for mode in ("val", "test"):
        record = records(runner, mode)[-1]
        numbers = {name: record[name] for name in ("python", "whole", "numpy", "count", "tensor")}
        assert numbers == {"python": 0.25, "whole": 3, "numpy": 0.5, "count": 4, "tensor": 0.75}
        assert "table" not in record
    for part in ("python: 0.2500", "whole: 3", "numpy: 0.5000", "count: 4", "tensor: 0.7500", "table: {'a': [1, 2]}"):
        assert part in text, part


def test_a_test_has_lines_and_a_record(train, make_loader):
    runner, _ = train(
        2,
        interval=2,
        changes={"test_dataloader": make_loader(10, 2), "test_cfg": {}, "test_evaluator": {"type": "Accuracy"}},
    )
    runner.test()
    text = Path(runner.logger.log_file).read_text()
    assert [place[-1] for place in places(text, "test")] == [2, 4, 5]
    (record,) = records(runner, "test")
    assert record["iter"] == 4
    assert "accuracy/top1" in record


def test_the_name_of_the_experiment_comes_again(train):
    runner, text = train(5, interval_exp_name=4)
    assert text.count(f"Exp name: {runner.experiment_name}") == 2


def test_the_configuration_is_kept(make_runner):
    runner = make_runner(cfg={"epochs": 3, "name": "mine"}, train_cfg={"max_epochs": 1})
    runner.train()
    assert (Path(runner.work_dir) / "vis_data" / "config.py").read_text() == "epochs = 3\nname = 'mine'\n"


def test_training_alone_needs_no_validation(train):
    runner, _ = train(2, val_batches=0)
    assert {record["mode"] for record in records(runner)} == {"train"}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"interval": 0}, ValueError),
        ({"interval": 2.0}, TypeError),
        ({"interval_exp_name": 0}, ValueError),
        ({"interval": True}, TypeError),
    ],
)
def test_impossible_arguments(arguments, error):
    with pytest.raises(error, match=rf"LoggerHook: {next(iter(arguments))} must be "):
        LoggerHook(**arguments)


def test_the_log_and_the_scalars_can_be_copied_at_the_end(train, tmp_path):
    runner, text = train(out_dir=tmp_path / "kept", interval=2)
    kept = tmp_path / "kept" / Path(runner.work_dir).name
    (log,) = kept.rglob("*.log")
    copied = log.read_text()
    assert text.startswith(copied)
    assert "(train)" in copied
    (scalars,) = kept.rglob("*.jsonl")
    assert read_scalars(scalars) == read_scalars(Path(runner.work_dir) / scalars.relative_to(kept))


def test_what_is_copied_can_be_chosen_but_stays(train, tmp_path):
    train(out_dir=tmp_path / "kept", out_suffix=".log", val_batches=0, train_cfg={"max_epochs": 1})
    assert [file.suffix for file in (tmp_path / "kept").rglob("*.*") if file.is_file()] == [".log"]
    with pytest.raises(ValueError, match="keep_local=False is not supported"):
        LoggerHook(out_dir=tmp_path, keep_local=False)
