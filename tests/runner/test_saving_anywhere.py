"""A checkpoint that a hook saves, at whatever stage, is one from which the run ends with the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mainspring.hooks import Hook

QUIET = {"checkpoint": None, "summary": None}
ADAM = {"optimizer": {"type": "Adam", "lr": 0.01}, "accumulative_counts": 3, "clip_grad": {"max_norm": 1.0}}


class Saves(Hook):
    """Saves at each call of a stage."""

    def __init__(self, stage: str, priority: int = 50) -> None:
        self.priority = priority
        self.files: list[Path] = []

        def act(runner, **kwargs):
            self.save(runner)

        setattr(self, stage, act)

    def save(self, runner) -> None:
        file = Path(runner.work_dir) / f"{len(self.files)}.pth"
        runner.save_checkpoint(file.parent, file.name)
        self.files.append(file)


def frozen(value):
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    return [frozen(item) for item in value] if isinstance(value, list) else value


def end_of(runner):
    runner.train()
    wrapper = runner.optim_wrapper
    state = wrapper.state_dict()
    gathered = state.pop("accumulated")
    return (
        frozen(runner.model.state_dict()),
        frozen(state),
        frozen(gathered["gradients"]),
        wrapper.inner_count,
        [schedule.state_dict() for schedule in runner.param_schedulers],
    )


@pytest.fixture
def make(make_runner, net):
    def run(**changes):
        options = {"model": net(dropout=0.3), "optim_wrapper": ADAM, "default_hooks": QUIET}
        return make_runner(**{**options, **changes})

    return run


BY_ITER = {"by_epoch": False, "max_iters": 8, "val_interval": 3}


@pytest.mark.parametrize(
    ("stage", "priority", "train_cfg"),
    [
        ("before_train_iter", 0, {"max_epochs": 2}),
        ("before_train_iter", 50, {"max_epochs": 2}),
        ("before_train_iter", 100, BY_ITER),
        ("after_train_iter", 0, {"max_epochs": 2}),
        ("after_train_iter", 50, BY_ITER),
        ("after_train_iter", 100, {"max_epochs": 2}),
        ("before_train_epoch", 50, {"max_epochs": 2}),
        ("after_train_epoch", 50, {"max_epochs": 2}),
        ("before_val", 50, BY_ITER),
        ("after_val_epoch", 50, {"max_epochs": 2}),
    ],
)
def test_a_run_goes_on_exactly_from_wherever_it_was_saved(make, tmp_path, stage, priority, train_cfg):
    hook = Saves(stage, priority)
    whole = end_of(make(custom_hooks=[hook], train_cfg=train_cfg))
    assert len(hook.files) >= 2
    for file in hook.files:
        runner = make(load_from=file, resume=True, work_dir=tmp_path / file.stem, train_cfg=train_cfg)
        assert end_of(runner) == whole, f"{stage} {file.stem}"


@pytest.mark.parametrize("stage", ["before_train_iter", "after_train_iter"])
def test_iterations_without_a_loss_lose_no_gradients(make, net, tmp_path, stage):
    class SkipsSome(net):
        """Makes no update for every second batch."""

        calls = 0

        def train_step(self, data, optim_wrapper):
            if data[1].sum() % 2:
                return {}
            return super().train_step(data, optim_wrapper)

    hook = Saves(stage, 100)
    whole = end_of(make(model=SkipsSome(dropout=0.3), custom_hooks=[hook]))
    assert 0 < whole[3] < len(hook.files), "some have a loss, and some have none"
    for file in hook.files:
        runner = make(model=SkipsSome(dropout=0.3), load_from=file, resume=True, work_dir=tmp_path / file.stem)
        assert end_of(runner) == whole, f"{stage} {file.stem}"


def test_two_losses_in_an_iteration_lose_no_gradients(make, net, tmp_path):
    class Twice(net):
        def train_step(self, data, optim_wrapper):
            super().train_step(data, optim_wrapper)
            return super().train_step(data, optim_wrapper)

    hook = Saves("before_train_iter")
    whole = end_of(make(model=Twice(dropout=0.3), custom_hooks=[hook]))
    for file in hook.files:
        runner = make(model=Twice(dropout=0.3), load_from=file, resume=True, work_dir=tmp_path / file.stem)
        assert end_of(runner) == whole, file.stem


def test_a_run_that_has_resumed_and_not_begun_yet_keeps_the_gradients(make, tmp_path):
    hook = Saves("after_train_iter")
    whole = end_of(make(custom_hooks=[hook]))
    between = make(load_from=hook.files[3], resume=True, work_dir=tmp_path / "between")
    between.load_or_resume()
    between.save_checkpoint(tmp_path, "again.pth")
    assert end_of(make(load_from=tmp_path / "again.pth", resume=True, work_dir=tmp_path / "end")) == whole


@pytest.mark.parametrize(("where", "warns"), [("before", False), ("after", True)])
def test_a_save_within_a_train_step(make, net, tmp_path, capsys, where, warns):
    """Before the step does anything, it is like one at its beginning; behind its loss, a warning says what is lost."""
    saves = Saves("before_save_checkpoint")  # registered nowhere: the model calls it

    class SavesWithin(net):
        def train_step(self, data, optim_wrapper):
            if where == "before":
                saves.save(runner)
            losses = super().train_step(data, optim_wrapper)
            if where == "after":
                saves.save(runner)
            return losses

    runner = make(model=SavesWithin(dropout=0.3))
    whole = end_of(runner)
    assert len(saves.files) == 10
    assert capsys.readouterr().out.count("within a train_step, after the loss was computed") == warns
    if where == "before":
        for file in saves.files:
            assert end_of(make(load_from=file, resume=True, work_dir=tmp_path / file.stem)) == whole, file.stem


# What a save comes too early for.


SCHEDULES = {"param_scheduler": {"type": "ExponentialLR", "gamma": 0.9, "by_epoch": False}}


def test_a_save_ahead_of_hooks_that_change_the_run_is_told_once(make, capsys):
    hooks = [Saves("after_train_iter", 30), {"type": "EMAHook"}]
    make(custom_hooks=hooks, **SCHEDULES).train()
    lines = [line for line in capsys.readouterr().out.splitlines() if "A checkpoint is saved" in line]
    assert len(lines) == 1
    assert (
        "in after_train_iter before it was the turn of BadNumbersHook (40), EMAHook (50), ParamSchedulerHook (70)"
        in (lines[0])
    )
    assert "larger priority number" in lines[0]


@pytest.mark.parametrize("stage", ["after_train_iter", "after_train_epoch", "after_val_epoch"])
def test_behind_those_hooks_all_is_kept(make, tmp_path, capsys, stage):
    plateau = {"type": "ReduceOnPlateauLR", "monitor": "accuracy/top1", "rule": "greater", "patience": 0}
    by_epoch = {"type": "ExponentialLR", "gamma": 0.5}
    early_stopping = {"type": "EarlyStoppingHook", "monitor": "accuracy/top1", "patience": 5}
    options = {"param_scheduler": [SCHEDULES["param_scheduler"], by_epoch, plateau]}
    hook = Saves(stage, 95)
    first = make(custom_hooks=[hook, {"type": "EMAHook"}, early_stopping], **options)
    whole = end_of(first)
    assert "A checkpoint is saved" not in capsys.readouterr().out
    for file in hook.files:
        work_dir = tmp_path / file.stem
        hooks = [{"type": "EMAHook"}, early_stopping]
        runner = make(load_from=file, resume=True, work_dir=work_dir, custom_hooks=hooks, **options)
        assert end_of(runner) == whole, file.stem


def test_a_hook_with_a_state_behind_the_checkpoints_is_told(make, capsys):
    class Counts(Hook):
        priority = "LOWEST"

        def after_train_epoch(self, runner):
            pass

        def load_state_dict(self, state_dict):
            pass

    make(custom_hooks=[Counts()], default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1}}).train()
    assert capsys.readouterr().out.count("in after_train_epoch before it was the turn of Counts (100):") == 1


def test_hooks_that_only_look_on_are_not_waited_for(make, capsys):
    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "save_best": "auto"}}
    make(custom_hooks=[Saves("after_train_epoch"), Saves("after_val_epoch")], default_hooks=hooks).train()
    assert "A checkpoint is saved" not in capsys.readouterr().out
