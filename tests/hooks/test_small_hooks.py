"""The timer, the schedules' hook, the runtime information, the seeds."""

import random

import numpy as np
import pytest
import torch

from mainspring import BaseModel, MessageHub
from mainspring.hooks import Hook, IterTimerHook

NO_VALIDATION = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None}


# IterTimerHook


def test_each_iteration_has_its_time_and_its_waiting(make_runner):
    runner = make_runner()
    runner.train()
    for mode, count in (("train", 10), ("val", 4)):
        times, waits = (runner.message_hub.get_scalar(f"{mode}/{name}") for name in ("time", "data_time"))
        assert times.total_updates == waits.total_updates == count
        assert 0 < waits.mean(count) < times.mean(count) < 5


class Clock:
    """A clock that goes on only when it is told to."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


def test_times_and_what_is_left_are_right(make_runner, make_loader, monkeypatch):
    """Of 3 epochs of 4 iterations, each waits 1 second for its data and takes 2 in its step."""
    clock = Clock()
    monkeypatch.setattr("mainspring.hooks.iter_timer_hook.time", clock)
    etas = []

    class Passes(Hook):
        priority = "HIGHEST"

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            clock.now += 1

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            clock.now += 2

    class Looks(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            etas.append(runner.message_hub.get_info("eta"))

        def after_train_epoch(self, runner):
            clock.now += 1000  # what lies between epochs is nobody's iteration

    runner = make_runner(
        train_dataloader=make_loader(8, 2),
        train_cfg={"max_epochs": 3},
        custom_hooks=[Passes(), Looks()],
        **NO_VALIDATION,
    )
    runner.train()
    hub = runner.message_hub
    assert hub.get_scalar("train/time").data[0].tolist() == [3.0] * 12
    assert hub.get_scalar("train/data_time").data[0].tolist() == [1.0] * 12
    assert etas == [3.0 * left for left in range(11, -1, -1)]


def test_a_validation_has_a_time_left_of_its_own(make_runner, make_loader, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("mainspring.hooks.iter_timer_hook.time", clock)
    etas = []

    class Passes(Hook):
        def before_val_iter(self, runner, batch_idx, data_batch=None):
            clock.now += 2

    class Looks(Hook):
        priority = "LOWEST"

        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            etas.append(runner.message_hub.get_info("eta"))

    make_runner(val_dataloader=make_loader(8, 2), custom_hooks=[Passes(), Looks()]).val()
    assert etas == [6.0, 4.0, 2.0, 0.0]


def test_a_resumed_run_expects_what_its_own_iterations_take(make_runner, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("mainspring.hooks.iter_timer_hook.time", clock)
    etas = []

    class Passes(Hook):
        priority = "LOWEST"

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            clock.now += 2

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            etas.append(runner.message_hub.get_info("eta"))

    make_runner(train_cfg={"max_epochs": 1}, custom_hooks=[Passes()]).train()
    etas.clear()
    make_runner(train_cfg={"max_epochs": 2}, custom_hooks=[Passes()], resume=True).train()
    assert etas == [8.0, 6.0, 4.0, 2.0, 0.0]


# ParamSchedulerHook


def test_schedules_advance_when_what_they_count_is_over(make_runner, make_loader):
    rates = []

    class Looks(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            rates.append(runner.optim_wrapper.get_lr()["lr"][0])

    make_runner(
        train_dataloader=make_loader(6, 2),
        param_scheduler=[
            {"type": "StepLR", "step_size": 1, "gamma": 0.5},
            {"type": "StepLR", "step_size": 2, "gamma": 0.1, "by_epoch": False},
        ],
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 1.0}},
        custom_hooks=[Looks()],
        **NO_VALIDATION,
    ).train()
    assert rates == pytest.approx([1.0, 1.0, 0.1, 0.05, 0.005, 0.005])


def test_a_schedule_of_the_users_own_is_stepped(make_runner):
    class Counts:
        def __init__(self, by_epoch):
            self.by_epoch, self.steps = by_epoch, 0

        def step(self):
            self.steps += 1

        def state_dict(self):
            return {"steps": self.steps}

        def load_state_dict(self, state_dict):
            self.steps = state_dict["steps"]

    epochs, iterations = Counts(True), Counts(False)
    make_runner(param_scheduler=[epochs, iterations]).train()
    assert (epochs.steps, iterations.steps) == (2, 10)


# RuntimeInfoHook


def test_what_a_run_tells(make_runner):
    seen = {}

    class Looks(Hook):
        priority = "NORMAL"

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            hub = runner.message_hub
            seen.setdefault("train", []).append((hub.get_info("epoch"), hub.get_info("iter")))
            seen["stage in training"] = hub.get_info("loop_stage")

        def after_val_epoch(self, runner, metrics=None):
            seen["stage in validation"] = runner.message_hub.get_info("loop_stage")

        def after_train_epoch(self, runner):
            seen["stage after validation"] = runner.message_hub.get_info("loop_stage")

    runner = make_runner(custom_hooks=[Looks()])
    runner.train()
    hub = runner.message_hub
    assert seen["train"] == [(iteration // 5, iteration) for iteration in range(10)]
    assert seen["stage in training"] == seen["stage after validation"] == "train"
    assert seen["stage in validation"] == "val"
    assert hub.get_info("loop_stage") is None
    infos = {name: hub.get_info(name) for name in ("max_epochs", "max_iters", "seed", "experiment_name")}
    assert infos == {"max_epochs": 2, "max_iters": 10, "seed": 3, "experiment_name": runner.experiment_name}
    assert hub.get_scalar("train/lr").total_updates == hub.get_scalar("train/loss").total_updates == 10
    assert hub.get_scalar("val/accuracy/top1").total_updates == 2
    assert MessageHub.get_current_instance() is hub


def test_validations_and_tests_by_themselves_have_stages(make_runner, make_loader):
    stages = []

    class Looks(Hook):
        def _before_iter(self, runner, batch_idx, data_batch=None, mode="train"):
            stages.append(runner.message_hub.get_info("loop_stage"))

    runner = make_runner(
        val_dataloader=make_loader(4),
        test_dataloader=make_loader(4),
        test_cfg={},
        test_evaluator={"type": "Accuracy"},
        custom_hooks=[Looks()],
    )
    runner.val()
    runner.test()
    assert stages == ["val", "test"]
    assert runner.message_hub.get_info("loop_stage") is None
    assert runner.message_hub.get_scalar("test/accuracy/top1").total_updates == 1


def test_what_the_data_say_of_themselves_is_told(make_runner, make_loader):
    loader = make_loader(shuffle=True)
    loader.dataset.metainfo = {"classes": ("cat", "dog")}
    runner = make_runner(train_dataloader=loader, train_cfg={"max_epochs": 1})
    runner.train()
    assert runner.message_hub.get_info("dataset_meta") == {"classes": ("cat", "dog")}


# PositionSeedHook


class Draws(BaseModel):
    """Returns, as its losses, what the generators of Python, NumPy and torch draw in a step."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, inputs, labels, mode):
        drawn = (random.random(), np.random.random(), torch.rand(()).item())
        if mode == "loss":
            self.train_draws.append(drawn)
            return {"loss": self.weight * 0}
        self.val_draws.append(drawn)
        return torch.zeros(len(inputs), 3), labels


def draws_of(make_runner, **changes):
    model = Draws()
    model.train_draws, model.val_draws = [], []
    make_runner(model=model, **changes).train()
    return model.train_draws, model.val_draws


def test_what_a_step_draws_depends_on_seed_and_position_alone(make_runner, make_loader):
    class Disturbs(Hook):
        def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode="train"):
            random.random()
            np.random.random()
            torch.rand(batch_idx)

    train, val = draws_of(make_runner)
    assert len(set(train)) == 10
    assert len(set(val)) == 4
    again = draws_of(make_runner, custom_hooks=[Disturbs()], val_dataloader=make_loader(12))[0]
    assert again == train
    assert draws_of(make_runner, randomness={"seed": 4})[0] != train


def test_iteration_runs_draw_as_epoch_runs_do(make_runner):
    by_epoch, _ = draws_of(make_runner)
    by_iteration, _ = draws_of(make_runner, train_cfg={"max_iters": 10, "val_interval": 10})
    assert by_iteration == by_epoch


def test_the_timer_is_one_of_the_default_hooks(make_runner):
    assert sum(isinstance(hook, IterTimerHook) for hook in make_runner().hooks) == 1


# DistSamplerSeedHook


@pytest.mark.parametrize("in_batch_sampler", [True, False])
def test_a_sampler_is_told_which_epoch_begins(make_runner, make_loader, in_batch_sampler):
    class Told(torch.utils.data.SequentialSampler):
        epochs = ()

        def set_epoch(self, epoch):
            self.epochs = (*self.epochs, epoch)

    sampler = Told(range(20))
    if in_batch_sampler:
        loader = make_loader(batch_size=1, batch_sampler=torch.utils.data.BatchSampler(sampler, 4, drop_last=False))
    else:
        loader = make_loader(sampler=sampler)
    make_runner(train_dataloader=loader, train_cfg={"max_epochs": 3}).train()
    assert sampler.epochs == (0, 1, 2)
