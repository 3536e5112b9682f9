import hashlib
import math
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mainspring import BaseMetric
from mainspring.checkpoint import read_checkpoint
from mainspring.hooks import CheckpointHook, Hook, LoggerHook
from mainspring.hooks.checkpoint_files import check_space


class Scripted(BaseMetric):
    """Answers, at each validation, the next of what it was given."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = list(answers)

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        answer = self.answers.pop(0)
        return answer if isinstance(answer, dict) else {"accuracy": answer}


class StopsEarly(Hook):
    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.at:
            runner.train_loop.stop_training = True


@pytest.fixture
def train(make_runner, make_loader):
    """Train 4 epochs of 2 iterations with a CheckpointHook of the given arguments; return the runner."""

    def run(max_epochs=4, max_iters=None, answers=None, **arguments):
        changes = arguments.pop("runner", {})
        cfg = {"max_epochs": max_epochs} if max_iters is None else {"max_iters": max_iters, "val_interval": 2}
        if answers is None:
            changes = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None, **changes}
        else:
            changes = {"val_evaluator": Scripted(*answers), "val_dataloader": make_loader(2), **changes}
        runner = make_runner(
            train_dataloader=make_loader(4, 2),
            train_cfg=cfg,
            default_hooks={"checkpoint": CheckpointHook(**arguments), "summary": None},
            **changes,
        )
        runner.train()
        return runner

    return run


def checkpoints(runner):
    """Return the names of the checkpoints in the work directory."""
    return sorted(name for name in os.listdir(runner.work_dir) if name.endswith(".pth"))


def hook_of(runner):
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    return hook


def pointed(directory):
    with open(os.path.join(directory, "last_checkpoint")) as file:
        return os.path.basename(file.read())


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"interval": 1}, ["epoch_1", "epoch_2", "epoch_3", "epoch_4"]),
        ({"interval": 2}, ["epoch_2", "epoch_4"]),
        ({"interval": 3}, ["epoch_3", "epoch_4"]),
        ({"interval": 3, "save_last": False}, ["epoch_3"]),
        ({}, ["epoch_4"]),
        ({"save_last": False}, []),
        ({"interval": 2, "save_begin": 1, "save_last": False}, ["epoch_1", "epoch_3"]),
        ({"interval": 1, "save_begin": 3}, ["epoch_3", "epoch_4"]),
        ({"interval": 1, "max_keep_ckpts": 2}, ["epoch_3", "epoch_4"]),
        ({"interval": 3, "max_keep_ckpts": 1}, ["epoch_4"]),
        ({"interval": 4, "by_epoch": False}, ["iter_4", "iter_8"]),
        ({"interval": 3, "by_epoch": False}, ["iter_3", "iter_6", "iter_8"]),
        ({"interval": 3, "by_epoch": False, "save_last": False, "save_begin": 2}, ["iter_2", "iter_5", "iter_8"]),
        ({"interval": 2, "filename_tmpl": "model-{:03}.pth"}, ["model-002", "model-004"]),
    ],
)
def test_which_are_there_in_the_end(train, arguments, names):
    runner = train(**arguments)
    assert checkpoints(runner) == [f"{name}.pth" for name in names]
    assert os.path.exists(os.path.join(runner.work_dir, "last_checkpoint")) == bool(names)
    if names:
        assert pointed(runner.work_dir) == f"{names[-1]}.pth"
        assert hook_of(runner).kept == [f"{name}.pth" for name in names]


def test_iteration_runs(train):
    runner = train(max_iters=5, interval=2, by_epoch=False)
    assert checkpoints(runner) == ["iter_2.pth", "iter_4.pth", "iter_5.pth"]
    assert read_checkpoint(os.path.join(runner.work_dir, "iter_4.pth"))["meta"]["iter"] == 4


def test_a_checkpoint_says_where_the_run_stands(train):
    runner = train(interval=1)
    for epoch in (1, 4):
        checkpoint = read_checkpoint(os.path.join(runner.work_dir, f"epoch_{epoch}.pth"))
        assert (checkpoint["meta"]["epoch"], checkpoint["meta"]["iter"]) == (epoch, 2 * epoch)
        assert checkpoint["meta"]["seed"] == 3
    weights = checkpoint["state_dict"]
    assert all(torch.equal(weights[name], value) for name, value in runner.model.state_dict().items())


def test_no_old_one_is_deleted_before_the_new_one_is_there(train):
    seen = []

    class Looks(Hook):
        def before_save_checkpoint(self, runner, checkpoint):
            runner.checkpoint_writer.wait()
            seen.append(checkpoints(runner))

    train(interval=1, max_keep_ckpts=1, runner={"custom_hooks": [Looks()]})
    assert seen == [[], ["epoch_1.pth"], ["epoch_2.pth"], ["epoch_3.pth"]]


@pytest.mark.parametrize(("by_epoch", "name"), [(True, "epoch_2.pth"), (False, "iter_4.pth")])
@pytest.mark.parametrize("save_last", [True, False])
def test_the_last_is_saved_also_when_training_stops_early(train, by_epoch, name, save_last):
    runner = train(interval=10, by_epoch=by_epoch, save_last=save_last, runner={"custom_hooks": [StopsEarly(at=3)]})
    assert checkpoints(runner) == ([name] if save_last else [])


def test_the_last_holds_the_results_of_the_validation_behind_it(train):
    runner = train(answers=[0.1, 0.2, 0.3, 0.4], interval=2)
    history = read_checkpoint(os.path.join(runner.work_dir, "epoch_4.pth"))["message_hub"]["log_scalars"]
    assert "val/accuracy" in history
    assert hook_of(runner).kept == ["epoch_2.pth", "epoch_4.pth"]


@pytest.mark.parametrize(
    ("answers", "arguments", "best"),
    [
        ([0.1, 0.3, 0.2, 0.3], {}, "best_accuracy_epoch_2.pth"),
        ([0.1, 0.3, 0.2, 0.4], {}, "best_accuracy_epoch_4.pth"),
        ([0.3, 0.1, 0.2, 0.4], {"rule": "less"}, "best_accuracy_epoch_2.pth"),
        ([0.3, 0.1, 0.2, 0.4], {"less_keys": ["accuracy"], "greater_keys": []}, "best_accuracy_epoch_2.pth"),
        ([math.nan, 0.1, math.nan, 0.0], {}, "best_accuracy_epoch_2.pth"),
        ([0.1, 0.3, 0.2, 0.3], {"by_epoch": False}, "best_accuracy_iter_4.pth"),
        ([0.1, 0.3, 0.2, 0.3], {"save_best": "auto"}, "best_accuracy_epoch_2.pth"),
        ([0.1, 0.3, 0.2, 0.3], {"save_best": "auto", "rule": "less"}, "best_accuracy_epoch_1.pth"),
        ([0.5, 0.3], {"save_best": "auto", "rule": "less", "max_epochs": 2}, "best_accuracy_epoch_2.pth"),
        ([torch.tensor(0.1), 0.3], {"max_epochs": 2}, "best_accuracy_epoch_2.pth"),
    ],
)
def test_the_best_is_kept_and_only_it(train, answers, arguments, best):
    runner = train(answers=answers, save_last=False, **{"save_best": "accuracy", **arguments})
    assert checkpoints(runner) == [best]
    assert not os.path.exists(os.path.join(runner.work_dir, "last_checkpoint")), "the best is not where to go on from"


@pytest.mark.parametrize(
    ("metric", "values", "number"),
    [
        ("val_loss", [0.3, 0.1, 0.2], 2),
        ("word_error_rate", [0.3, 0.1, 0.2], 2),
        ("coco/bbox_mAP", [0.1, 0.3, 0.2], 2),
        ("f1-score", [0.1, 0.3, 0.2], 2),
        ("aAcc", [0.1, 0.3, 0.2], 2),
        ("AUC", [0.1, 0.3, 0.2], 2),
    ],
)
def test_what_is_better_is_known_from_the_name(train, metric, values, number):
    runner = train(
        max_epochs=3, answers=[{metric: value} for value in values], save_best=metric, interval=5, save_last=False
    )
    assert checkpoints(runner) == [f"best_{metric.replace('/', '_')}_epoch_{number}.pth"]


def test_a_name_that_says_both_is_no_guess():
    with pytest.raises(ValueError, match="'top1_error' is better cannot be told from its name; say rule='greater' or"):
        CheckpointHook(save_best="top1_error")
    assert CheckpointHook(save_best="top1_error", rule="less").rules == ["less"]
    assert CheckpointHook(save_best="top1_error", less_keys=["top1_error"]).rules == ["less"]


def test_several_metrics_have_rules_of_their_own(train):
    answers = [{"acc": 0.1, "cost": 5.0, "x": 1}, {"acc": 0.3, "cost": 2.0, "x": 2}, {"acc": 0.2, "cost": 1.0, "x": 3}]
    arguments = {"save_best": ["acc", "cost"], "save_last": False, "max_epochs": 3}
    runner = train(answers=answers, rule=["greater", "less"], **arguments)
    assert checkpoints(runner) == ["best_acc_epoch_2.pth", "best_cost_epoch_3.pth"]
    assert {name: entry["score"] for name, entry in hook_of(runner).best.items()} == {"acc": 0.3, "cost": 1.0}

    with pytest.raises(ValueError, match="whether a higher or a lower 'cost' is better cannot be told from its name"):
        CheckpointHook(save_best=["acc", "cost"])
    with pytest.raises(ValueError, match="3 rules are given for 2 metrics"):
        CheckpointHook(save_best=["acc", "cost"], rule=["less"] * 3)
    assert CheckpointHook(save_best=["acc", "cost"], rule="less").rules == ["less", "less"]


def test_auto_watches_the_first_metric(train):
    answers = [{"loss": 0.5, "acc": 0.1}, {"loss": 0.6, "acc": 0.9}]
    runner = train(max_epochs=2, answers=answers, save_best="auto", save_last=False)
    assert checkpoints(runner) == ["best_loss_epoch_1.pth"]


def test_a_metric_that_is_not_answered_is_named_with_the_nearest(train):
    with pytest.raises(ValueError, match=r"watches 'acuracy'.*Did you mean 'accuracy'.*It returned: accuracy"):
        train(answers=[0.1], save_best="acuracy", rule="greater")


def test_the_best_of_a_validation_by_itself_is_not_kept(train):
    runner = train(answers=[0.1, 0.2, 0.3], max_epochs=2, save_best="accuracy", save_last=False)
    runner.val()
    assert checkpoints(runner) == ["best_accuracy_epoch_2.pth"]


def test_another_directory(train, tmp_path):
    runner = train(
        answers=[0.1, 0.2], max_epochs=2, interval=1, max_keep_ckpts=1, save_best="auto", out_dir=tmp_path / "disk"
    )
    files = sorted(path.name for path in (tmp_path / "disk" / "run").glob("*.pth"))
    assert files == ["best_accuracy_epoch_2.pth", "epoch_2.pth"]
    assert checkpoints(runner) == []
    assert Path(hook_of(runner).directory(runner)) == tmp_path / "disk" / "run"


def test_a_run_with_another_directory_is_resumed_from_there(train, tmp_path):
    out_dir = str(tmp_path / "disk")
    train(max_epochs=1, interval=1, out_dir=out_dir)
    runner = train(max_epochs=2, interval=1, out_dir=out_dir, runner={"resume": "auto"})
    assert runner.epoch == 2
    assert hook_of(runner).kept == ["epoch_1.pth", "epoch_2.pth"]


def test_what_need_not_be_saved_is_left_out(train):
    for arguments in ({"save_optimizer": False}, {"save_param_scheduler": False}, {}):
        runner = train(max_epochs=1, runner={"param_scheduler": {"type": "StepLR", "step_size": 1}}, **arguments)
        checkpoint = read_checkpoint(os.path.join(runner.work_dir, "epoch_1.pth"))
        assert ("optimizer" in checkpoint) == arguments.get("save_optimizer", True)
        assert ("param_schedulers" in checkpoint) == arguments.get("save_param_scheduler", True)


def test_a_resumed_run_knows_what_it_keeps_and_what_was_best(train):
    arguments = {"interval": 1, "max_keep_ckpts": 2, "save_best": "auto"}
    train(max_epochs=2, answers=[0.9, 0.1], **arguments)
    runner = train(max_epochs=4, answers=[0.8, 0.2], runner={"resume": True}, **arguments)
    assert checkpoints(runner) == ["best_accuracy_epoch_1.pth", "epoch_3.pth", "epoch_4.pth"]
    assert hook_of(runner).best["accuracy"]["score"] == 0.9


def test_the_state_is_plain_and_survives(train):
    hook = hook_of(train(answers=[0.1, 0.2, 0.3, 0.4], interval=2, save_best="accuracy"))
    other = CheckpointHook(interval=2, save_best="accuracy")
    other.load_state_dict(hook.state_dict())
    assert other.state_dict() == hook.state_dict()
    assert (other.kept, other.best) == (hook.kept, hook.best)
    changed = CheckpointHook(interval=2, save_best="loss")
    changed.load_state_dict(hook.state_dict())
    assert changed.best == {}, "the score of another metric is no score to beat"


def test_what_was_saved_is_what_is_loaded(train, net):
    runner = train(max_epochs=1)
    fresh = net()
    nn.init.zeros_(fresh.layers[0].weight)
    fresh.load_state_dict(read_checkpoint(os.path.join(runner.work_dir, "epoch_1.pth"))["state_dict"])
    assert torch.equal(fresh.layers[0].weight, runner.model.layers[0].weight)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"interval": 0}, ValueError, "interval must be at least 1, or -1, but it is 0"),
        ({"interval": 1.5}, TypeError, "interval must be an integer"),
        ({"max_keep_ckpts": 0}, ValueError, "max_keep_ckpts must be at least 1, or -1"),
        ({"save_begin": -1}, ValueError, "save_begin"),
        ({"rule": "more", "save_best": "x"}, ValueError, "rule must be 'greater' or 'less', but it is 'more'"),
        ({"filename_tmpl": "model.pth"}, ValueError, "filename_tmpl must have a {} for the number"),
    ],
)
def test_impossible_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        CheckpointHook(**arguments)


# MMEngine's further arguments


def test_the_last_and_the_best_are_published_with_the_named_entries_only(train):
    runner = train(
        answers=[0.1, 0.9, 0.3],
        max_epochs=3,
        save_best="accuracy",
        max_keep_ckpts=1,
        published_keys=["meta", "state_dict"],
    )
    published = [name for name in checkpoints(runner) if re.search(r"-[0-9a-f]{8}\.pth$", name)]
    assert [name.rsplit("-", 1)[0] for name in published] == ["best_accuracy_epoch_2", "epoch_3"]
    for name in published:
        content = (Path(runner.work_dir) / name).read_bytes()
        assert hashlib.sha256(content).hexdigest()[:8] == name[-12:-4]
        assert list(read_checkpoint(Path(runner.work_dir) / name)) == ["meta", "state_dict"]
    assert set(checkpoints(runner)) == {*published, "epoch_3.pth", "best_accuracy_epoch_2.pth"}
    assert pointed(runner.work_dir) == "epoch_3.pth"


def test_an_entry_to_publish_that_is_not_there(train):
    with pytest.raises(ValueError, match=r"published_keys names 'state_dct'.* Did you mean 'state_dict'"):
        train(max_epochs=1, published_keys="state_dct")


@pytest.mark.parametrize("name", ["backend_args", "file_client_args"])
def test_where_files_may_go(make_runner, tmp_path, name):
    for hook in (CheckpointHook, LoggerHook):
        hook(**{name: None})
        hook(**{name: {"backend": "local"}})
    with pytest.raises(ValueError, match=f"LoggerHook: {name} is .*'petrel'.* local directories only"):
        LoggerHook(**{name: {"backend": "petrel"}})
    with pytest.raises(ValueError, match="LoggerHook: out_dir is 's3://bucket/runs'"):
        LoggerHook(out_dir="s3://bucket/runs")
    with pytest.raises(ValueError, match="There is no petrel backend here"):
        CheckpointHook(**{name: {"backend": "petrel"}})
    with pytest.raises(ValueError, match=r"backend_args is .*'memory'.*, but without out_dir"):
        CheckpointHook(**{name: {"backend": "memory"}})
    runner = make_runner()
    with pytest.raises(ValueError, match="There is no petrel backend here"):
        runner.save_checkpoint(tmp_path, "x.pth", **{name: {"backend": "petrel"}})
    runner.save_checkpoint(str(tmp_path), "x.pth", {"backend": "disk"}, False, False, {"note": 1}, True, None)
    checkpoint = read_checkpoint(tmp_path / "x.pth")
    assert checkpoint["meta"]["note"] == 1
    assert "optimizer" not in checkpoint


def test_arguments_stand_in_the_order_of_mmengine():
    hook = CheckpointHook(
        1, True, True, True, None, -1, True, None, None, None, None, None, "at_{}.pth", None, "meta", 3
    )
    assert (hook.filename_tmpl, hook.published_keys, hook.save_begin) == ("at_{}.pth", ["meta"], 3)
    assert LoggerHook(10, True, 1000, None, ".log", True, None, False, None).log_metric_by_epoch is False


@pytest.mark.parametrize(
    ("size", "free", "told"),
    [
        (700, 650, "takes 700 bytes, .* only 650 bytes left"),
        (3_500, 0, "takes 3.4 KB, .* only 0 bytes left"),
        (5 * 2**20, 999, "takes 5.0 MB, .* only 999 bytes left"),
        (1_200 * 2**20, 512 * 2**20, "takes 1.2 GB, .* only 512 MB left"),
        (70 * 2**40, 64 * 2**30, "takes 70 TB, .* only 64 GB left"),
    ],
)
def test_sizes_are_told_in_units_that_fit(tmp_path, monkeypatch, size, free, told):
    monkeypatch.setattr("shutil.disk_usage", lambda directory: SimpleNamespace(free=free))
    with pytest.raises(OSError, match=told):
        check_space(tmp_path, size, 1)
    assert check_space(tmp_path, free, 1) == ""
    assert re.search(r"3 checkpoints of .* will stand in .* has only", check_space(tmp_path, free, 3)) or free == 0
