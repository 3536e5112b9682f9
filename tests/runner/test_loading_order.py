"""Initial weights come before loaded ones, whoever asks first; and a run lets go of what it held."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mainspring import BaseModel, Hook, MessageHub, MMLogger
from mainspring.registry import DefaultScope


class Constant(BaseModel):
    """Begins at 7 and hardly learns, so that its weight tells where it comes from."""

    def __init__(self) -> None:
        super().__init__(init_cfg={"type": "Constant", "layer": "Linear", "val": 7.0})
        self.linear = nn.Linear(6, 3)

    def forward(self, inputs, labels=None, mode="tensor"):
        scores = self.linear(inputs)
        return {"loss": F.cross_entropy(scores, labels)} if mode == "loss" else (scores, labels)


@pytest.fixture
def make(make_runner, tmp_path):
    def make_one(**changes):
        return make_runner(
            model=Constant(),
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 1e-6}},
            default_hooks={"summary": None},
            **changes,
        )

    return make_one


@pytest.fixture
def trained(make, tmp_path) -> Path:
    """Return a checkpoint of two epochs whose weights are 3."""
    runner = make(work_dir=tmp_path / "trained")
    runner.train()
    file = tmp_path / "trained" / "epoch_2.pth"
    checkpoint = torch.load(file)
    checkpoint["state_dict"]["linear.weight"].fill_(3.0)
    torch.save(checkpoint, file)
    return file


def weight(runner) -> float:
    return round(runner.model.linear.weight.mean().item(), 3)


def test_resume_called_by_hand(make, trained):
    runner = make(train_cfg={"max_epochs": 3})
    runner.resume(trained)
    assert (weight(runner), runner.epoch) == (3.0, 2)
    runner.train()
    assert (weight(runner), runner.epoch) == (3.0, 3)


def test_load_checkpoint_called_by_hand(make, trained):
    runner = make()
    runner.load_checkpoint(trained)
    runner.train()
    assert weight(runner) == 3.0


def test_validation_before_training(make, trained):
    runner = make(load_from=trained)
    runner.val()
    runner.train()
    assert weight(runner) == 3.0


def test_the_optimizer_asked_for_before_training(make, trained):
    runner = make(load_from=trained)
    assert runner.optim_wrapper.param_groups
    runner.train()
    assert weight(runner) == 3.0


class Fails(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        raise ValueError("the real error")


class FailsToClose(Hook):
    def close(self):
        raise OSError("no room")


class Closes(Hook):
    closed = False

    def close(self):
        self.closed = True


def test_a_failing_close_hides_nothing(make, capsys):
    last = Closes()
    runner = make(custom_hooks=[Fails(), FailsToClose(), last])
    with pytest.raises(ValueError, match="the real error"):
        runner.train()
    assert last.closed
    assert "FailsToClose.close() failed: OSError: no room" in capsys.readouterr().out


def open_files(directory: Path) -> list[str]:
    links = (os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd"))
    return [link for link in links if link.startswith(str(directory))]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("hooks", [[], [Fails()]])
def test_no_file_stays_open(make, tmp_path, hooks):
    runner = make(custom_hooks=hooks, log_level="INFO")
    try:
        runner.train()
    except ValueError:
        assert hooks
    assert open_files(tmp_path) == []
    runner.logger.info("one more line")
    assert "one more line" in Path(runner.logger.log_file).read_text()
    runner.logger.close_file()


def test_what_is_current_is_that_of_the_run_that_goes_on(make, tmp_path):
    class Asks(Hook):
        def after_train(self, runner):
            self.current = (MessageHub.get_current_instance(), MMLogger.get_current_instance())
            self.scope = DefaultScope.get_current_instance().scope_name

    asks = Asks()
    first = make(work_dir=tmp_path / "first", custom_hooks=[asks], default_scope="mmengine")
    make(work_dir=tmp_path / "second", default_scope="mainspring")
    first.train()
    assert asks.current == (first.message_hub, first.logger)
    assert asks.scope == "mmengine"
