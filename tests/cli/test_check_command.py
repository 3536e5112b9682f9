"""check tries a configuration without leaving anything, and tells by its exit code what came of it."""

from __future__ import annotations

import pytest
import torch

from mainspring import Config
from mainspring.analysis import check_config


def test_a_good_configuration_is_ready(call, project):
    before = sorted(project.rglob("*"))
    code, out, err = call("check", "mine.py", "--steps", "2")
    assert (code, err) == (0, "")
    assert "On cpu. Ready to run." in out
    for told in ("float32 tensor of shape (4, 6)", "accuracy/top1", "123, of them 123 trained", "for 10 iterations"):
        assert told in out
    left = [path for path in sorted(project.rglob("*")) if path not in before and "__pycache__" not in str(path)]
    assert left == []


def test_a_run_after_a_check_is_the_run(call, project):
    assert call("check", "mine.py")[0] == 0
    assert call("train", "mine.py", "--work-dir", "one")[0] == 0
    assert call("train", "mine.py", "--work-dir", "two")[0] == 0
    digests = [torch.load(f"{name}/epoch_2.pth", weights_only=False)["state_dict"] for name in ("one", "two")]
    assert all(torch.equal(value, digests[1][name]) for name, value in digests[0].items())


@pytest.mark.parametrize(
    ("change", "stage", "told"),
    [
        ("+train_dataloader.dataset.broken=True", "train", "vector 3 is torn"),
        ("+val_dataloader.dataset.broken=True", "val", "vector 3 is torn"),
        ("+test_dataloader.dataset.broken=True", "test", "vector 3 is torn"),
        ("optim_wrapper.optimizer.lr=1e30", "train", "is nan in training step"),
        ("+default_hooks.checkpoint={'type': 'CheckpointHook', 'save_best': 'accuracy'}", "monitors", "accuracy/top1"),
    ],
)
def test_what_fails_is_told_with_its_stage_and_the_others_are_tried(project, call, change, stage, told):
    code, out, _ = call("check", "mine.py", "--set", change)
    assert code == 1
    assert f"✗  {stage} " in out
    assert told in " ".join(out.split())
    assert f"Not ready to run: {stage} failed" in " ".join(out.split())
    for other in {"configuration", "train", "val", "test", "checkpoint"} - {stage}:
        assert f"✓  {other} " in out


@pytest.mark.parametrize(
    ("change", "group", "told"),
    [
        ("optim_wrapper.optimizer.type=SGDD", "train", "Did you mean 'SGD'"),
        ("val_dataloader.dataset.type=Vector", "val", "Did you mean 'Vectors'"),
        ("test_evaluator.type=Acuracy", "test", "Did you mean 'Accuracy'"),
    ],
)
def test_what_a_runner_would_refuse_is_left_out_and_the_rest_tried(call, change, group, told):
    code, out, _ = call("check", "mine.py", "--set", change)
    assert code == 1
    text = " ".join(out.split())
    assert told in text
    assert "Note: tried without the " in text
    assert "Not ready to run: configuration failed" in text
    for other in ("train", "val", "test"):
        assert (f"✓  {other} " in out) == (other != group)


def test_what_only_looks_wrong_is_an_error_unless_told_otherwise(call):
    change = ("--set", "+visualiser={'type': 'Visualizer'}")
    code, out, _ = call("check", "mine.py", *change)
    assert code == 1
    assert "✗  configuration  visualiser" in out
    code, out, _ = call("check", "mine.py", *change, "--no-strict")
    assert code == 0
    assert "Did you mean 'visualizer'?" in " ".join(out.split())


def test_a_model_that_cannot_be_built_is_told(call):
    code, out, _ = call("check", "mine.py", "--set", "+model.dropuot=3")
    assert code == 1
    assert "dropuot" in out
    assert "Did you mean 'dropout'" in " ".join(out.split())


def test_a_configuration_for_another_machine_is_checked_on_this_one(call):
    code, out, _ = call("check", "mine.py", "--device", "cuda:7", "--launcher", "pytorch")
    assert code == 0, out
    text = " ".join(out.split())
    assert "no 'cuda:7', which env_cfg.device names" in text
    assert "checked in one process; launcher='pytorch' would start several" in text
    code, out, _ = call("check", "mine.py", "--device", "cud")
    assert code == 1
    assert "env_cfg.device is 'cud'" in " ".join(out.split())


def test_the_checkpoint_to_go_on_from_is_tried_too(call, project):
    assert call("train", "mine.py")[0] == 0
    code, out, _ = call("check", "mine.py")
    assert code == 0
    assert "the run goes on from 'work_dirs/mine/epoch_2.pth', iteration 10" in " ".join(out.split())
    code, out, _ = call("check", "mine.py", "--set", "train_dataloader.batch_size=5")
    assert code == 1
    assert "✗  weights" in out
    assert "batch size" in out
    code, out, _ = call("check", "mine.py", "--set", "model.width=3")
    assert code == 1
    assert "✗  weights" in out


def test_a_program_is_checked_where_it_is(call):
    code, out, _ = call("check", "program.py", "--work-dir", "of_program")
    assert code == 0
    assert "Ready to run" in out


def test_the_report_holds_what_went_wrong(project, monkeypatch):
    monkeypatch.syspath_prepend(str(project))
    cfg = Config.fromfile("mine.py")
    cfg.work_dir = "nowhere"
    cfg.merge_from_dict({"train_dataloader.dataset.broken": True})
    report = check_config(cfg)
    (failed,) = report.failed
    assert failed.name == "train"
    assert isinstance(failed.error, RuntimeError)
    assert failed.error.__traceback__ is not None
    assert not (project / "nowhere").exists()
