"""train, val, test and resume: a configuration or a program is run, and changed from the command line."""

from __future__ import annotations

import json

import pytest
import torch

from mainspring import Config
from mainspring.checkpoint import read_checkpoint
from mainspring.cli.errors import UsageError
from mainspring.cli.options import RunOptions, change
from mainspring.visualization import read_scalars


def test_a_configuration_in_the_manner_of_mmengine_trains(call, project):
    code, out, err = call("train", "mine.py")
    assert (code, err) == (0, "")
    assert "Saving checkpoint at 2 epochs" in out
    weights = read_checkpoint(project / "work_dirs/mine/epoch_2.pth")["state_dict"]
    assert weights["layers.0.weight"].shape == (12, 6)
    assert "width=12" in (project / "work_dirs/mine/mine.py").read_text()


def test_the_same_command_goes_on_unless_told_otherwise(call, project):
    assert call("train", "mine.py")[0] == 0
    code, out, _ = call("train", "mine.py", "--set", "train_cfg.max_epochs=3")
    assert code == 0
    assert "Resumed from 'work_dirs/mine/epoch_2.pth'" in out
    assert "Resumed" not in call("train", "mine.py", "--no-resume", "--work-dir", "other")[1]
    assert call("train", "mine.py", "--no-resume")[1].count("Epoch(val)") == 2


def test_options_change_the_run(call, project):
    code, *_ = call(
        *("train", "mine.py", "--work-dir", "here", "--seed", "5", "--amp", "--device", "cpu"),
        *("--set", "model.width=5", "--set", "+optim_wrapper.dtype=bfloat16", "--set", "optim_wrapper.optimizer.lr=0"),
    )
    assert code == 0
    checkpoint = read_checkpoint(project / "here/epoch_2.pth")
    assert checkpoint["meta"]["seed"] == 5
    assert checkpoint["state_dict"]["layers.0.weight"].shape == (5, 6)
    kept = (project / "here/mine.py").read_text()
    assert "type='AmpOptimWrapper'" in kept
    assert "dtype='bfloat16'" in kept
    assert {record["lr"] for record in read_scalars(project / "here/vis_data/scalars.jsonl") if "lr" in record} <= {0}


def test_val_and_test_take_the_newest_weights_or_those_named(call, project):
    code, _, err = call("val", "mine.py")
    assert code == 2
    assert "There is no checkpoint in work_dirs/mine to validate with" in err
    assert not (project / "work_dirs").exists()
    assert call("train", "mine.py")[0] == 0
    code, out, _ = call("val", "mine.py")
    assert code == 0
    assert "Loaded the weights in 'work_dirs/mine/epoch_2.pth'" in out
    assert "accuracy/top1" in out
    code, out, _ = call("test", "mine.py", "work_dirs/mine/epoch_1.pth", "--work-dir", "tested")
    assert code == 0
    assert "Loaded the weights in 'work_dirs/mine/epoch_1.pth'" in out
    assert "Epoch(test)" in out


def test_resume_needs_something_to_go_on_from(call, project):
    code, _, err = call("resume", "mine.py")
    assert code == 2
    assert "no checkpoint in work_dirs/mine to go on from" in err
    assert not (project / "work_dirs").exists()
    assert call("train", "mine.py")[0] == 0
    code, out, _ = call("resume", "mine.py", "--set", "train_cfg.max_epochs=3")
    assert code == 0
    assert "Resumed from 'work_dirs/mine/epoch_2.pth'" in out
    code, out, _ = call("resume", "mine.py", "work_dirs/mine/epoch_1.pth", "--set", "train_cfg.max_epochs=3")
    assert code == 0
    assert "Resumed from 'work_dirs/mine/epoch_1.pth'" in out


def test_a_program_hands_over_its_runner(call, project):
    code, out, err = call(
        *("train", "program.py", "--work-dir", "mine", "--set", "max_epochs=1", "--set", "optimizer.lr=0.5")
    )
    assert (code, err) == (0, "")
    assert "Epoch(train)" in out or "Training Classifier" in out
    assert read_checkpoint(project / "mine/epoch_1.pth")["optimizer"]["param_groups"][0]["lr"] == 0.5
    assert "Resumed" in call("train", "program.py", "--work-dir", "mine", "--set", "max_epochs=2")[1]
    assert call("val", "program.py", "--work-dir", "mine")[0] == 0
    assert call("resume", "program.py", "mine/epoch_1.pth", "--work-dir", "mine")[0] == 0


def test_a_program_must_take_what_the_command_line_gives(call, project):
    code, _, err = call("train", "program.py", "--seed", "3")
    assert code == 2
    assert "has no argument 'seed', which the command line gives" in err
    code, _, err = call("train", "program.py", "--set", "max_epoch=1")
    assert code == 2
    assert "Did you mean 'max_epochs'?" in err
    (project / "fixed.py").write_text("from program import make_runner as make\nrunner = make('fixed', 1)\n")
    assert call("train", "fixed.py")[0] == 0
    code, _, err = call("train", "fixed.py", "--seed", "3")
    assert code == 2
    assert "Let it define make_runner(seed)" in err


def test_a_program_that_runs_by_itself_is_not_run_as_a_configuration(call, project):
    (project / "alone.py").write_text("if __name__ == '__main__':\n    open('was_run', 'w')\n")
    code, _, err = call("train", "alone.py")
    assert code == 2
    assert "let it define make_runner()" in err
    (project / "wrong.py").write_text("def make_runner():\n    return 3\n")
    code, _, err = call("train", "wrong.py")
    assert code == 1
    assert "make_runner() returned 3 (int), and no Runner" in err


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_a_configuration_that_is_data_trains_if_it_is_trusted(call, project, ending):
    code, out, _ = call("config", "show", "mine.py", "--format", ending)
    assert code == 0
    (project / f"data.{ending}").write_text(out)
    code, _, err = call("train", f"data.{ending}")
    assert code == 1
    assert "for YAML and JSON nothing is imported" in err
    assert call("train", f"data.{ending}", "--trust-config")[0] == 0
    weights = read_checkpoint(project / "work_dirs/data/epoch_2.pth")["state_dict"]
    assert torch.isfinite(weights["layers.0.weight"]).all()
    if ending == "json":
        assert json.loads(out)["model"]["width"] == 12


LAZY = """
from torch.optim import SGD
from torch.utils.data import default_collate

from mainspring import Accuracy, DefaultSampler, OptimWrapper
from parts_of_cli_tests import Classifier, Vectors

model = dict(type=Classifier, width=7)
train_dataloader = dict(
    dataset=dict(type=Vectors, count=20), batch_size=4, collate_fn=default_collate,
    sampler=dict(type=DefaultSampler, shuffle=True))
val_dataloader = dict(
    dataset=dict(type=Vectors, count=8), batch_size=4, collate_fn=default_collate,
    sampler=dict(type=DefaultSampler, shuffle=False))
train_cfg = dict(max_epochs=1)
val_cfg = dict()
val_evaluator = dict(type=Accuracy)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.1))
env_cfg = dict(device='cpu')
default_hooks = dict(summary=None)
"""


def test_a_lazy_configuration_is_checked_and_trained(call, project):
    (project / "lazy.py").write_text(LAZY)
    code, out, _ = call("check", "lazy.py", "--amp")
    assert code == 0, out
    assert "AmpOptimWrapper with SGD" in out
    code, _, err = call("train", "lazy.py", "--amp", "--set", "model.width=5")
    assert (code, err) == (0, "")
    assert read_checkpoint(project / "work_dirs/lazy/epoch_1.pth")["state_dict"]["layers.0.weight"].shape == (5, 6)


def test_mixed_precision_is_for_wrappers_that_have_it(call):
    code, _, err = call("train", "mine.py", "--amp", "--set", "optim_wrapper.type=MyWrapper")
    assert code == 2
    assert "optim_wrapper.type is 'MyWrapper'" in err


def test_mixed_precision_is_turned_on_for_each_of_several_optimizers():
    one = {"optimizer": {"type": "SGD", "lr": 0.1}}
    cfg = Config({"work_dir": "x", "optim_wrapper": {"head": one, "body": {**one, "type": "OptimWrapper"}}})
    change(cfg, RunOptions(amp=True))
    assert {name: wrapper["type"] for name, wrapper in cfg.optim_wrapper.items()} == {
        "head": "AmpOptimWrapper",
        "body": "AmpOptimWrapper",
    }
    with pytest.raises(UsageError, match="has none"):
        change(Config({"model": {}}), RunOptions(amp=True))
